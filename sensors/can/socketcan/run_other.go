//go:build !linux

package socketcan

import (
	"context"
	"errors"

	"telemetry/sensors"
)

// Run fails: only Linux has such interfaces.
func (s *Source) Run(context.Context, sensors.Sink) error {
	return errors.New("socketcan: CAN interfaces exist on Linux only")
}
