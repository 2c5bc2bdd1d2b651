package slcan

import (
	"math/rand/v2"
	"testing"
	"time"
)

// world is an adapter with a clock of its own and a host that reads late.
type world struct {
	rng      *rand.Rand
	driftPPM float64
	unit     int64
	wrap     int64
	start    int64 // adapter time at boot time 0
	restart  int64 // boot time at which the adapter's clock becomes start again; 0: never
}

// stamp is what the adapter writes for a frame at a boot time.
func (w *world) stamp(boot int64) uint32 {
	if w.restart > 0 && boot >= w.restart {
		boot -= w.restart
	}
	ns := w.start + int64(float64(boot)*(1+w.driftPPM/1e6))
	return uint32(ns / w.unit % w.wrap)
}

// delay is the host's: mostly a tenth of a millisecond, at times tens.
func (w *world) delay() int64 {
	d := 30_000 + int64(w.rng.ExpFloat64()*80_000)
	if w.rng.Float64() < 0.01 {
		d += int64(w.rng.Float64() * 40e6)
	}
	return d
}

func TestStampsMapToBootTimeWithinTheirResolution(t *testing.T) {
	const second = int64(time.Second)
	cases := map[string]struct {
		digits   int
		driftPPM float64
		start    int64
		gap      int64 // mean, between frames
		silences []int64
		freezes  []int64 // the host reads nothing for so long
		restart  int64
		maxErr   int64
		minGood  float64 // share of frames within maxErr
		restarts uint64  // at most
	}{
		"ms, over many turns":           {digits: 4, start: 59 * second, gap: 3e6, maxErr: 1e6, minGood: 1},
		"ms, fast crystal":              {digits: 4, driftPPM: 100, gap: 1e6, maxErr: 1e6, minGood: 1},
		"ms, slow crystal":              {digits: 4, driftPPM: -100, gap: 1e6, maxErr: 1e6, minGood: 1},
		"ms, few frames":                {digits: 4, driftPPM: 50, gap: 100e6, maxErr: 1e6, minGood: 0.99},
		"ms, silence of whole turns":    {digits: 4, driftPPM: 50, gap: 3e6, silences: []int64{29 * second, 60 * second, 95 * second, 3600 * second}, maxErr: 1e6, minGood: 0.999},
		"ms, host frozen":               {digits: 4, gap: 1e6, freezes: []int64{second, 5 * second, 20 * second}, maxErr: 1e6, minGood: 1},
		"ms, adapter restarts":          {digits: 4, gap: 1e6, start: 12345e6, restart: 20 * second, maxErr: 1e6, minGood: 0.999, restarts: 2},
		"µs":                            {digits: 8, driftPPM: 30, start: 3599 * second, gap: 1e6, maxErr: 150e3, minGood: 0.99},
		"µs, silence and a frozen host": {digits: 8, driftPPM: -30, gap: 1e6, silences: []int64{61 * second}, freezes: []int64{5 * second}, maxErr: 150e3, minGood: 0.95, restarts: 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			const seed, n = 3, 120_000
			w := &world{rng: rand.New(rand.NewPCG(seed, seed)), driftPPM: c.driftPPM, unit: unitMilliNS, wrap: wrapMilli, start: c.start, restart: c.restart}
			if c.digits == digitsMicro {
				w.unit, w.wrap = unitMicroNS, wrapMicro
			}
			var clock stampClock
			clock.reset(c.digits)
			boot, arrived, frozenTo := int64(7e9), int64(0), int64(0)
			good, total, worst := 0, 0, int64(0)
			for i := range n {
				boot += int64(w.rng.ExpFloat64() * float64(c.gap))
				every := n / (len(c.silences) + 1)
				if k := i / every; i%every == 0 && k > 0 && k <= len(c.silences) {
					boot += c.silences[k-1]
				}
				every = n / (len(c.freezes) + 1)
				if k := i / every; i%every == 0 && k > 0 && k <= len(c.freezes) {
					frozenTo = boot + c.freezes[k-1]
				}
				arrived = max(arrived, boot+w.delay(), frozenTo)
				adapter, ok := clock.at(w.stamp(boot), arrived)
				if i == settleEnough {
					clock.settling = false
				}
				if i <= settleEnough {
					continue
				}
				tick := arrived
				if ok {
					tick = clock.boot(adapter, arrived)
				}
				if tick > arrived {
					t.Fatalf("frame %d: tick is %d ns after its arrival", i, tick-arrived)
				}
				total++
				d := max(tick-boot, boot-tick)
				if worst = max(worst, d); d <= c.maxErr {
					good++
				}
			}
			t.Logf("worst error %d ns, %d of %d within %d ns; %d restarts, %d steps, %d strange", worst, good, total, c.maxErr, clock.restarts, clock.steps, clock.strange)
			if share := float64(good) / float64(total); share < c.minGood {
				t.Errorf("seed %d: %.5f of the frames are within %d ns, want %.5f", seed, share, c.maxErr, c.minGood)
			}
			if clock.restarts > c.restarts {
				t.Errorf("seed %d: saw %d restarts, want at most %d", seed, clock.restarts, c.restarts)
			}
		})
	}
}

func TestStampsThatMakeNoSenseAreNotUsed(t *testing.T) {
	var c stampClock
	c.reset(digitsMilli)
	c.settling = false
	arrival := int64(100e9)
	for i := range 100 { // a frame each millisecond
		if _, ok := c.at(uint32(i), arrival+int64(i)*1e6); !ok {
			t.Fatalf("stamp %d was not used", i)
		}
	}
	cases := []struct {
		name  string
		stamp uint32
	}{
		{"far ahead", 20_000}, {"behind", 40}, {"no such millisecond", 60_001},
	}
	for i, k := range cases {
		at := arrival + int64(100+2*i)*1e6
		if _, ok := c.at(k.stamp, at); ok {
			t.Errorf("%s: stamp %d was used", k.name, k.stamp)
		}
		adapter, ok := c.at(uint32(101+2*i), at+1e6)
		if got := c.boot(adapter, at+1e6); !ok || got != at+1e6 {
			t.Errorf("%s: the stamp after it gives %d (used %v), want %d", k.name, got, ok, at+1e6)
		}
	}
	if c.restarts != 0 || c.strange != 3 {
		t.Errorf("got %d restarts and %d strange stamps, want 0 and 3", c.restarts, c.strange)
	}
}

func TestStampsOfSixteenBitsAreLearned(t *testing.T) {
	var c stampClock
	c.reset(digitsMilli)
	c.settling = false
	host := 0
	for i := range 200_000 { // 200 s, a frame each millisecond
		if i > 60_000+overLimit {
			at := int64(5e9) + int64(i)*1e6
			adapter, ok := c.at(uint32(i%wrapMilli16), at)
			if !ok {
				host++
			} else if got := c.boot(adapter, at); got < at-1e6 {
				t.Fatalf("frame %d: tick is %d ns early", i, at-got)
			}
			continue
		}
		c.at(uint32(i%wrapMilli16), int64(5e9)+int64(i)*1e6)
	}
	if host != 0 || c.restarts != 0 {
		t.Errorf("after learning, %d stamps were not used and %d restarts seen, want none", host, c.restarts)
	}
}
