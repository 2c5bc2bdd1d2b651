package simulate_test

import (
	"testing"

	"telemetry/lab/simulate"
)

// TestASeedDecidesEverything: the same plan gives the same events, to the last
// one, and the same outputs.
func TestASeedDecidesEverything(t *testing.T) {
	for seed := uint64(1); seed <= 12; seed++ {
		var traces [2][]string
		var digests [2]uint64
		for i := range traces {
			res := run(t, simulate.NewPlan(seed), simulate.Options{Trace: func(s string) { traces[i] = append(traces[i], s) }})
			digests[i] = res.Digest
		}
		for i, line := range traces[0] {
			if i >= len(traces[1]) || traces[1][i] != line {
				t.Fatalf("seed %d, event %d: first\n%s\nthen\n%s", seed, i, line, traces[1][min(i, len(traces[1])-1)])
			}
		}
		if len(traces[0]) != len(traces[1]) || digests[0] != digests[1] {
			t.Errorf("seed %d: %d and %d events, digests %x and %x", seed, len(traces[0]), len(traces[1]), digests[0], digests[1])
		}
		if len(traces[0]) < 100 {
			t.Errorf("seed %d: only %d events", seed, len(traces[0]))
		}
	}
}
