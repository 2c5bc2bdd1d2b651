//go:build !linux

package sensors

import "errors"

// PTY is a device on a serial port; there is none here.
type PTY struct{ Path string }

// OpenPTY fails.
func OpenPTY(string) (*PTY, error) {
	return nil, errors.New("pseudo terminals are used on Linux alone")
}

// Reset fails.
func (*PTY) Reset() error { return errors.ErrUnsupported }

// Baud returns 0.
func (*PTY) Baud() int { return 0 }

// Write fails.
func (*PTY) Write([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Read fails.
func (*PTY) Read([]byte) (int, error) { return 0, errors.ErrUnsupported }

// Close does nothing.
func (*PTY) Close() error { return nil }
