package packed

import (
	"fmt"
	"math"

	"telemetry/sensors"
	"telemetry/wire"
)

// Stream gathers the rows of one kind of packet, gives them their time and tells
// what was lost. It is owned by one goroutine; New makes no use of it in two.
type Stream struct {
	Name    string
	Numbers *Numbers // of this kind alone, unless Share was called
	Clock   TickClock

	packet *Packet
	group  int
	rateNS float64 // between rows; 0: one row a packet
	ticks  []int64
	values []int64
	last   int64  // tick of the latest row
	came   uint64 // rows until the packet at hand, lost ones included: the count of devices without a tick
	before int    // rows of the packet before
	shared bool   // numbers tell nothing of this kind alone

	Packets uint64 // taken
	Rows    uint64
}

// StreamConfig says what a stream's packets are.
type StreamConfig struct {
	Name        string
	Packet      *Packet
	Group       int     // index in the source's groups
	RateMilliHz uint64  // of rows; 0: on arrival, one row a packet
	TickNS      float64 // of one count of the device's time; wanted if the head has one
}

// NewStream checks c.
func NewStream(c StreamConfig) (*Stream, error) {
	if c.Packet.Has(Tick) && !(c.TickNS > 0 && c.TickNS <= 1e9) {
		return nil, fmt.Errorf("packed: packet %s: a tick of %v ns (want more than 0, up to a second)", c.Name, c.TickNS)
	}
	s := &Stream{Name: c.Name, packet: c.Packet, group: c.Group}
	s.Numbers = &Numbers{Bits: max(1, c.Packet.Bits(Sequence))}
	if c.RateMilliHz > 0 {
		s.rateNS = 1e12 / float64(c.RateMilliHz)
	}
	s.Clock = TickClock{Bits: c.Packet.Bits(Tick), NS: c.TickNS}
	if !c.Packet.Has(Tick) {
		s.Clock = TickClock{Bits: 64, NS: s.rateNS, rows: true}
	}
	return s, nil
}

// Share makes all kinds of packets count together, as a device does that numbers
// whatever it sends.
func Share(streams []*Stream) {
	for _, s := range streams {
		s.Numbers, s.shared = streams[0].Numbers, true
	}
}

// Clocks is what the clocks of streams have counted.
type Clocks struct{ Strange, Restarts uint64 }

// Totals adds up what streams have counted.
func Totals(streams []*Stream) (n Numbers, c Clocks) {
	for i, s := range streams {
		c.Strange += s.Clock.Strange
		c.Restarts += s.Clock.Restarts
		if i > 0 && s.Numbers == streams[0].Numbers {
			continue
		}
		n.Lost += s.Numbers.Lost
		n.Late += s.Numbers.Late
		n.Repeated += s.Numbers.Repeated
		n.Restarts += s.Numbers.Restarts
	}
	return n, c
}

// WireGroup describes the stream's rows.
func (s *Stream) WireGroup() wire.Group {
	g := wire.Group{Name: s.Name, Lane: wire.LaneFull, Channels: s.packet.Rows.Channels()}
	if s.rateNS > 0 {
		g.RateMilliHz = uint64(1e12/s.rateNS + 0.5)
	}
	return g
}

// Match reads a packet's head.
func (s *Stream) Match(b []byte) (Info, bool) {
	info, ok := s.packet.Read(b)
	if ok && s.rateNS == 0 && info.Rows != 1 {
		return Info{}, false // their times are not known
	}
	return info, ok
}

// Add takes a packet that Match has read and that came at arrival, boot time. A
// repeated one is not taken. It returns what its number says.
func (s *Stream) Add(info Info, arrival int64) (v Verdict, lost uint64) {
	if s.packet.Has(Sequence) {
		v, lost = s.Numbers.Add(info.Sequence)
		if v == Repeat {
			return v, 0
		}
	}
	s.Packets++
	first := s.first(info, arrival, v, lost)
	width, size := len(s.packet.Rows.Channels()), s.packet.Rows.Bytes()
	at := len(s.values)
	s.values = grow(s.values, info.Rows*width)
	for i := range info.Rows {
		s.packet.Rows.Row(info.Body[i*size:], s.values[at+i*width:at+(i+1)*width])
		tick := first + int64(float64(i)*s.rateNS)
		if v != LateOne {
			// Where the real rate is another one, or the packet before was stamped
			// later than it was, rows come together, but never after their arrival.
			tick = max(tick, s.last)
			s.last = tick
		}
		s.ticks = append(s.ticks, tick)
	}
	s.Rows += uint64(info.Rows)
	return v, lost
}

// first returns the boot time of a packet's first row. Its last one is never later
// than arrival.
func (s *Stream) first(info Info, arrival int64, v Verdict, lost uint64) int64 {
	arrival -= int64(math.Ceil(float64(info.Rows-1) * s.rateNS)) // a packet comes after its last row
	p := Passage{Verdict: v}
	switch {
	case s.shared:
		lost = 0
	case v == InOrder && s.packet.Has(Sequence):
		p.ElapsedNS = float64(s.before) * s.rateNS
	}
	switch {
	case s.packet.Has(Tick):
		if v != LateOne {
			s.before = info.Rows
		}
		return s.Clock.Boot(info.Tick, arrival, p)
	case s.rateNS == 0 || v == LateOne:
		return arrival
	}
	s.came += lost * uint64(info.Rows)
	first := s.Clock.Boot(s.came, arrival, p)
	s.came += uint64(info.Rows)
	return first
}

// grow makes v longer by n words of any value.
func grow(v []int64, n int) []int64 {
	if need := len(v) + n; need > cap(v) {
		out := make([]int64, need, 2*need)
		copy(out, v)
		return out
	}
	return v[:len(v)+n]
}

// Pending returns how many rows wait for a flush.
func (s *Stream) Pending() int { return len(s.ticks) }

// Flush hands the rows on. Where a late packet's rows go back in time, they go in
// a run of their own.
func (s *Stream) Flush(out sensors.Sink) error {
	width := len(s.packet.Rows.Channels())
	for from := 0; from < len(s.ticks); {
		to := from + 1
		for to < len(s.ticks) && s.ticks[to] >= s.ticks[to-1] {
			to++
		}
		err := out.Append(sensors.Rows{Group: s.group, Ticks: s.ticks[from:to], Values: s.values[from*width : to*width]})
		if err != nil {
			return err
		}
		from = to
	}
	s.ticks, s.values = s.ticks[:0], s.values[:0]
	return nil
}

// Width returns the channels of a row.
func (s *Stream) Width() int { return len(s.packet.Rows.Channels()) }
