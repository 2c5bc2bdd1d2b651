package can

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"telemetry/sensors"
	"telemetry/sensors/dbc"
	"telemetry/wire"
)

// heapMeter takes rows until a time of the log and notes the heap in use on the
// way.
type heapMeter struct {
	t           *testing.T
	first, end  int64 // ticks
	begun       bool
	early, late uint64 // bytes in use after a tenth of the way, and at its end
	rows        int
}

var errEnd = errors.New("the end of the test")

func (m *heapMeter) Append(r sensors.Rows) error {
	tick := r.Ticks[len(r.Ticks)-1]
	if !m.begun {
		m.begun, m.first, m.end = true, r.Ticks[0], r.Ticks[0]+m.end
	}
	m.rows += len(r.Ticks)
	if m.early == 0 && tick-m.first > (m.end-m.first)/10 {
		m.early = heap()
	}
	if tick >= m.end {
		m.late = heap()
		return errEnd
	}
	return nil
}

func (m *heapMeter) Event(wire.Event) error { return nil }

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers held
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

// CAN_LOOP says for how long the log is played, in its own time (default 10m).
func TestMemoryStaysFlatOverALoopedLog(t *testing.T) {
	log := filepath.Join("..", "..", "..", "shared", "data", "can_subaru_candump.log.gz")
	if _, err := os.Stat(log); err != nil {
		t.Skip("needs ../shared/data/can_subaru_candump.log.gz")
	}
	long, err := time.ParseDuration(os.Getenv("CAN_LOOP"))
	if err != nil {
		long = 10 * time.Minute
	}
	f, err := os.Open(filepath.Join("..", "..", "..", "shared", "data", "can_subaru.dbc"))
	if err != nil {
		t.Skip("needs ../shared/data/can_subaru.dbc")
	}
	defer f.Close()
	file, _, err := dbc.Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	db, _ := dbc.Compile(file)
	s, err := NewReplay(ReplayConfig{Path: log, Buses: []Bus{{Databases: []*dbc.Database{db}}}, Unpaced: true, Loop: true, Clock: zeroClock{}})
	if err != nil {
		t.Fatal(err)
	}
	m := &heapMeter{t: t, end: int64(long)}
	if err := s.Run(context.Background(), m); !errors.Is(err, errEnd) {
		t.Fatal(err)
	}
	const slack = 512 << 10
	if m.late > m.early+slack {
		t.Errorf("heap grew from %d to %d bytes", m.early, m.late)
	}
	passes := uint64(0)
	for _, c := range s.Counters() {
		if c.Name == "passes" {
			passes = c.Value
		}
	}
	t.Logf("%v of log time, %d passes, %d rows: heap %d KiB, then %d KiB", long, passes, m.rows, m.early>>10, m.late>>10)
}

// zeroClock is a clock that stands still: an unpaced replay needs only its start.
type zeroClock struct{}

func (zeroClock) BootNS() int64 { return 0 }
