package uplink

import "testing"

func TestPick(t *testing.T) {
	const mbit = int64(1e6 / 8)
	fast := PathState{Usable: true, Rate: 10 * mbit, CapRate: 10 * mbit, RTT: 40 * ms, MinRTT: 40 * ms, Credit: 1 << 30}
	slow := PathState{Usable: true, Rate: 1 * mbit, CapRate: 1 * mbit, RTT: 80 * ms, MinRTT: 80 * ms, Credit: 1 << 30}
	mid := PathState{Usable: true, Rate: 2 * mbit, CapRate: 2 * mbit, RTT: 80 * ms, MinRTT: 80 * ms, Credit: 1 << 30}
	with := func(p PathState, change func(*PathState)) PathState { change(&p); return p }
	tests := []struct {
		name    string
		paths   []PathState
		striped int
		first   int
	}{
		{"earliest completion", []PathState{slow, fast}, 1, 1},
		{"nothing usable", []PathState{{Rate: mbit, Credit: 1}}, -1, -1},
		{"no path at all", nil, -1, -1},
		{"the fast one is at its cap: full overflows, live waits for it", []PathState{slow, with(fast, func(p *PathState) { p.InFlight = 250_000 })}, 0, 0},
		{"the fast one is a little above its cap: live waits", []PathState{with(slow, func(p *PathState) { p.RTT = 400 * ms }), with(fast, func(p *PathState) { p.InFlight = 198_000 })}, 0, -1},
		{"between the caps of full and live", []PathState{with(fast, func(p *PathState) { p.InFlight = 160_000 })}, -1, 0},
		{"its writer is busy: full overflows, live waits", []PathState{slow, with(fast, func(p *PathState) { p.Busy = true })}, 0, -1},
		{"its writer is busy and its socket watched: full waits as well", []PathState{slow, with(fast, func(p *PathState) { p.Busy, p.Watched, p.NowRate = true, true, p.Rate })}, -1, -1},
		{"the same beside a young one: full shows what that can do", []PathState{with(slow, func(p *PathState) { p.Young = true }), with(fast, func(p *PathState) { p.Busy, p.Watched, p.NowRate = true, true, p.Rate })}, 0, -1},
		{"the same and stalled just now: full overflows", []PathState{slow, with(fast, func(p *PathState) { p.Busy, p.Watched, p.NowRate, p.InFlight = true, true, 0, 4096 })}, 0, 0},
		{"busy, and no sooner than the free one", []PathState{with(fast, func(p *PathState) { p.InFlight = 1 }), with(fast, func(p *PathState) { p.Busy, p.Watched, p.NowRate = true, true, p.Rate })}, 0, -1},
		{"what is on its way is no queue for live", []PathState{mid, with(fast, func(p *PathState) { p.Watched, p.NowRate, p.InFlight, p.Recent = true, p.Rate, 50_000, 50_000 })}, 0, 1},
		{"what should be confirmed is one", []PathState{mid, with(fast, func(p *PathState) { p.Watched, p.NowRate, p.InFlight = true, p.Rate, 50_000 })}, 0, 0},
		{"more than fits on its way is one", []PathState{mid, with(fast, func(p *PathState) { p.Watched, p.NowRate, p.InFlight, p.Recent = true, p.Rate, 100_000, 100_000 })}, 0, 0},
		{"a suspect is not there", []PathState{slow, with(fast, func(p *PathState) { p.Usable = false })}, 0, 0},
		{"an unknown rate takes one batch", []PathState{{Usable: true, RTT: 40 * ms, MinRTT: 40 * ms, Credit: 1 << 20}}, 0, 0},
		{"an unknown rate takes not more than that", []PathState{{Usable: true, RTT: 40 * ms, MinRTT: 40 * ms, Credit: 1 << 20, InFlight: 18 << 10}}, -1, -1},
		{"full explores an unknown link, live doesn't", []PathState{slow, {Usable: true, RTT: 300 * ms, MinRTT: 300 * ms, Credit: 1 << 20}}, 1, 0},
		{"no credit left behind it", []PathState{with(fast, func(p *PathState) { p.Credit, p.InFlight = 0, 1 })}, -1, -1},
		{"a little credit: one batch into an empty path", []PathState{with(fast, func(p *PathState) { p.Credit = 1 })}, 0, 0},
		{"a little credit: no second one", []PathState{with(fast, func(p *PathState) { p.Credit, p.InFlight = 1, 4096 })}, -1, -1},
		{"shunned while another is there", []PathState{slow, with(fast, func(p *PathState) { p.Shun = true })}, 0, 0},
		{"shunned and alone", []PathState{with(fast, func(p *PathState) { p.Shun = true })}, 0, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := PickStriped(tt.paths, 4096); got != tt.striped {
				t.Errorf("PickStriped = %d, want %d", got, tt.striped)
			}
			if got := PickFirst(tt.paths, 4096); got != tt.first {
				t.Errorf("PickFirst = %d, want %d", got, tt.first)
			}
		})
	}
}

