package modemsim

import (
	"sync"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"
)

// Line is one of the modem's control lines as a board's GPIO drives it: what a
// pulse does is told when the line is released.
type Line struct {
	gpiotest.Pin

	mu     sync.Mutex
	since  time.Time // when it became active
	pulse  func(held time.Duration)
	active gpio.Level
}

// PowerKey returns the line of the module's power key, active high.
func (m *Modem) PowerKey() *Line {
	return &Line{Pin: gpiotest.Pin{N: "power_key"}, pulse: m.HoldPower, active: gpio.High}
}

// ResetLine returns the module's reset line, active high.
func (m *Modem) ResetLine() *Line {
	return &Line{Pin: gpiotest.Pin{N: "reset"}, pulse: m.HoldReset, active: gpio.High}
}

// Out drives the line.
func (l *Line) Out(level gpio.Level) error {
	l.mu.Lock()
	was := l.Read()
	if err := l.Pin.Out(level); err != nil {
		l.mu.Unlock()
		return err
	}
	since := l.since
	if level == l.active && was != l.active {
		l.since = time.Now()
	}
	l.mu.Unlock()
	if level != l.active && was == l.active {
		l.pulse(time.Since(since))
	}
	return nil
}
