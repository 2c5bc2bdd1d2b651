package board

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"periph.io/x/conn/v3/driver/driverreg"
	"periph.io/x/conn/v3/gpio"
	"periph.io/x/host/v3/gpioioctl"
)

var initDrivers = sync.OnceValue(func() error {
	_, err := driverreg.Init()
	return err
})

// OpenPin returns the GPIO line called or numbered as p says, through the
// kernel's character device. The kernel gives a line to one process only.
func OpenPin(p Pin) (gpio.PinIO, error) {
	if err := initDrivers(); err != nil {
		return nil, fmt.Errorf("board: GPIO: %w", err)
	}
	for _, chip := range gpioioctl.Chips {
		if l := chip.ByName(p.Line); l != nil {
			return l, nil
		}
		if n, err := strconv.Atoi(p.Line); err == nil {
			if l := chip.ByNumber(n); l != nil {
				return l, nil
			}
		}
	}
	return nil, fmt.Errorf("board: GPIO: no line is called %q on %d chips (want a name that gpioinfo shows; access needs the group gpio)", p.Line, len(gpioioctl.Chips))
}

// Hold makes the line active for d, and inactive again whatever happens.
func Hold(ctx context.Context, pin gpio.PinOut, p Pin, d time.Duration) error {
	active, idle := gpio.High, gpio.Low
	if p.ActiveLow {
		active, idle = gpio.Low, gpio.High
	}
	if err := pin.Out(active); err != nil {
		return fmt.Errorf("board: drive %s: %w", p.Line, err)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	var werr error
	select {
	case <-t.C:
	case <-ctx.Done():
		werr = ctx.Err()
	}
	if err := pin.Out(idle); err != nil {
		werr = errors.Join(werr, fmt.Errorf("board: release %s: %w", p.Line, err))
	}
	return werr
}

// Active reports whether the input is at its active level.
func Active(pin gpio.PinIn, p Pin) bool { return (pin.Read() == gpio.High) != p.ActiveLow }
