package gnss

import (
	"testing"

	"telemetry/wire"
)

// watch gives a clock one fix and checks whatever anchor is due: its claim must
// hold. It returns how far the fix's tick is off, and whether there was an anchor.
func watch(t *testing.T, c *stampClock, trueUTC, toldUTC, arrival int64) (off int64, anchor bool) {
	t.Helper()
	f := &fix{utc: toldUTC, utcOK: true, located: true, accNS: 40, arrival: arrival}
	off = c.at(f) - trueUTC - bootOff
	a, ok := c.due(arrival)
	if !ok {
		return off, false
	}
	if wrong := a.BootNS - a.UTCNS - bootOff; max(wrong, -wrong) > a.UncertaintyNS && trueUTC == toldUTC {
		t.Errorf("%d s: an anchor is %d ms off and claims %d ms", (trueUTC-utcBase)/secondNS, wrong/1e6, a.UncertaintyNS/1e6)
	}
	return off, true
}

// TestLeapSecondThatIsLearnedLate: a receiver that begins with a leap second too
// few tells a time that is one second late, until it has heard the almanac.
func TestLeapSecondThatIsLearnedLate(t *testing.T) {
	for _, c := range []struct {
		name           string
		perSecond      int64
		latency, errNS int64
		wrong          int64 // of what it tells at first
		resets         uint64
	}{
		{"1 Hz of sentences, a second too late", 1, 250e6, 500e6, secondNS, 1},
		{"1 Hz of sentences, a second too early", 1, 250e6, 500e6, -secondNS, 1},
		{"10 Hz of sentences, a second too late", 10, 250e6, 500e6, secondNS, 1},
		{"25 Hz of solutions, a second too late", 25, 50e6, 100e6, secondNS, 1},
		{"25 Hz of solutions, three seconds too late", 25, 50e6, 100e6, 3 * secondNS, 1},
		{"5 Hz of sentences, half a second too late", 5, 250e6, 300e6, secondNS / 2, 1},
		{"5 Hz of sentences, right from the begin", 5, 250e6, 500e6, 0, 0},
	} {
		clk := &stampClock{latency: c.latency, errNS: c.errNS}
		anchors, last := 0, int64(0)
		for i := int64(0); i < 720*c.perSecond; i++ {
			truth := utcBase + i*secondNS/c.perSecond
			told := truth
			if i < 600*c.perSecond {
				told += c.wrong
			}
			if told == last {
				continue // an instant that was there before makes no row
			}
			last = told
			off, anchor := watch(t, clk, truth, told, truth+bootOff+c.latency+i%5*1e6)
			if i >= 620*c.perSecond {
				if max(off, -off) > c.errNS {
					t.Fatalf("%s: a row %d s after the correction is %d ms off", c.name, i/c.perSecond-600, off/1e6)
				}
				if anchor {
					anchors++
				}
			}
		}
		if clk.resets != c.resets || anchors < 9 {
			t.Errorf("%s: %d resets (want %d), %d anchors in 100 s", c.name, clk.resets, c.resets, anchors)
		}
	}
}

// TestOneFixAheadOfTime has a right checksum and a wrong time.
func TestOneFixAheadOfTime(t *testing.T) {
	for _, ahead := range []int64{500e6, 1500e6, 1999e6} {
		clk := &stampClock{latency: 250e6, errNS: 400e6}
		for i := int64(0); i < 600; i++ {
			truth := utcBase + i*secondNS/5
			told := truth
			if i == 100 {
				told += ahead
			}
			off, _ := watch(t, clk, truth, told, truth+bootOff+250e6)
			if i > 110 && max(off, -off) > 10e6 {
				t.Fatalf("%d ms ahead: row %d is %d ms off", ahead/1e6, i, off/1e6)
			}
		}
		if clk.resets != 0 || clk.strange == 0 {
			t.Errorf("%d ms ahead: %d resets, %d strange", ahead/1e6, clk.resets, clk.strange)
		}
	}
}

// TestStallIsNoOtherTime: while we stand still fixes wait in the port and then come
// at once, at the begin as well.
func TestStallIsNoOtherTime(t *testing.T) {
	for _, perSecond := range []int64{1, 5, 25} {
		clk := &stampClock{latency: 250e6, errNS: 500e6}
		stalls := [][2]int64{{0, 8}, {100, 107}, {200, 240}, {300, 301}} // s
		for i := int64(0); i < 400*perSecond; i++ {
			truth := utcBase + i*secondNS/perSecond
			arrival := truth + bootOff + 250e6
			for _, s := range stalls {
				if end := utcBase + s[1]*secondNS; truth >= utcBase+s[0]*secondNS && truth < end {
					arrival = end + bootOff + 250e6
				}
			}
			off, _ := watch(t, clk, truth, truth, arrival)
			if i >= 10*perSecond && max(off, -off) > 20e6 {
				t.Fatalf("%d Hz: row at %d s is %d ms off", perSecond, i/perSecond, off/1e6)
			}
		}
		if clk.resets != 0 {
			t.Errorf("%d Hz: %d resets", perSecond, clk.resets)
		}
	}
}

// TestDelayBeyondItsStatedErrorIsClaimed: which of two delays is the right one is
// not known, so that an anchor claims the difference.
func TestDelayBeyondItsStatedErrorIsClaimed(t *testing.T) {
	clk := &stampClock{latency: 50e6, errNS: 100e6}
	var last wire.Anchor
	for i := int64(0); i < 600; i++ {
		utc := utcBase + i*secondNS/10
		delay := int64(50e6)
		if i >= 300 {
			delay = 350e6
		}
		f := &fix{utc: utc, utcOK: true, located: true, accNS: 40, arrival: utc + bootOff + delay}
		clk.at(f)
		if a, ok := clk.due(f.arrival); ok {
			last = a
		}
	}
	if last.UncertaintyNS < 350e6 || last.UncertaintyNS > 420e6 || clk.resets != 0 {
		t.Errorf("an anchor claims %d ms, %d resets", last.UncertaintyNS/1e6, clk.resets)
	}
	for i := int64(600); i < 800; i++ { // as before
		utc := utcBase + i*secondNS/10
		f := &fix{utc: utc, utcOK: true, located: true, accNS: 40, arrival: utc + bootOff + 50e6}
		clk.at(f)
		if a, ok := clk.due(f.arrival); ok {
			last = a
		}
	}
	if last.UncertaintyNS > 102e6 {
		t.Errorf("an anchor claims %d ms after the delay was small again", last.UncertaintyNS/1e6)
	}
}
