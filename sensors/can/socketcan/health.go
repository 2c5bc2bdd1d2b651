package socketcan

import (
	"fmt"
	"time"

	"telemetry/sensors"
	"telemetry/sensors/can"
)

// loss follows a socket's count of dropped frames.
type loss struct {
	seen    uint32    // the count of this socket
	untold  uint64    // lost and not yet in an event
	since   int64     // boot time of the frame before the first of them
	told    time.Time // when the latest event was
	latest  int64     // boot time of the latest frame
	kernel  uint64    // the interface's own count of dropped frames
	overrun uint64    // and of a full controller
	begun   bool      // these two are known
}

// reset begins with a new socket, whose count is 0.
func (l *loss) reset() { l.seen, l.begun = 0, false }

// counted takes the socket's count and returns how many frames are newly lost.
func (l *loss) counted(n uint32) uint64 {
	d := n - l.seen // it turns over at 32 bits
	if int32(d) <= 0 {
		return 0 // an older count: one read from the socket comes before those of frames still queued
	}
	l.seen = n
	if l.untold == 0 {
		l.since = l.latest
	}
	l.untold += uint64(d)
	return uint64(d)
}

// lost notes the socket's count of dropped frames.
func (r *run) lost(n uint32) { r.count.lostSocket.Add(r.loss.counted(n)) }

// tellLoss makes an event of what was lost, at most one a second unless it is
// the last word.
func (r *run) tellLoss(now time.Time, last bool) {
	l := &r.loss
	if l.untold == 0 || !last && now.Sub(l.told) < eventEvery {
		return
	}
	l.told = now
	r.event(lossEvent, fmt.Sprintf("%d frames lost in the receive buffer between boot times %d and %d ns", l.untold, l.since, l.latest))
	r.cfg.Log.Warn("frames lost in the receive buffer", "frames", l.untold, "from_boot_ns", l.since, "to_boot_ns", l.latest)
	l.untold = 0
}

// interfaceLoss takes the interface's own counts, which no socket sees.
func (r *run) interfaceLoss(dropped, overrun uint64) {
	l := &r.loss
	if l.begun && dropped > l.kernel {
		r.count.lostKernel.Add(dropped - l.kernel)
		r.event(lossEvent, fmt.Sprintf("%d frames lost in the kernel before the socket", dropped-l.kernel))
	}
	if l.begun && overrun > l.overrun {
		r.count.overflows.Add(overrun - l.overrun)
		r.event(lossEvent, fmt.Sprintf("the controller's buffer ran over %d times: frames are lost, nobody knows how many", overrun-l.overrun))
	}
	l.kernel, l.overrun, l.begun = dropped, overrun, true
}

// health follows what the interface says of itself.
type health struct {
	state    busState
	from     StampSource
	fromSet  bool
	errorAt  time.Time
	errors   uint64 // since the latest event
	switches int    // of the stamp source
	changes  sensors.Burst
}

// maxSwitches bounds the events about stamp sources of one run.
const maxSwitches = 16

// stamped tells of the first stamp source and of each change.
func (h *health) stamped(r *run, from StampSource) {
	if h.fromSet && h.from == from {
		return
	}
	h.from, h.fromSet = from, true
	if h.switches++; h.switches <= maxSwitches {
		r.event(stampEvent, from.String())
	}
}

// changed tells of a new state of the bus: a bus at the edge of one changes its state
// with every other frame.
func (h *health) changed(r *run, to busState, why string) {
	if to == h.state || to == stateUnknown {
		return
	}
	h.state = to
	switch to {
	case stateWarning:
		r.count.warnings.Add(1)
	case statePassive:
		r.count.passive.Add(1)
	case stateBusOff:
		r.count.busOff.Add(1)
	}
	if !h.changes.Tell(r.cfg.Clock.BootNS()) {
		return
	}
	detail := to.String()
	if why != "" && why != detail {
		detail += ": " + why
	}
	r.event(stateEvent, detail)
}

// tellChanges makes an event of the changes of state that were too many to be told.
func (h *health) tellChanges(r *run, last bool) {
	if n := h.changes.Rest(r.cfg.Clock.BootNS(), last); n > 0 {
		r.event(stateEvent, fmt.Sprintf("%s, after %d more changes", h.state, n))
	}
}

