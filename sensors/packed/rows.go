package packed

import (
	"fmt"

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
	last   int64 // tick of the latest row

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
	s.Clock = TickClock{Bits: max(1, c.Packet.Bits(Tick)), NS: c.TickNS}
	if c.RateMilliHz > 0 {
		s.rateNS = 1e12 / float64(c.RateMilliHz)
	}
	return s, nil
}

// Share makes all kinds of packets count together, as a device does that numbers
// whatever it sends.
func Share(streams []*Stream) {
	for _, s := range streams[1:] {
		s.Numbers = streams[0].Numbers
	}
}

// Totals adds up what streams have counted.
func Totals(streams []*Stream) (n Numbers, strange uint64) {
	for i, s := range streams {
		strange += s.Clock.Strange
		if i > 0 && s.Numbers == streams[0].Numbers {
			continue
		}
		n.Lost += s.Numbers.Lost
		n.Late += s.Numbers.Late
		n.Repeated += s.Numbers.Repeated
		n.Restarts += s.Numbers.Restarts
	}
	return n, strange
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
	span := int64(float64(info.Rows-1) * s.rateNS)
	first := arrival - span // a packet comes after its last row
	if s.packet.Has(Tick) {
		first = s.Clock.Boot(info.Tick, first)
	}
	if v != LateOne {
		first = max(first, s.last)
	}
	width, size := len(s.packet.Rows.Channels()), s.packet.Rows.Bytes()
	at := len(s.values)
	s.values = grow(s.values, info.Rows*width)
	for i := range info.Rows {
		s.packet.Rows.Row(info.Body[i*size:], s.values[at+i*width:at+(i+1)*width])
		s.ticks = append(s.ticks, first+int64(float64(i)*s.rateNS))
	}
	if v != LateOne {
		s.last = s.ticks[len(s.ticks)-1]
	}
	s.Rows += uint64(info.Rows)
	return v, lost
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
