package socketcan

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/sensors"
)

// How long a run waits for an interface that is not there or down.
const (
	lookEvery = 100 * time.Millisecond // without news from the kernel
	lookFor   = sensors.MaxBackoff     // then it is an error; so long that the supervisor's backoff begins anew
)

// Run reads the interface until ctx ends. It fails when the interface can't be
// opened or set up, or stays away too long.
func (s *Source) Run(ctx context.Context, out sensors.Sink) (err error) {
	r := &run{Source: s, out: out}
	r.frame.Bus = s.cfg.Interface
	var nl *netlink
	if s.cfg.open == nil {
		if nl, err = openNetlink(); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, nl.close()) }()
	}
	memory := newBatch()
	for err == nil && ctx.Err() == nil {
		var sock *socket
		if sock, err = r.open(ctx, nl); err != nil {
			break
		}
		err = r.loop(ctx, sock, nl, memory)
		if errors.Is(err, unix.ENODEV) && nl != nil {
			r.count.gone.Add(1)
			r.event(linkEvent, "gone")
			r.cfg.Log.Warn("interface is gone")
			err = nil
		}
		err = errors.Join(err, r.finish(sock), sock.close())
	}
	if ctx.Err() != nil {
		return errors.Join(ctx.Err(), err)
	}
	return err
}

// open waits for the interface, sets it up if it is asked to, and opens a
// socket on it.
func (r *run) open(ctx context.Context, nl *netlink) (*socket, error) {
	if r.cfg.open != nil {
		fd, err := r.cfg.open()
		if err != nil {
			return nil, err
		}
		s := &socket{fd: fd}
		s.options(r.cfg.ReceiveBuffer)
		r.begin(s)
		return s, nil
	}
	l, err := r.await(ctx, nl)
	if err != nil {
		return nil, err
	}
	if l, err = r.setUp(nl, l); err != nil {
		return nil, err
	}
	s, err := openSocket(l.index, r.cfg.filters(), r.cfg.ReceiveBuffer)
	if err != nil {
		return nil, fmt.Errorf("%w (interface %s)", err, r.cfg.Interface)
	}
	r.begin(s)
	if !s.stamps {
		r.cfg.Log.Warn("kernel stamps no frames; they are stamped when they are read")
	}
	if s.buffer < r.cfg.ReceiveBuffer {
		r.cfg.Log.Warn("receive buffer is smaller than wanted: allow more by net.core.rmem_max or the capability CAP_NET_ADMIN",
			"bytes", s.buffer, "wanted", r.cfg.ReceiveBuffer)
	}
	r.health.state = l.state
	r.interfaceLoss(l.dropped, l.overrun)
	if r.count.opens.Load() > 1 {
		r.event(linkEvent, "back")
	}
	return s, nil
}

func (r *run) begin(s *socket) {
	r.count.opens.Add(1)
	r.count.buffer.Store(uint64(max(0, s.buffer)))
	r.loss.reset()
	r.down = false
}

// await returns when the interface is there, and up unless it is ours to start.
func (r *run) await(ctx context.Context, nl *netlink) (link, error) {
	deadline := time.Now().Add(lookFor)
	for {
		l, err := nl.get(r.cfg.Interface)
		if err == nil && (l.up || r.cfg.Bitrate > 0) {
			return l, nil
		}
		if err != nil && !errors.Is(err, errNoLink) {
			return link{}, err
		}
		if time.Now().After(deadline) {
			if err == nil {
				return link{}, fmt.Errorf("socketcan: interface %s is down: start it (ip link set %[1]s up type can bitrate …), or name its bitrate in the configuration", r.cfg.Interface)
			}
			return link{}, fmt.Errorf("socketcan: %w called %s: is the adapter plugged in and its driver loaded? `ip link` lists what is there", err, r.cfg.Interface)
		}
		nl.wait(ctx, lookEvery)
		if ctx.Err() != nil {
			return link{}, ctx.Err()
		}
	}
}

