//go:build linux

package socketcan

import (
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/wire"
)

// machineClock is the machine's own clock.
type machineClock struct{}

func (machineClock) BootNS() int64 { return nanos(unix.CLOCK_BOOTTIME) }

func (machineClock) Pair() (bootNS, utcNS int64) {
	return nanos(unix.CLOCK_BOOTTIME), nanos(unix.CLOCK_REALTIME)
}

func nanos(id int32) int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(id, &ts)
	return ts.Nano()
}

// rawSink takes raw rows, whose group is the last one, and gives frames back.
type rawSink struct {
	t       *testing.T
	source  *Source
	onFrame func(f *can.Frame, tick int64)
	gate    chan struct{} // nil: open; else Append waits until it is closed

	mu     sync.Mutex
	rows   int
	tick   int64
	events []wire.Event
}

func (s *rawSink) Append(r sensors.Rows) error {
	if s.gate != nil {
		<-s.gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	groups := s.source.Groups()
	if err := r.Check(groups); err != nil {
		s.t.Error(err)
	}
	if r.Group != len(groups)-1 || !s.source.cfg.Raw {
		s.rows += len(r.Ticks)
		return nil
	}
	width := len(groups[r.Group].Channels)
	row := make([]int64, width)
	for i, tick := range r.Ticks {
		for k := range row {
			row[k] = 0
			if sensors.Bit(r.Present, i*width+k) {
				row[k] = r.Values[i*width+k]
			}
		}
		f, err := can.RawFrame(row)
		if err != nil {
			s.t.Error(err)
		}
		if tick < s.tick {
			s.t.Errorf("tick %d after %d", tick, s.tick)
		}
		s.tick = tick
		s.rows++
		if s.onFrame != nil {
			s.onFrame(&f, tick)
		}
	}
	return nil
}

func (s *rawSink) Event(e wire.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, e)
	return nil
}

func (s *rawSink) taken() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows
}

// heard returns the details of the events of a name.
func (s *rawSink) heard(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, e := range s.events {
		if e.Name == name {
			out = append(out, e.Detail)
		}
	}
	return out
}

func (s *rawSink) hears(name, part string) bool {
	for _, d := range s.heard(name) {
		if strings.Contains(d, part) {
			return true
		}
	}
	return false
}

// await polls for a condition.
func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never came about: %s", what)
		}
	}
}

func counter(t *testing.T, s *Source, name string) uint64 {
	t.Helper()
	for _, c := range s.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	t.Fatalf("no counter %s", name)
	return 0
}
