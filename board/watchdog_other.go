//go:build !linux

package board

import (
	"errors"
	"time"
)

// Device is a kernel watchdog; only Linux has one.
type Device struct{ Boot BootStatus }

// BootStatus is unknown here.
type BootStatus int

// CardReset is always false here.
func (BootStatus) CardReset() bool { return false }

// OpenDevice always fails here.
func OpenDevice(string, time.Duration) (*Device, error) {
	return nil, errors.New("board: watchdog: only Linux has one")
}

// Interval is 0.
func (*Device) Interval() time.Duration { return 0 }

// Feed does nothing.
func (*Device) Feed() error { return nil }

// Close does nothing.
func (*Device) Close() error { return nil }

// Service speaks to nobody here.
type Service struct{}

// NewService returns the zero value.
func NewService() (Service, error) { return Service{}, nil }

// Interval is 0.
func (Service) Interval() time.Duration { return 0 }

// Feed does nothing.
func (Service) Feed() error { return nil }

// Close does nothing.
func (Service) Close() error { return nil }

// Ready does nothing.
func (Service) Ready(string) error { return nil }

// Status does nothing.
func (Service) Status(string) error { return nil }
