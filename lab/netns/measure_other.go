//go:build !linux

package netns

import (
	"context"
	"errors"
)

// Available returns what is missing here.
func Available() error { return errors.New("netns: needs Linux") }

// Run fails as Available does.
func (m Measurement) Run(context.Context) (*Result, error) { return nil, Available() }
