package netns

import (
	"errors"
	"fmt"

	"telemetry/lab/link"
)

// Unplug removes the car's device, as a USB modem does that resets: the link is
// Down, and sockets bound to the device are bound to nothing. An unplugged link
// can only be plugged in or given another address.
func (p *Path) Unplug() error {
	p.change.Lock()
	defer p.change.Unlock()
	if p.near == nil {
		return fmt.Errorf("%w: %s", ErrUnplugged, p.device)
	}
	lost, err := p.unreadNear()
	if err != nil {
		return fmt.Errorf("netns: counters of %s: %w", p.device, err)
	}
	if err := p.set(link.Down); err != nil {
		return err
	}
	p.unread += lost
	p.bed.mu.Lock()
	gone := p.near
	p.near = nil
	p.bed.mu.Unlock()
	// The carrier may wait for the device's descriptor, which keeps it open.
	err = errors.Join(p.inCar(func(n *netlink) error { return n.remove(gone.index) }), gone.close())
	if err != nil {
		return fmt.Errorf("netns: unplug %s: %w", p.device, err)
	}
	return p.bed.wake()
}

// Plug makes the device of an unplugged link again, under the same name and with
// another index, and the link is Up.
func (p *Path) Plug() error {
	p.change.Lock()
	defer p.change.Unlock()
	if p.near != nil {
		return fmt.Errorf("netns: %s is plugged in", p.device)
	}
	var dev *tun
	if err := p.bed.Car.Do(func() (err error) { dev, err = openTUN(p.device); return err }); err != nil {
		return err
	}
	p.bed.mu.Lock()
	p.near = dev
	p.bed.mu.Unlock()
	return p.set(link.Up)
}
