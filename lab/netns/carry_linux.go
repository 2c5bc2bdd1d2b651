package netns

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/lab/link"
)

// Limits of the carrier.
const (
	packetBytes = 2048                 // more than any packet of a device with the usual MTU of 1500
	burst       = 64                   // packets read from one device before the others have their turn
	heartbeat   = 5 * time.Millisecond // it wakes at least so often, to notice when it was kept from waking
	poolPackets = 4096                 // buffers kept for reuse
	fifoRank    = 10                   // real-time priority, if it may have one
)

// Run carries packets until ctx ends. While it runs, Go has one processor more,
// so that the carrier never waits for one that a goroutine computes on; which
// thread runs is then the kernel's choice, and the carrier's has a real-time
// priority where that is allowed.
func (t *Testbed) Run(ctx context.Context) error {
	addProcessors(1)
	defer addProcessors(-1)
	c := &carrier{Testbed: t}
	defer context.AfterFunc(ctx, func() { c.stop.Store(true) })() // the next heartbeat sees it
	done := make(chan error, 1)
	go func() { done <- c.run() }() // ends with ctx
	return <-done
}

// processors guards Go's number of processors between testbeds.
var processors sync.Mutex

func addProcessors(n int) {
	processors.Lock()
	defer processors.Unlock()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + n)
}

// carrier moves packets between devices and models, on one thread.
type carrier struct {
	*Testbed
	stop atomic.Bool
	fds  []unix.PollFd // the event, then near and far end of each path
	pool [][]byte
}

func (t *Testbed) now() int64 { return int64(time.Since(t.start)) }

// run is the carrier's loop. Its thread is not unlocked, so it ends with the
// goroutine and takes the priority with it.
func (c *carrier) run() error {
	runtime.LockOSThread()
	prioritize()
	c.fds = append(c.fds, unix.PollFd{Fd: int32(c.event), Events: unix.POLLIN})
	for range c.links {
		c.fds = append(c.fds, unix.PollFd{Events: unix.POLLIN}, unix.PollFd{Events: unix.POLLIN})
	}
	wake := c.now()
	for !c.stop.Load() {
		wake = c.round(wake)
		wait := unix.NsecToTimespec(max(0, wake-c.now()))
		if _, err := unix.Ppoll(c.fds, &wait, nil); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("netns: wait for packets: %w", err)
		}
	}
	return nil
}

// prioritize makes the kernel prefer this thread and wake it to the µs. Where it
// may not, lateness tells.
func prioritize() {
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: fifoRank,
		Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

// round takes in what devices have, hands out what is due, and returns when the
// next round must be. planned is when this one had to be at the latest.
func (c *carrier) round(planned int64) (wake int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.late.Add(time.Duration(now - planned))
	if c.fds[0].Revents != 0 {
		var b [8]byte
		_, _ = unix.Read(c.event, b[:])
	}
	for i, p := range c.links {
		for k, end := range []struct {
			dir *direction
			dev *tun
		}{{&p.up, p.near}, {&p.down, p.far}} {
			fd := &c.fds[1+2*i+k]
			if fd.Revents != 0 && end.dev != nil {
				c.take(p, end.dir, end.dev)
			}
			if fd.Fd = -1; end.dev != nil { // poll passes a negative one over
				fd.Fd = int32(end.dev.fd)
			}
		}
	}
	now = c.now()
	wake = now + int64(heartbeat)
	for _, p := range c.links {
		wake = min(wake, c.give(&p.up, p.far, now), c.give(&p.down, p.near, now))
	}
	c.countCPU()
	return wake
}

// take offers a device's packets to the model.
func (c *carrier) take(p *Path, d *direction, from *tun) {
	for range burst {
		b := c.buffer()
		n, err := unix.Read(from.fd, b)
		if err != nil || n <= 0 {
			c.free(b)
			return
		}
		if !ofLink(b[:n], p, d) {
			d.stray++
			c.free(b)
			continue
		}
		if d.dir.Offer(c.now(), link.Packet{Data: b[:n]}) != link.Kept {
			c.free(b)
		}
	}
}

// ofLink reports whether an IPv4 packet has the car's address on that link, as
// source on its way up and as destination on its way down.
func ofLink(b []byte, p *Path, d *direction) bool {
	const header, src, dst = 20, 12, 16
	if len(b) < header || b[0]>>4 != 4 {
		return false
	}
	at := src
	if d == &p.down {
		at = dst
	}
	return [4]byte(b[at:at+4]) == p.addr.As4()
}

// give writes what comes out of the model to a device, and returns when more
// will.
func (c *carrier) give(d *direction, to *tun, now int64) (wake int64) {
	for {
		pkt, due, ok := d.dir.Pop(now)
		if !ok {
			break
		}
		// Without delay and queue a packet is due when it came.
		c.late.Add(time.Duration(c.now() - due))
		if to == nil {
			d.err++
		} else if _, err := unix.Write(to.fd, pkt.Data); err != nil {
			d.err++
		}
		c.free(pkt.Data)
	}
	if at, ok := d.dir.Wake(); ok {
		return at
	}
	return now + int64(heartbeat)
}

func (c *carrier) buffer() []byte {
	if n := len(c.pool); n > 0 {
		b := c.pool[n-1]
		c.pool = c.pool[:n-1]
		return b
	}
	return make([]byte, packetBytes)
}

func (c *carrier) free(b []byte) {
	if len(c.pool) < poolPackets {
		c.pool = append(c.pool, b[:packetBytes])
	}
}

func (c *carrier) countCPU() {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &ru) == nil {
		c.cpu = time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
	}
}

// Lateness returns how late the carrier was, both in handing out packets and in
// waking at all, since New or ResetLateness.
func (t *Testbed) Lateness() link.Lateness {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.late
}

// ResetLateness begins a measurement.
func (t *Testbed) ResetLateness() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.late = link.Lateness{}
}

// Disturbed returns how late the carrier was at worst, and whether that is so
// late that what was measured meanwhile is to be measured again.
func (t *Testbed) Disturbed() (worst time.Duration, bad bool) {
	l := t.Lateness()
	return l.Max(), l.Disturbed()
}

// CPU returns the processor time that the carrier has used.
func (t *Testbed) CPU() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cpu
}
