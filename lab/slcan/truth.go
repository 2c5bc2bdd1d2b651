package slcan

import "telemetry/sensors/can"

// Fate is what became of a frame that was on the bus.
type Fate uint8

// Fates.
const (
	Buffered Fate = iota // in the adapter or on its way to the host
	Read                 // the host has read all of its line
	Unheard              // the channel was closed or the adapter not plugged in
	Dropped              // the adapter's buffer was full
	Unread               // the host went away before it had read it
	Repeated             // as Unread, and the bus waited: it was put on the bus again
)

// Sent is one frame that was on the bus.
type Sent struct {
	Frame  can.Frame // as the feed gave it, with the feed's stamp
	BootNS int64     // boot time at which it was on the bus
	Fate   Fate
	Hit    bool  // noise hit its line: it may come changed or not at all
	end    int64 // bytes of this host's time up to the end of its line
}

// Stats counts what the adapter did.
type Stats struct {
	Hosts         int   // programs that have opened the port, by their last close or present
	Reading       bool  // a program has the port open, or had and the fate of its frames is not settled yet
	Open          bool  // the channel is open
	Plugged       bool  //
	Frames        int   // put on the bus
	Bells         int   // spurious BELs
	Hits          int   // lines hit by noise
	Stalls        int   //
	Transmitted   int   // frames that hosts put on the bus
	PausedNS      int64 // how long the bus waited for the host
	MaxLatenessNS int64 // by which the emulator itself was late to put a frame on the bus
}

// Truth returns all frames that were on the bus so far.
func (a *Adapter) Truth() []Sent {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Sent, len(a.truth))
	copy(out, a.truth)
	if a.plug != nil {
		markRead(out[a.hostFrom:], a.written-int64(a.plug.unread()))
	}
	return out
}

// Stats returns the counts so far.
func (a *Adapter) Stats() Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stats
	s.Reading, s.Open, s.Plugged, s.Frames = a.reading || a.settling, a.dev.open, a.plug != nil, len(a.truth)
	return s
}

// Done reports whether the feed is at its end and the host has read all of it.
func (a *Adapter) Done() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fed && len(a.queue) == 0 && len(a.fifo) == 0 && (a.plug == nil || a.plug.unread() == 0)
}

// markRead sets the fate of frames by how many bytes the host has read.
func markRead(sent []Sent, read int64) {
	for i := range sent {
		if sent[i].Fate == Buffered && sent[i].end <= read {
			sent[i].Fate = Read
		}
	}
}
