package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"telemetry/internal/config"
)

// CAN_LOOP says for how long the log is played through the whole agent, in its
// own time (default 20m): source, raw frames, encoder, previews and spool, whose
// quota is full long before the end.
func TestMemoryStaysFlatOverALoopedLog(t *testing.T) {
	data, err := filepath.Abs(filepath.Join("..", "..", "..", "shared", "data"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(data, "can_subaru_candump.log.gz")); err != nil {
		t.Skip("needs ../shared/data/can_subaru_candump.log.gz")
	}
	long, err := time.ParseDuration(os.Getenv("CAN_LOOP"))
	if err != nil {
		long = 20 * time.Minute
	}
	cfg := configure(t, fmt.Sprintf("sources: [{name: bus, candump: {file: %q, dbc: %q, interfaces: [can0], raw: true, speed: max, loop: true}}]\n",
		filepath.Join(data, "can_subaru_candump.log.gz"), filepath.Join(data, "can_subaru.dbc")), map[string]string{})
	cfg.Spool.Quota = config.MinQuota
	a, err := Prepare(cfg, os.DirFS("/"), silent())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }() // ends with stop
	const perSecond = 82558 / 90.282   // frames of the log
	frames := func() uint64 {
		for _, s := range a.Status().Sources {
			if s.Name == "bus" {
				return s.Counters["frames"]
			}
		}
		return 0
	}
	reach := func(share float64) uint64 {
		for want := uint64(share * long.Seconds() * perSecond); frames() < want; {
			select {
			case err := <-done:
				t.Fatalf("the agent ended: %v", err)
			case <-time.After(20 * time.Millisecond):
			}
		}
		runtime.GC()
		runtime.GC() // what finalizers held
		var s runtime.MemStats
		runtime.ReadMemStats(&s)
		return s.HeapAlloc
	}
	begun := time.Now()
	// The least of several looks: what is on its way comes and goes.
	least := func(from float64) uint64 {
		m := reach(from)
		for i := range 5 {
			m = min(m, reach(from+0.1*float64(i)))
		}
		return m
	}
	early := least(0.1)
	late := least(0.6)
	took := time.Since(begun)
	s := a.Status()
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	const slack = 4 << 20 // batches on their way; 4 bytes a frame show
	if late > early+slack {
		t.Errorf("heap grew from %d to %d bytes", early, late)
	}
	if s.Spool.LostQuota == 0 && long > time.Hour {
		t.Errorf("the quota was never full: %+v", s.Spool)
	}
	t.Logf("%v of log time, %d frames in %.0f s: heap %d KiB, then %d KiB; peak of the process %s", long, s.Sources[0].Counters["frames"], took.Seconds(), early>>10, late>>10, peak())
}

// peak returns the most memory that the process had resident.
func peak() string {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			return strings.Join(strings.Fields(rest), " ")
		}
	}
	return "unknown"
}
