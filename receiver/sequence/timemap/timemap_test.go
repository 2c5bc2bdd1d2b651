package timemap

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"telemetry/wire"
)

const (
	ms  = int64(1e6)
	sec = int64(1e9)
	utc = int64(1_800_000_000_000_000_000)
)

var epoch = wire.Epoch{Counter: 3, Nonce: 0xfeed}

func anchor(id uint32, boot, off, unc int64) wire.Anchor {
	return wire.Anchor{ID: id, BootNS: boot, UTCNS: boot + off, UncertaintyNS: unc, Source: wire.AnchorNTP}
}

func TestVerdicts(t *testing.T) {
	first := anchor(1, 10*sec, utc, 10*ms)
	cases := []struct {
		name string
		next wire.Anchor
		want Verdict
	}{
		{"the same again", first, Ignored},
		{"an older one", anchor(2, 9*sec, utc, ms), Ignored},
		{"a worse one that agrees", anchor(2, 11*sec, utc, 50*ms), Ignored},
		{"a better one that agrees", anchor(2, 11*sec, utc+50_000, 5*ms), Kept},
		{"a better one beside it", anchor(2, 11*sec, utc+2*ms, 5*ms), Slewed},
		{"one that contradicts it", anchor(2, 11*sec, utc+2*sec, 5*ms), Stepped},
		{"one that contradicts it, backwards", anchor(2, 11*sec, utc-2*sec, 5*ms), Stepped},
		{"no uncertainty", anchor(2, 11*sec, utc, 0), Ignored},
		{"before 1970", wire.Anchor{ID: 2, BootNS: 11 * sec, UTCNS: -1, UncertaintyNS: ms}, Ignored},
		{"absurd boot time", wire.Anchor{ID: 2, BootNS: 1<<63 - 1, UTCNS: utc, UncertaintyNS: ms}, Ignored},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var car Car
			if got := car.Add(epoch, first); got != First {
				t.Fatalf("first anchor: got %v, want first", got)
			}
			if got := car.Add(epoch, c.next); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestNoAnchorIsUnsynced(t *testing.T) {
	var car Car
	if got := car.At(epoch, sec); got != (Stamp{}) {
		t.Errorf("got %+v, want the zero stamp", got)
	}
	car.Add(wire.Epoch{Counter: 9}, anchor(1, sec, utc, ms))
	if got := car.At(epoch, sec); got.Synced {
		t.Errorf("another epoch's anchor was used: %+v", got)
	}
}

func TestFirstAnchorMapsBackwards(t *testing.T) {
	var car Car
	car.Add(epoch, anchor(7, 100*sec, utc, ms))
	got := car.At(epoch, 40*sec)
	if got.UTCNS != 40*sec+utc || got.Anchor != 7 || got.Segment != 1 || !got.Synced {
		t.Errorf("got %+v", got)
	}
	if want := ms + 60*sec*DriftPPM/1_000_000; got.UncNS != want {
		t.Errorf("uncertainty: got %d, want %d", got.UncNS, want)
	}
}

func TestSlewStartsBehindWhatWasRead(t *testing.T) {
	var m Map
	m.Add(anchor(1, 10*sec, utc, 10*ms))
	before := m.At(15 * sec).UTCNS
	m.See(15 * sec)
	if got := m.Add(anchor(2, 12*sec, utc+2*ms, ms)); got != Slewed {
		t.Fatalf("got %v, want slewed", got)
	}
	if got := m.At(15 * sec).UTCNS; got != before {
		t.Errorf("an instant that was read moved by %d ns", got-before)
	}
	prev := before
	for boot := 15*sec + ms; boot <= 25*sec; boot += ms {
		got := m.At(boot).UTCNS
		if rate := got - prev - ms; rate < 0 || rate > ms*SlewPPM/1_000_000 {
			t.Fatalf("at %d: moved by %d ns in 1 ms", boot, rate)
		}
		prev = got
	}
	if got := prev - 25*sec - utc; got != 2*ms {
		t.Errorf("offset after the slew: got %d, want %d", got, 2*ms)
	}
}

func TestStepOpensSegment(t *testing.T) {
	var m Map
	m.Add(anchor(1, 10*sec, utc, ms))
	m.See(20 * sec)
	m.Add(anchor(2, 19*sec, utc+sec, ms))
	old, fresh := m.At(20*sec), m.At(20*sec+1)
	if old.Segment != 1 || old.Anchor != 1 || old.UTCNS != 20*sec+utc {
		t.Errorf("old segment: %+v", old)
	}
	if fresh.Segment != 2 || fresh.Anchor != 2 || fresh.UTCNS != 20*sec+1+utc+sec {
		t.Errorf("new segment: %+v", fresh)
	}
}

func TestWildTimestampDoesNotPinTheMap(t *testing.T) {
	var m Map
	m.Add(anchor(1, 10*sec, utc, ms))
	m.See(1<<63 - 1)
	m.See(-1 << 63)
	m.At(1<<63 - 1)
	m.At(-1 << 63)
	m.Add(anchor(2, 20*sec, utc+sec, ms))
	if got := m.At(20*sec + maxAhead).Segment; got != 2 {
		t.Errorf("segment an hour behind the anchor: got %d, want 2", got)
	}
}

// TestStateGivesTheSameMap drives two maps with the same anchors, one of them
// serialised after every step, and compares them and their bounds.
func TestStateGivesTheSameMap(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var plain, stored Car
	for i := range 4000 {
		boot := int64(i+1) * sec
		off := utc + int64(i)*10_000 + rng.Int64N(2*ms)
		if i%500 == 499 {
			off += int64(i) * sec
		}
		e := wire.Epoch{Counter: uint32(i / 200)}
		a := anchor(uint32(i+1), boot, off, ms+rng.Int64N(ms))
		if got, want := stored.Add(e, a), plain.Add(e, a); got != want {
			t.Fatalf("anchor %d: got %v, want %v", i, got, want)
		}
		at := boot - rng.Int64N(3*sec)
		stored.See(e, at)
		plain.See(e, at)
		if got, want := stored.At(e, at), plain.At(e, at); got != want {
			t.Fatalf("instant %d: got %+v, want %+v", at, got, want)
		}
		b := stored.Append(nil)
		var err error
		if stored, err = Parse(b); err != nil {
			t.Fatal(err)
		}
		if again := stored.Append(nil); !bytes.Equal(again, b) {
			t.Fatal("a parsed state serialises differently")
		}
		if len(stored.epochs) > MaxEpochs || len(stored.Map(e).Knots()) > MaxKnots {
			t.Fatal("limits exceeded")
		}
	}
}

func FuzzParse(f *testing.F) {
	var car Car
	car.Add(epoch, anchor(1, 10*sec, utc, 10*ms))
	car.Add(epoch, anchor(2, 12*sec, utc+2*ms, ms))
	f.Add(car.Append(nil))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := Parse(b)
		if err != nil {
			return
		}
		again, err := Parse(c.Append(nil))
		if err != nil || !bytes.Equal(again.Append(nil), c.Append(nil)) {
			t.Fatalf("parse → append is not stable: %v", err)
		}
	})
}

func TestManyMapsStayWithinTheCarsLimit(t *testing.T) {
	var car Car
	for e := range uint32(60) {
		for i := range int64(MaxKnots) {
			car.Add(wire.Epoch{Counter: e}, anchor(uint32(i+1), (i+1)*sec, utc+i*i*sec, ms))
		}
	}
	n := 0
	for _, e := range car.epochs {
		n += len(e.m.knots)
	}
	if n > MaxCarKnots || car.Map(wire.Epoch{Counter: 59}) == nil || car.Map(wire.Epoch{Counter: 0}) != nil {
		t.Errorf("%d bends of %d maps", n, len(car.epochs))
	}
}
