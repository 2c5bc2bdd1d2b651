// Package serialport opens serial ports for the sources that read one: it waits
// for a port that is not there, takes it for itself alone, and bounds every read
// and write in time.
//
// The entry points are [Await] and [Open]. It never touches a modem line beyond
// what opening does by itself, and never shares a port with another process.
package serialport

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
	writeTimeout = 500 * time.Millisecond // a command is a few bytes: only a hung device takes longer
	lookEvery    = 100 * time.Millisecond // for a port that is not there
	lookFor      = sensors.MaxBackoff     // then it is an error; so long that the supervisor's backoff begins anew
	MinBaud      = 300
	MaxBaud      = 12_000_000
)

// Port is an open serial port. The library reads it and sets it up; commands go
// through a descriptor of our own, whose writes end at a deadline, and which
// holds the lock. It is not safe for concurrent use, but for Read beside Write.
type Port struct {
	lib  serial.Port
	ctl  *os.File
	path string
}

// Await returns when something is at path. It notices a port that comes back
// within a tenth of a second, which a supervisor's backoff would not.
func Await(ctx context.Context, path string) error {
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
			return fmt.Errorf("serial port: look: %w", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-deadline.C:
			return fmt.Errorf("serial port: nothing at %s: is the device plugged in? /dev/serial/by-id lists what is", path)
		case <-look.C:
		}
	}
}

// Open opens and locks a port and sets its line to baud, 8N1, raw.
func Open(path string, baud int) (*Port, error) {
	ctl, err := openControl(path)
	if err != nil {
		return nil, explain(path, err)
	}
	lib, err := serial.Open(path, lineMode(baud))
	if err != nil {
		return nil, errors.Join(explain(path, err), ctl.Close())
	}
	return &Port{lib: lib, ctl: ctl, path: path}, nil
}

func lineMode(baud int) *serial.Mode {
	return &serial.Mode{BaudRate: baud, DataBits: 8, Parity: serial.NoParity, StopBits: serial.OneStopBit}
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
	case errors.Is(err, ErrBusy) || code == serial.PortBusy:
		remedy = "another program has it: stop that one"
	case errors.Is(err, fs.ErrNotExist) || code == serial.PortNotFound:
		remedy = "it has just been unplugged"
	}
	return fmt.Errorf("serial port: open %s: %w: %s", path, err, remedy)
}

// ErrBusy is returned for a port that another process has locked.
var ErrBusy = errors.New("port is locked")

// Path returns the name that the port was opened by.
func (p *Port) Path() string { return p.path }

// Read waits for bytes for at most d. No bytes and no error means that none
// came.
func (p *Port) Read(b []byte, d time.Duration) (n int, err error) {
	defer func() {
		// The library watches descriptors with select, which knows only the first
		// 1024 and panics beyond.
		if r := recover(); r != nil {
			err = fmt.Errorf("serial port: read %s: %v: are too many files open?", p.path, r)
		}
	}()
	if err := p.lib.SetReadTimeout(d); err != nil {
		return 0, fmt.Errorf("serial port: read %s: %w", p.path, err)
	}
	n, err = p.lib.Read(b)
	if err != nil {
		return 0, fmt.Errorf("serial port: device at %s is gone: was it unplugged? %w", p.path, err)
	}
	return n, nil
}

// SetBaud changes the line's bit rate.
func (p *Port) SetBaud(baud int) error {
	if err := p.lib.SetMode(lineMode(baud)); err != nil {
		return fmt.Errorf("serial port: set %s to %d baud: %w", p.path, baud, err)
	}
	return nil
}

// Write sends b or fails within half a second.
func (p *Port) Write(b []byte) error {
	err := p.ctl.SetWriteDeadline(time.Now().Add(writeTimeout))
	if err == nil {
		_, err = p.ctl.Write(b)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("serial port: device at %s takes no command: replug it: %w", p.path, err)
	}
	if err != nil {
		return fmt.Errorf("serial port: write to device at %s: %w", p.path, err)
	}
	return nil
}

// Close gives the port back.
func (p *Port) Close() error { return errors.Join(p.lib.Close(), p.ctl.Close()) }
