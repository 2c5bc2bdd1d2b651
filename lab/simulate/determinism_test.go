package simulate_test

import (
	"fmt"
	"runtime"
	"testing"

	"telemetry/lab/simulate"
)

// TestASeedDecidesEverything: the same plan gives the same events, to the last
// one, and the same outputs, on one processor and on two.
func TestASeedDecidesEverything(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	t.Cleanup(func() { runtime.GOMAXPROCS(before) })
	last := uint64(24)
	if testing.Short() {
		last = 6
	}
	for seed := uint64(1); seed <= last; seed++ {
		var first []string
		var digest uint64
		for i, procs := range [...]int{1, 2, 1} {
			runtime.GOMAXPROCS(procs)
			var trace []string
			res := run(t, simulate.NewPlan(seed), simulate.Options{Trace: func(s string) { trace = append(trace, s) }})
			trace = append(trace, fmt.Sprintf("digest %x", res.Digest))
			if i == 0 {
				first, digest = trace, res.Digest
			}
			for n, line := range first {
				if n >= len(trace) || trace[n] != line {
					t.Fatalf("seed %d on %d processors, event %d: first\n%s\nthen\n%s", seed, procs, n, line, trace[min(n, len(trace)-1)])
				}
			}
			if len(trace) != len(first) || res.Digest != digest {
				t.Errorf("seed %d on %d processors: %d and %d events, digests %x and %x", seed, procs, len(first), len(trace), digest, res.Digest)
			}
		}
		if len(first) < 100 {
			t.Errorf("seed %d: only %d events", seed, len(first))
		}
	}
}
