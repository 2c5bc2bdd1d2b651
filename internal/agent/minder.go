package agent

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"telemetry/board"
	"telemetry/internal/config"
	"telemetry/modem/at"
	"telemetry/modem/keeper"
	"telemetry/modem/mm"
	"telemetry/sensors/serialport"
)

// minder opens one modem's control and works its lines.
type minder struct {
	board *board.Board
	cfg   *config.Modem
	slot  board.Slot
}

func (m *minder) present() bool {
	switch {
	case m.slot.USBPath != "":
		return m.board.USBDevice(m.slot.USBPath).Present
	case m.cfg.Port != "":
		_, err := os.Stat(m.cfg.Port)
		return err == nil
	}
	return true
}

// portPath is the AT port: as configured, or the USB device's.
func (m *minder) portPath() (string, error) {
	if m.cfg.Port != "" {
		return m.cfg.Port, nil
	}
	tty, ok := m.board.USBDevice(m.slot.USBPath).TTYs[m.cfg.Interface]
	if !ok {
		return "", fmt.Errorf("agent: USB device %s has no tty on its interface %d (set at_interface)", m.slot.USBPath, m.cfg.Interface)
	}
	return "/dev/" + tty, nil
}

func (m *minder) open(ctx context.Context) (keeper.Control, error) {
	if m.cfg.Driver == "mm" {
		bus, err := mm.Connect(ctx, "")
		if err != nil {
			return nil, err
		}
		return mm.NewControl(bus, mm.Settings{Device: m.slot.USBPath, APN: m.cfg.APN, PDPType: m.cfg.PDP, User: m.cfg.User, Pass: m.cfg.Password, Watch: m.cfg.WatchOnly}), nil
	}
	path, err := m.portPath()
	if err != nil {
		return nil, err
	}
	port, err := openPort(path, m.cfg.Baud)
	if err != nil {
		return nil, err
	}
	return at.NewControl(port, at.Settings{Profile: m.cfg.Profile, CID: m.cfg.CID, APN: m.cfg.APN, PDPType: m.cfg.PDP, User: m.cfg.User, Pass: m.cfg.Password, Watch: m.cfg.WatchOnly})
}

// lines adds what the board can do to the modem.
func (m *minder) lines(p *keeper.Parts) {
	if m.slot.USBPath != "" {
		p.USB = func(ctx context.Context) error { return board.ReauthoriseUSB(ctx, m.slot.USBPath, writeSys) }
	}
	hold := func(pin *board.Pin) func(context.Context, time.Duration) error {
		if pin == nil {
			return nil
		}
		return func(ctx context.Context, d time.Duration) error {
			line, err := board.OpenPin(*pin)
			if err != nil {
				return err
			}
			return board.Hold(ctx, line, *pin, d)
		}
	}
	p.Reset, p.Power = hold(m.slot.Reset), hold(m.slot.PowerKey)
}

// writeSys writes a file of the kernel's.
func writeSys(name string, b []byte) error { return os.WriteFile("/"+name, b, 0) }

// portWait bounds one read of a modem's port, so that closing it never hangs.
const portWait = 200 * time.Millisecond

// atPort is a serial port as the AT engine reads it.
type atPort struct{ *serialport.Port }

func openPort(path string, baud int) (io.ReadWriteCloser, error) {
	p, err := serialport.Open(path, baud)
	if err != nil {
		return nil, err
	}
	return atPort{p}, nil
}

func (p atPort) Read(b []byte) (int, error) { return p.Port.Read(b, portWait) }

func (p atPort) Write(b []byte) (int, error) {
	if err := p.Port.Write(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Pauses between two starts of a service.
const (
	restartFirst = time.Minute
	restartMost  = 16 * time.Minute
)

// newRestarter returns a function that starts a service again, for all modems
// that it serves: at once, then after pauses that double while it is asked for.
func newRestarter(now func() time.Duration, restart func(context.Context) error) func(context.Context) error {
	var mu sync.Mutex
	var last, pause time.Duration
	return func(ctx context.Context) error {
		mu.Lock()
		defer mu.Unlock()
		t := now()
		switch {
		case pause != 0 && t-last < pause:
			return nil
		case pause == 0 || t-last > 4*restartMost: // it did well for long
			pause = restartFirst
		default:
			pause = min(2*pause, restartMost)
		}
		last = t
		return restart(ctx)
	}
}
