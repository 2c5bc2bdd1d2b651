package uplink

import (
	"testing"

	"telemetry/wire"
)

// shared is an engine with one link, over which the acks of some instances come.
type shared struct {
	t       *testing.T
	e       *Engine
	st      *simStore
	now     int64
	gen     uint32
	counter uint64
	last    int64 // stamp of the last send
	sends   int
}

func newShared(t *testing.T) *shared {
	s := &shared{t: t, st: newSimStore(), now: 1000 * ms}
	s.e = NewEngine(Config{Car: simCar, Epoch: simEpoch, Links: []LinkConfig{{Name: "modem0", Addrs: []string{"tcp://a:1"}}}}, s.st)
	s.step()
	s.e.LinkUp(s.now, 0, s.gen, "")
	return s
}

// step lets the engine act; every send leaves at once.
func (s *shared) step() {
	acts, _ := s.e.Step(s.now)
	for _, a := range acts {
		switch a := a.(type) {
		case Dial:
			s.gen = a.Gen
		case Send:
			hdr, _ := simParse(a.Payload)
			s.last = hdr.SentNS
			s.sends++
			s.e.Sent(s.now, a.Link, a.Gen)
		}
	}
}

// run lets d pass with acks of the named instances every 50 ms; each echoes
// proven. An empty list is silence.
func (s *shared) run(d int64, proven int64, names ...string) {
	for end := s.now + d; s.now < end; s.now += 50 * ms {
		s.counter++
		for i, name := range names {
			a := &wire.Ack{Instance: name, Nonce: uint64(i + 1), Counter: s.counter, State: wire.InstanceOK, Credit: 1 << 20}
			if proven != 0 {
				a.Links = []wire.LinkEcho{{Gen: s.gen, Messages: 1, Bytes: 1, LastSentNS: proven}}
			}
			s.e.Message(s.now, 0, s.gen, wire.AppendAck(nil, a))
		}
		s.step()
	}
}

func (s *shared) add(seq uint64) {
	s.st.add(wire.Item{ID: wire.ID{Stream: wire.Stream{Car: simCar, Epoch: simEpoch, Lane: wire.LaneFull}, Seq: seq}, Size: 1000})
}

// TestMessageLostBehindASharedBroker: the last message of a link went to an
// instance that froze. Nobody will prove it; the link is fed again when it goes
// on being heard, and only then.
func TestMessageLostBehindASharedBroker(t *testing.T) {
	tests := []struct {
		name          string
		before, after []string // instances heard before and after the loss
		dead          bool
	}{
		{"one of two instances froze", []string{"a", "b"}, []string{"a"}, false},
		{"both go on", []string{"a", "b"}, []string{"a", "b"}, false},
		{"the only instance does not get it", []string{"a"}, []string{"a"}, true},
		{"the path is silent", []string{"a", "b"}, nil, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newShared(t)
			s.run(300*ms, 0, tt.before...)
			s.add(1)
			s.step()
			proven := s.last
			s.run(500*ms, proven, tt.before...)
			s.add(2)
			s.step()
			before := s.sends
			s.run(5000*ms, proven, tt.after...)
			l := s.e.Snapshot().Links[0]
			if dead := l.Deaths > 0; dead != tt.dead {
				t.Errorf("dead %v, want %v: %+v", dead, tt.dead, l)
			}
			if again := s.sends > before; again == tt.dead {
				t.Errorf("the lost batch was sent again: %v, dead: %v", again, tt.dead)
			}
			if n := s.e.links[0].cur.inFlight; n > 3*1100 {
				t.Errorf("%d bytes in flight, want forgotten what was forgiven", n)
			}
		})
	}
}