// errorFrame counts an error frame and tells of it: changes of state, the first few of
// a second one by one, and other errors at most once a second.
func (h *health) errorFrame(r *run, f *can.Frame) {
	for i := range errorClasses {
		if f.ID>>i&1 != 0 {
			r.count.classes[i].Add(1)
		}
	}
	if f.ID&errController != 0 && f.Len > 1 && f.Bytes[1]&controllerRXFull != 0 {
		r.count.noisy.Add(1)
	}
	if to, ok := stateOf(f); ok {
		h.changed(r, to, describeError(f))
		return
	}
	h.errors++
	if now := time.Now(); now.Sub(h.errorAt) >= eventEvery {
		h.errorAt = now
		r.event(errorEvent, fmt.Sprintf("%s (%d error frames since the last report)", describeError(f), h.errors))
		h.errors = 0
	}
}

// Counters returns what was counted over all runs.
func (s *Source) Counters() []sensors.Counter {
	c := &s.count
	out := append(s.dec.Counters(),
		sensors.Counter{Name: "frames_read", Help: "frames read from the interface", Value: c.frames.Load()},
		sensors.Counter{Name: "frames_fd", Help: "CAN FD frames among them", Value: c.fd.Load()},
		sensors.Counter{Name: "frames_sent", Help: "frames among them that another program of this machine sent", Value: c.sent.Load()},
		sensors.Counter{Name: "frames_odd", Help: "frames of an unknown kind, as CAN XL", Value: c.odd.Load()},
		sensors.Counter{Name: "frames_lost", Help: "frames that the kernel dropped because the receive buffer was full", Value: c.lostSocket.Load()},
		sensors.Counter{Name: "frames_lost_kernel", Help: "frames that the kernel dropped before the socket", Value: c.lostKernel.Load()},
		sensors.Counter{Name: "controller_overflows", Help: "times that the controller's buffer ran over", Value: c.overflows.Load() + c.noisy.Load()},
		sensors.Counter{Name: "reads", Help: "reads that gave frames", Value: c.reads.Load()},
		sensors.Counter{Name: "receive_buffer", Help: "bytes of the kernel's receive buffer, as the kernel counts", Value: c.buffer.Load()},
		sensors.Counter{Name: "stamps_hardware", Help: "frames stamped by the controller", Value: c.stamps[StampHardware].Load()},
		sensors.Counter{Name: "stamps_kernel", Help: "frames stamped by the kernel", Value: c.stamps[StampKernel].Load()},
		sensors.Counter{Name: "stamps_host", Help: "frames stamped when they were read", Value: c.stamps[StampHost].Load()},
		sensors.Counter{Name: "stamps_strange", Help: "stamps that made no sense and were not used", Value: c.strange.Load()},
		sensors.Counter{Name: "stamp_restarts", Help: "times that the controller's clock began anew", Value: c.hardRestarts.Load()},
		sensors.Counter{Name: "utc_steps", Help: "times that the machine's UTC was set while frames were stamped by it", Value: c.utcSteps.Load()},
		sensors.Counter{Name: "interface_opens", Help: "times that the interface was opened", Value: c.opens.Load()},
		sensors.Counter{Name: "interface_downs", Help: "times that it was set down", Value: c.downs.Load()},
		sensors.Counter{Name: "interface_gone", Help: "times that it was taken away", Value: c.gone.Load()},
		sensors.Counter{Name: "bus_warning", Help: "times that the bus reached error warning", Value: c.warnings.Load()},
		sensors.Counter{Name: "bus_passive", Help: "times that the controller became error passive", Value: c.passive.Load()},
		sensors.Counter{Name: "bus_off", Help: "times that the controller went bus off", Value: c.busOff.Load()},
		sensors.Counter{Name: "arbitrations_lost", Help: "arbitrations lost, as the driver counts", Value: c.arbitration.Load()})
	names := [len(errorClasses)]string{"timeout", "arbitration", "controller", "protocol", "transceiver", "no_ack", "bus_off", "bus", "restarted", "counters"}
	for i, n := range names {
		out = append(out, sensors.Counter{Name: "errors_" + n, Help: "error frames: " + errorClasses[i], Value: c.classes[i].Load()})
	}
	return out
}
