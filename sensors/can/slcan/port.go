package slcan

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"go.bug.st/serial"

	"telemetry/sensors"
)

// Limits of a port.
const (
	writeTimeout = 500 * time.Millisecond // a command is a few bytes: only a hung adapter takes longer
	lookEvery    = 100 * time.Millisecond // for a port that is not there
	lookFor      = sensors.MaxBackoff     // then it is an error; so long that the supervisor's backoff begins anew
)

// port is an open serial port. The library reads it and sets it up; commands go
// through a descriptor of our own, whose writes end at a deadline, and which
// holds the lock.
type port struct {
	serial.Port
	ctl  *os.File
	path string
}

// await returns when something is at path. It notices a port that comes back
// within lookEvery, which the supervisor's backoff would not.
func await(ctx context.Context, path string) error {
	deadline := time.NewTimer(lookFor)
	defer deadline.Stop()
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		_, err := os.Stat(path)
		if err == nil {
			return nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("slcan: look for serial port: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("slcan: no serial port at %s: is the adapter plugged in? /dev/serial/by-id lists what is", path)
		case <-look.C:
		}
	}
}

// openPort opens and locks a port and sets its line to baud, 8N1, raw. No modem
// line is touched beyond what opening does by itself.
func openPort(path string, baud int) (*port, error) {
	ctl, err := openControl(path)
	if err != nil {
		return nil, explain(path, err)
	}
	lib, err := serial.Open(path, &serial.Mode{BaudRate: baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit})
	if err != nil {
		return nil, errors.Join(explain(path, err), ctl.Close())
	}
	return &port{Port: lib, ctl: ctl, path: path}, nil
}

// explain says what to do about a port that can't be opened.
func explain(path string, err error) error {
	var pe *serial.PortError
	code := serial.PortErrorCode(-1)
	if errors.As(err, &pe) {
		code = pe.Code()
	}
	remedy := "is it a serial port?"
	switch {
	case errors.Is(err, fs.ErrPermission) || code == serial.PermissionDenied:
		remedy = "may this user open it? (on Debian: group dialout)"
	case errors.Is(err, errBusy) || code == serial.PortBusy:
		remedy = "another program has it: stop that one"
	case errors.Is(err, fs.ErrNotExist) || code == serial.PortNotFound:
		remedy = "it has just been unplugged"
	}
	return fmt.Errorf("slcan: open serial port %s: %w: %s", path, err, remedy)
}

// errBusy is returned for a port that another process has locked.
var errBusy = errors.New("port is locked")

// read waits for bytes for at most d. No bytes and no error means that none
// came.
func (p *port) read(b []byte, d time.Duration) (n int, err error) {
	defer func() {
		// The library watches descriptors with select, which knows only the first
		// 1024 and panics beyond.
		if r := recover(); r != nil {
			err = fmt.Errorf("slcan: read %s: %v: are too many files open?", p.path, r)
		}
	}()
	if err := p.SetReadTimeout(d); err != nil {
		return 0, fmt.Errorf("slcan: read %s: %w", p.path, err)
	}
	n, err = p.Read(b)
	if err != nil {
		return 0, fmt.Errorf("slcan: adapter at %s is gone: was it unplugged? %w", p.path, err)
	}
	return n, nil
}

// write sends b or fails within writeTimeout.
func (p *port) write(b []byte) error {
	err := p.ctl.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = p.ctl.Write(b)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("slcan: adapter at %s takes no command: replug it: %w", p.path, err)
	}
	if err != nil {
		return fmt.Errorf("slcan: write to adapter at %s: %w", p.path, err)
	}
	return nil
}

// close gives the port back.
func (p *port) close() error { return errors.Join(p.Close(), p.ctl.Close()) }
