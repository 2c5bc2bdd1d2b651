package board

import (
	"fmt"
	"os"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Device is a kernel watchdog, as /dev/watchdog.
type Device struct {
	f       *os.File
	seconds int
	// Bit tells why the last reset happened, if the driver knows.
	Boot BootStatus
}

// BootStatus is WDIOC_GETBOOTSTATUS (linux/watchdog.h).
type BootStatus int

// CardReset reports whether the watchdog caused the last reset.
func (b BootStatus) CardReset() bool { return b&unix.WDIOF_CARDRESET != 0 }

var _ Feeder = (*Device)(nil)

// OpenDevice arms the watchdog at path with timeout, which the driver may round.
// From here on it resets the board unless it is fed or closed.
func OpenDevice(path string, timeout time.Duration) (*Device, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("board: watchdog: %w (another process, as systemd with RuntimeWatchdogSec, may hold it)", err)
	}
	d := &Device{f: f, seconds: max(int(timeout/time.Second), 1)}
	if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, d.seconds); err != nil {
		if got, gerr := unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETTIMEOUT); gerr == nil {
			d.seconds = got
		}
	}
	if got, err := unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETBOOTSTATUS); err == nil {
		d.Boot = BootStatus(got)
	}
	return d, nil
}

// Interval returns the time after which the board is reset.
func (d *Device) Interval() time.Duration { return time.Duration(d.seconds) * time.Second }

// Feed restarts its clock.
func (d *Device) Feed() error {
	if _, err := d.f.Write([]byte{0}); err != nil {
		return fmt.Errorf("board: feed watchdog: %w", err)
	}
	return nil
}

// Close disarms the device with the magic character, where the driver allows it.
func (d *Device) Close() error {
	_, werr := d.f.WriteString("V")
	if err := d.f.Close(); err != nil {
		return fmt.Errorf("board: close watchdog: %w", err)
	}
	if werr != nil {
		return fmt.Errorf("board: disarm watchdog: %w", werr)
	}
	return nil
}

// Service is the service manager that started this process, if it speaks
// sd_notify(3). The zero value speaks to nobody.
type Service struct{ interval time.Duration }

var _ Feeder = Service{}

// NewService reads WATCHDOG_USEC of the environment.
func NewService() (Service, error) {
	d, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return Service{}, fmt.Errorf("board: service watchdog: %w", err)
	}
	return Service{interval: d}, nil
}

// Interval returns the time after which the service is restarted; 0 = never.
func (s Service) Interval() time.Duration { return s.interval }

// Feed says that the service lives.
func (s Service) Feed() error { return notify(daemon.SdNotifyWatchdog) }

// Close says that the service is stopping.
func (s Service) Close() error { return notify(daemon.SdNotifyStopping) }

// Ready says that the service runs, with one line for its status.
func (s Service) Ready(status string) error {
	return notify(daemon.SdNotifyReady + "\nSTATUS=" + status)
}

// Status replaces the line of its status.
func (s Service) Status(status string) error { return notify("STATUS=" + status) }

func notify(msg string) error {
	if _, err := daemon.SdNotify(false, msg); err != nil {
		return fmt.Errorf("board: notify service manager: %w", err)
	}
	return nil
}
