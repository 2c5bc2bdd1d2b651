package sensors

import "testing"

func TestBurst(t *testing.T) {
	var b Burst
	told, said, rest := 0, 0, uint64(0)
	const ms = int64(1_000_000)
	for now := int64(5); now < 10_000*ms; now += ms {
		if b.Tell(now) {
			told++
		}
		if n := b.Rest(now, false); n > 0 {
			said++
			rest += n
		}
	}
	rest += b.Rest(10_000*ms, true)
	if told != 10*burstEvents || said != 9 || uint64(told)+rest != 10_000 {
		t.Errorf("%d told and %d counted, %d times, of 10,000 in ten seconds", told, rest, said)
	}
	if !b.Tell(12_000*ms) || b.Rest(20_000*ms, true) != 0 {
		t.Error("after a pause the first one is told at once, and nothing is left")
	}
}