// setUp configures a controller whose bit rate is ours, and sees to it that a
// controller only listens.
func (r *run) setUp(nl *netlink, l link) (link, error) {
	c := &r.cfg
	listen := c.Listen != ListenNever
	if c.Bitrate > 0 && l.controller && !l.isSet(c, listen) {
		err := nl.setUp(c.Interface, l, c, listen)
		if errors.Is(err, unix.EOPNOTSUPP) && c.Listen == ListenAuto {
			err = nl.setUp(c.Interface, l, c, false)
		}
		switch {
		case errors.Is(err, unix.EPERM):
			return l, fmt.Errorf("%w: this needs the capability CAP_NET_ADMIN", err)
		case errors.Is(err, unix.EOPNOTSUPP):
			return l, fmt.Errorf("%w: the driver has no such bit rate or can't listen only (listen_only: auto lets it acknowledge)", err)
		case err != nil:
			return l, err
		}
	}
	l, err := nl.get(c.Interface)
	if err != nil {
		return l, err
	}
	if l.controller && listen && l.mode&controlListen == 0 {
		if c.Listen == ListenAlways {
			return l, fmt.Errorf("socketcan: %s is not in listen-only mode: stop it and start it with listen-only on, or set listen_only: auto", c.Interface)
		}
		r.event(listenEvent, "the controller acknowledges frames of others")
		c.Log.Warn("controller is not in listen-only mode: it acknowledges frames of others")
	}
	return l, nil
}

// loop reads until ctx ends or the socket fails.
func (r *run) loop(ctx context.Context, s *socket, nl *netlink, memory *batch) error {
	for ctx.Err() == nil {
		frames, err := s.read(memory, idleWait)
		switch {
		case errors.Is(err, unix.ENETDOWN):
			r.count.downs.Add(1)
			r.setDown(true)
			continue // the socket stays bound, and frames come again when it is up
		case errors.Is(err, unix.ENODEV):
			return errors.Join(err, r.drain(s, memory))
		case err != nil:
			return err
		}
		if r.down && len(frames) > 0 {
			r.setDown(false)
		}
		r.takeAll(frames)
		now := time.Now()
		if now.Sub(r.watched) >= watchEvery {
			r.watched = now
			if err := r.watch(s, nl, now); err != nil {
				return err
			}
		}
		if len(frames) == batchFrames && r.pending() < maxPending {
			continue // there may be more
		}
		if err := r.flush(); err != nil {
			return err
		}
		if len(frames) > 0 && len(frames) < batchFrames {
			pause(ctx, pace(len(frames)))
		}
	}
	return nil
}

// pace returns for how long to let frames gather after a read: a loaded bus is
// read less often.
func pace(frames int) time.Duration {
	if frames >= busyFrames {
		return busyEvery
	}
	return flushEvery
}

// drain takes what is queued on a socket whose interface is gone: the error
// comes before the frames.
func (r *run) drain(s *socket, memory *batch) error {
	for {
		frames, err := s.read(memory, 0)
		if len(frames) == 0 {
			return err
		}
		r.takeAll(frames)
	}
}

// setDown tells that the interface was set down or up.
func (r *run) setDown(down bool) {
	if r.down == down {
		return
	}
	r.down = down
	r.event(linkEvent, map[bool]string{true: "down", false: "up"}[down])
	r.cfg.Log.Warn("interface was set down or up", "down", down)
}

// takeAll takes the frames of one read.
func (r *run) takeAll(frames []received) {
	if len(frames) == 0 {
		return
	}
	boot, utc := r.cfg.Clock.Pair()
	r.clock.look(boot, utc)
	r.count.reads.Add(1)
	r.count.frames.Add(uint64(len(frames)))
	for i := range frames {
		f := &frames[i]
		r.take(f.data, f.utc, f.hard, f.sent, boot)
		if f.hasDrops {
			r.lost(f.drops)
		}
		r.loss.latest = r.clock.last
	}
	r.settleClock()
}

// watch looks at the interface and at the socket's own count of lost frames.
func (r *run) watch(s *socket, nl *netlink, now time.Time) error {
	if n, ok := s.dropped(); ok {
		r.lost(n)
	}
	r.tellLoss(now, false)
	r.health.tellChanges(r, false)
	if nl == nil {
		return r.refuse
	}
	l, err := nl.get(r.cfg.Interface)
	if errors.Is(err, errNoLink) {
		return nil // the socket says so too, behind the frames that it still holds
	}
	if err != nil {
		return err
	}
	if l.up {
		r.setDown(false)
	}
	r.interfaceLoss(l.dropped, l.overrun)
	if l.controller {
		r.health.changed(r, l.state, fmt.Sprintf("send errors %d, receive errors %d", l.txErrors, l.rxErrors))
		r.count.arbitration.Store(uint64(l.lost))
	}
	return r.refuse
}

// finish takes what the kernel counted last and hands over what is left.
func (r *run) finish(s *socket) error {
	if n, ok := s.dropped(); ok {
		r.lost(n)
	}
	r.tellLoss(time.Now(), true)
	r.health.tellChanges(r, true)
	return r.flush()
}
