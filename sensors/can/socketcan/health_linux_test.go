package socketcan

import (
	"strings"
	"testing"

	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/wire"
)

// stepClock is a boot clock that a test sets.
type stepClock struct{ now int64 }

func (c *stepClock) BootNS() int64               { return c.now }
func (c *stepClock) Pair() (bootNS, utcNS int64) { return c.now, c.now }

// newsSink keeps events.
type newsSink struct{ events []wire.Event }

func (*newsSink) Append(sensors.Rows) error { return nil }

func (s *newsSink) Event(e wire.Event) error {
	s.events = append(s.events, e)
	return nil
}

// TestBusAtTheEdgeOfAState: the error counter of a bad bus goes up and down around a
// limit with every frame. The counters count it all; the critical lane, which has little
// room and goes first, hears the first changes, the number of the others and the last state.
func TestBusAtTheEdgeOfAState(t *testing.T) {
	clock, out := &stepClock{now: 1e9}, &newsSink{}
	s, err := New(Config{Interface: "can0", Raw: true, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	r := &run{Source: s, out: out}
	warning := can.Frame{Err: true, ID: errController, Len: 8, Bytes: [64]byte{1: controllerRXWarning}}
	active := can.Frame{Err: true, ID: errController, Len: 8, Bytes: [64]byte{1: controllerActive}}
	const changes = 10_000
	for range changes / 2 { // 5 s
		clock.now += 1e6
		r.health.errorFrame(r, &warning)
		r.health.errorFrame(r, &active)
		r.health.tellChanges(r, false)
	}
	r.health.errorFrame(r, &warning)
	r.health.tellChanges(r, true)
	if n := s.count.warnings.Load(); n != changes/2+1 {
		t.Errorf("%d warnings counted", n)
	}
	if n := len(out.events); n < 5 || n > 60 {
		t.Errorf("%d events in five seconds", n)
	}
	if len(out.events) > 0 {
		if d := out.events[0].Detail; !strings.HasPrefix(d, "can0: error warning") {
			t.Errorf("the first event says %q", d)
		}
		if d := out.events[len(out.events)-1].Detail; !strings.HasPrefix(d, "can0: error warning") {
			t.Errorf("the last event says %q", d)
		}
	}
}
