package sensors

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/wire"
)

// script is a source that runs one function per Run.
type script struct {
	runs []func(ctx context.Context, out Sink) error
	at   []time.Time
}

func (s *script) Groups() []wire.Group {
	return []wire.Group{{Name: "g", Channels: []wire.Channel{{Name: "a"}, {Name: "b"}}}}
}

func (s *script) Run(ctx context.Context, out Sink) error {
	s.at = append(s.at, time.Now())
	run := s.runs[min(len(s.at), len(s.runs))-1]
	return run(ctx, out)
}

func (s *script) Counters() []Counter { return []Counter{{Name: "runs", Value: uint64(len(s.at))}} }

// countSink may be shared by sources.
type countSink struct {
	rows, events atomic.Int64
	err          error
}

func (c *countSink) Append(r Rows) error      { c.rows.Add(int64(len(r.Ticks))); return c.err }
func (c *countSink) Event(_ wire.Event) error { c.events.Add(1); return c.err }

func oneRow(out Sink) error {
	return out.Append(Rows{Ticks: []int64{1}, Values: []int64{1, 2}})
}

func fails(context.Context, Sink) error { return errors.New("device is gone") }

func panics(context.Context, Sink) error { panic("index out of range") }

func ends(_ context.Context, out Sink) error {
	return errors.Join(oneRow(out), out.Event(wire.Event{Name: "end"}))
}

func stays(ctx context.Context, out Sink) error {
	err := oneRow(out)
	<-ctx.Done()
	return errors.Join(err, ctx.Err())
}

func newTestSupervisor(t *testing.T, sources map[string]*script, sink Sink) *Supervisor {
	t.Helper()
	s := NewSupervisor(SupervisorConfig{Jitter: func() float64 { return 0.5 }})
	for _, name := range []string{"bad", "panic", "file", "good"} {
		if src := sources[name]; src != nil {
			if err := s.Add(name, src, sink); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

func TestSupervisorKeepsTheOthersRunning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type runs = []func(context.Context, Sink) error
		sources := map[string]*script{
			"bad":   {runs: runs{fails}},
			"panic": {runs: runs{panics, panics, stays}},
			"file":  {runs: runs{ends}},
			"good":  {runs: runs{stays}},
		}
		sink := &countSink{}
		s := newTestSupervisor(t, sources, sink)
		if err := s.Add("bad", sources["bad"], sink); err == nil {
			t.Error("a name was taken twice")
		}
		for _, st := range s.Status() {
			if st.State != StateIdle {
				t.Errorf("%s is %s before Run", st.Name, st.State)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }() // ends with cancel
		time.Sleep(10 * time.Minute)
		synctest.Wait()

		st := s.Status()
		if st[0].State != StateWaiting || st[0].Failures < 20 || st[0].LastError != "device is gone" {
			t.Errorf("bad: %+v", st[0])
		}
		if st[0].Restarts+1 != uint64(len(sources["bad"].at)) || st[0].Counters[0].Value != uint64(len(sources["bad"].at)) {
			t.Errorf("bad: %d restarts, %d runs", st[0].Restarts, len(sources["bad"].at))
		}
		if st[1].State != StateRunning || st[1].Restarts != 2 || !strings.Contains(st[1].LastError, "index out of range") {
			t.Errorf("panic: %+v", st[1])
		}
		if st[2].State != StateDone || st[2].Restarts != 0 || st[2].Rows != 1 || st[2].Values != 2 || st[2].Events != 1 {
			t.Errorf("file: %+v", st[2])
		}
		if st[3].State != StateRunning || st[3].Rows != 1 {
			t.Errorf("good: %+v", st[3])
		}
		if sink.rows.Load() != 3 || sink.events.Load() != 1 {
			t.Errorf("the sink took %d rows and %d events", sink.rows.Load(), sink.events.Load())
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		for i, want := range []State{StateStopped, StateStopped, StateDone, StateStopped} {
			if got := s.Status()[i].State; got != want {
				t.Errorf("%s is %s in the end, want %s", st[i].Name, got, want)
			}
		}
	})
}

func TestBackoffDoublesAndForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := func(ctx context.Context, out Sink) error { time.Sleep(MaxBackoff); return errors.New("late") }
		src := &script{runs: []func(context.Context, Sink) error{fails, fails, fails, fails, fails, fails, fails, fails, fails, fails, long, ends}}
		s := newTestSupervisor(t, map[string]*script{"bad": src}, &countSink{})
		if err := s.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := MinBackoff
		for i := 1; i < len(src.at); i++ {
			gap := src.at[i].Sub(src.at[i-1])
			if i == len(src.at)-1 { // after the long run
				gap, want = gap-MaxBackoff, MinBackoff
			}
			if gap != want*3/4 { // jitter of a half: the middle of the upper half
				t.Errorf("wait %d: %v, want %v", i, gap, want*3/4)
			}
			want = min(2*want, MaxBackoff)
		}
	})
}

func TestSinkThatStopsEndsTheSource(t *testing.T) {
	s := newTestSupervisor(t, map[string]*script{"file": {runs: []func(context.Context, Sink) error{ends}}}, &countSink{err: errors.New("closed")})
	if err := s.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if st := s.Status()[0]; st.State != StateStopped || st.Restarts != 0 {
		t.Errorf("%+v", st)
	}
}

func TestRowsCheck(t *testing.T) {
	groups := (&script{}).Groups()
	for _, tc := range []struct {
		name string
		rows Rows
		ok   bool
	}{
		{"one row", Rows{Ticks: []int64{1}, Values: []int64{1, 2}}, true},
		{"same tick", Rows{Ticks: []int64{1, 1}, Values: []int64{1, 2, 3, 4}, Present: []uint64{7}}, true},
		{"no row", Rows{}, false},
		{"group", Rows{Group: 1, Ticks: []int64{1}, Values: []int64{1, 2}}, false},
		{"negative group", Rows{Group: -1, Ticks: []int64{1}, Values: []int64{1, 2}}, false},
		{"values", Rows{Ticks: []int64{1}, Values: []int64{1}}, false},
		{"present", Rows{Ticks: []int64{1}, Values: []int64{1, 2}, Present: []uint64{}}, false},
		{"back in time", Rows{Ticks: []int64{2, 1}, Values: []int64{1, 2, 3, 4}}, false},
	} {
		if err := tc.rows.Check(groups); (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
	if !Bit(nil, 99) || Bit([]uint64{1}, 1) || !Bit([]uint64{0, 2}, 65) {
		t.Error("Bit reads the wrong bit")
	}
}

func TestRowsThatAreNotAsTheGroupsSayAreCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := func(_ context.Context, out Sink) error {
			return errors.Join(oneRow(out), out.Append(Rows{Ticks: []int64{1, 2}, Values: []int64{1}}))
		}
		sink := &countSink{}
		s := newTestSupervisor(t, map[string]*script{"bad": {runs: []func(context.Context, Sink) error{wrong, ends}}}, sink)
		if err := s.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if st := s.Status()[0]; st.Refused != 2 || st.Rows != 2 || st.Failures != 1 || st.State != StateDone || sink.rows.Load() != 2 {
			t.Errorf("%+v, %d rows in the sink", st, sink.rows.Load())
		}
	})
}
