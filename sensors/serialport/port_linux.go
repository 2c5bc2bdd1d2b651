package serialport

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// openControl opens a port without waiting for a carrier and locks it, also
// against root, which the library's own lock is not.
func openControl(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%w: %w", ErrBusy, err)
	}
	if err != nil {
		return nil, err
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	var lockErr error
	if err := raw.Control(func(fd uintptr) { lockErr = unix.Flock(int(fd), unix.LOCK_EX|unix.LOCK_NB) }); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if lockErr != nil {
		return nil, errors.Join(fmt.Errorf("%w: %w", ErrBusy, lockErr), f.Close())
	}
	return f, nil
}

// LowLatency makes an FTDI chip hand over bytes after 1 ms instead of 16 ms. It
// reports whether path is such a chip, and why it could not be set.
func LowLatency(path string) (ftdi bool, err error) {
	device, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, fmt.Errorf("serial port: resolve serial port: %w", err)
	}
	timer := filepath.Join("/sys/class/tty", filepath.Base(device), "device/latency_timer")
	if _, err := os.Stat(timer); err != nil {
		return false, nil
	}
	if err := os.WriteFile(timer, []byte("1"), 0); err != nil {
		return true, fmt.Errorf("serial port: set latency timer: %w", err)
	}
	return true, nil
}