func TestCapIsRateTimesRoundTripAndTarget(t *testing.T) {
	p := PathState{Rate: 1_000_000, CapRate: 1_000_000, MinRTT: 40 * ms}
	if got, want := p.capBytes(80*ms), int64(120_000); got != want {
		t.Errorf("cap %d, want %d", got, want)
	}
	p.CapRate = 10_000
	if got := p.capBytes(80 * ms); got != minCapBytes {
		t.Errorf("cap of a slow link %d, want one batch (%d)", got, minCapBytes)
	}
}

func TestEstimate(t *testing.T) {
	t.Run("first guess", func(t *testing.T) {
		for _, c := range []struct {
			name               string
			dial, before, want int64
		}{
			{"never measured", 120 * ms, 0, 40 * ms},
			{"never measured, slow", 9000 * ms, 0, 1000 * ms},
			{"a dial through an outage", 2600 * ms, 60 * ms, 120 * ms},
			{"a dial quicker than before", 90 * ms, 60 * ms, 30 * ms},
		} {
			var e estimate
			if e.guess(c.dial, c.before); e.rtt() != c.want {
				t.Errorf("%s: %d ms, want %d", c.name, e.rtt()/ms, c.want/ms)
			}
		}
	})
	t.Run("suspicion", func(t *testing.T) {
		var e estimate
		e.guess(120*ms, 0)
		if got := e.suspectAfter(0); got != 200*ms {
			t.Errorf("without samples, RTT guess 40 ms: %d ms, want 200", got/ms)
		}
		for i := range 50 {
			e.rttSample(int64(i)*50*ms, 150*ms)
		}
		e.rateSample(0, 100_000, false)
		if got := e.suspectAfter(50_000); got < 700*ms || got > 750*ms {
			t.Errorf("150 ms + an ack's 50 ms + 50 kB at 100 kB/s: %d ms, want about 700", got/ms)
		}
	})
	t.Run("a limited sample only raises", func(t *testing.T) {
		var e estimate
		e.rateSample(0, 500_000, false)
		e.rateSample(1, 20_000, true)
		if e.rate != 500_000 {
			t.Errorf("rate %d after a limited sample, want 500000", e.rate)
		}
		e.rateSample(2, 900_000, true)
		if e.rate != 900_000 {
			t.Errorf("rate %d, want 900000", e.rate)
		}
	})
	t.Run("the rate follows a link that got slower within a second", func(t *testing.T) {
		var e estimate
		e.rateSample(0, 1_000_000, false)
		for at := int64(0); at <= 1100*ms; at += 50 * ms {
			e.rateSample(at, 100_000, false)
		}
		if e.rate != 100_000 {
			t.Errorf("rate %d, want 100000", e.rate)
		}
	})
	t.Run("what the application sent is no rate", func(t *testing.T) {
		var e estimate
		e.rateSample(0, 2000, true)
		if got := e.known(); got != 0 {
			t.Errorf("known rate %d, want 0", got)
		}
	})
	t.Run("least round trip is forgotten after 30 s", func(t *testing.T) {
		var e estimate
		e.rttSample(0, 20*ms)
		for at := int64(0); at < 31_000*ms; at += 500 * ms {
			e.rttSample(at, 60*ms)
		}
		if got := e.minRTT(); got != 60*ms {
			t.Errorf("least RTT %d ms, want 60", got/ms)
		}
	})
}

func TestRendezvousAgreesAndSpreads(t *testing.T) {
	a := []string{"tcp://a:1", "tcp://b:1", "tcp://c:1"}
	b := []string{"tcp://c:1", "tcp://a:1", "tcp://b:1", "tcp://a:1"}
	first := map[string]int{}
	for i := range 300 {
		car := "car-" + string(rune('a'+i%26)) + string(rune('a'+i/26))
		x, y := rendezvous(car, a), rendezvous(car, b)
		if len(y) != 3 || x[0] != y[0] || x[1] != y[1] || x[2] != y[2] {
			t.Fatalf("%s: %v and %v differ", car, x, y)
		}
		first[x[0]]++
	}
	for _, addr := range a {
		if first[addr] < 60 {
			t.Errorf("%s is first for %d of 300 cars", addr, first[addr])
		}
	}
}
