package headline

import (
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	var got []Result
	cfg := Config{Channels: 300, RateHz: 100, Seconds: 2, Rows: 10, Dir: t.TempDir(), Speeds: []string{"fast", "full"}}
	procs := runtime.GOMAXPROCS(0)
	if err := Run(t.Context(), cfg, func(r Result) { got = append(got, r) }); err != nil {
		t.Fatal(err)
	}
	if want := 2 * 2 * min(2, runtime.NumCPU()); len(got) != want {
		t.Fatalf("%d results, want %d", len(got), want)
	}
	for _, r := range got {
		if r.SamplesPerSecond <= 0 || r.CarSecondsPerSecond <= 0 || r.BitsPerSample <= 1 || r.BitsPerSample >= 32 || r.CarSeconds < 2 {
			t.Errorf("%+v", r)
		}
	}
	if fast, full := got[0], got[len(got)-1]; full.BitsPerSample >= fast.BitsPerSample {
		t.Errorf("full takes %f bits, fast %f", full.BitsPerSample, fast.BitsPerSample)
	}
	if now := runtime.GOMAXPROCS(0); now != procs {
		t.Errorf("%d processors after the run, %d before", now, procs)
	}
}

// TestPoolIsNoRamp asks that rows move, and not all in the same way.
func TestPoolIsNoRamp(t *testing.T) {
	rows, err := pool(Config{Channels: 400, RateHz: 1500, Rows: 15}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	n := len(rows[0].Types)
	moving, bent := 0, 0
	for c := range n {
		var x []int64
		for r := range rows[0].Ticks {
			x = append(x, rows[0].Values[r*n+c])
		}
		if slices.Max(x) != slices.Min(x) {
			moving++
		}
		for i := 2; i < len(x); i++ {
			if x[i]-x[i-1] != x[1]-x[0] {
				bent++
				break
			}
		}
	}
	if n != 400 || moving < n/4 || bent < n/4 {
		t.Fatalf("%d of %d channels move, %d of them not as ramps", moving, n, bent)
	}
	if slices.Equal(rows[0].Values, rows[1].Values) {
		t.Error("two windows are the same")
	}
}

func TestValidate(t *testing.T) {
	err := Run(t.Context(), Config{Channels: -1, RateHz: 2000, Rows: 5000, Speeds: []string{"slow"}}, nil)
	for _, want := range []string{"channels -1", "rate 2000", "rows 5000", `speed "slow"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q in it", err, want)
		}
	}
}
