package netns

import (
	"errors"
	"fmt"
	"time"

	"telemetry/lab/link"
)

// MaxLinks is how many links one testbed takes.
const MaxLinks = 8

// maxDevice is how long the name of a device may be.
const maxDevice = 15

// Config says what a testbed is made of.
type Config struct {
	Links    []Link // 1..MaxLinks
	Seed     uint64 // of loss and jitter; link i takes Seed+2i and Seed+2i+1
	FarSpace bool   // the far end is a namespace of its own, not the one that this process is in
}

// Link is one modem and its path.
type Link struct {
	Device   string // name in the car's namespace, as wwan0
	Up, Down link.Spec
}

// Validate reports all faults at once.
func (c *Config) Validate() error {
	var errs []error
	if n := len(c.Links); n < 1 || n > MaxLinks {
		errs = append(errs, fmt.Errorf("netns: %d links, want 1..%d", n, MaxLinks))
	}
	names := map[string]bool{"": true, "lo": true}
	for i, l := range c.Links {
		if names[l.Device] || len(l.Device) > maxDevice {
			errs = append(errs, fmt.Errorf("netns: link %d has no device name of its own: %q", i, l.Device))
		}
		names[l.Device] = true
		for dir, s := range map[string]link.Spec{"up": l.Up, "down": l.Down} {
			if err := s.Validate(); err != nil {
				errs = append(errs, fmt.Errorf("netns: link %d %s: %w", i, dir, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Counters are what a link did since it was made.
type Counters struct {
	Device string        `json:"device"`
	At     time.Duration `json:"at_ns"` // since the testbed was made
	Up     link.Counters `json:"up"`    // from the car
	Down   link.Counters `json:"down"`
	Stray  int64         `json:"stray"`  // packets of another address than the link's, lost before the model
	Unread int64         `json:"unread"` // packets that the kernel dropped before the carrier read them
	Failed int64         `json:"failed"` // packets that came out and the kernel did not take
}
