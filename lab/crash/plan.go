// Package crash kills and freezes running programs at seeded moments, starts them
// again, and keeps the truth of what it did and when.
//
// The entry points are [Plan], which is pure, and [Run]. A program is killed
// whatever it is doing, starting included; what that may cost is for others to
// judge by the returned [Outage] values.
package crash

import (
	"math/rand/v2"
	"time"
)

// Kind is what is done to a program.
type Kind uint8

// Kinds.
const (
	Kill   Kind = iota // SIGKILL, and a new start after Strike.For
	Freeze             // SIGSTOP, and SIGCONT after Strike.For
)

// String returns the kind's name.
func (k Kind) String() string {
	if k == Freeze {
		return "freeze"
	}
	return "kill"
}

// Strike is one blow.
type Strike struct {
	At   time.Duration // after the beginning of the run
	Kind Kind
	For  time.Duration // how long the program is dead or frozen
}

// Spec says how much is done and within what time.
type Spec struct {
	Kills, Freezes int
	From, To       time.Duration // no strike begins outside
	Dead           time.Duration // longest time between a kill and the next start; some are shorter, some are none
	Frozen         time.Duration // longest freeze; the shortest lasts half as long
}

// quick is how soon after a new start one kill of a plan comes: while the program
// still finds out what it had been doing.
const quick = 400 * time.Millisecond

// Plan spreads strikes over the time, in order: each at a random moment of a part
// of its own. If there are three kills or more, one that follows another comes
// right after the program was started again.
func Plan(seed uint64, s Spec) []Strike {
	rng := rand.New(rand.NewPCG(seed, 0xc4a5))
	n := s.Kills + s.Freezes
	if n == 0 {
		return nil
	}
	out := make([]Strike, n)
	for i := range out {
		out[i].Kind = Kill
		if i >= s.Kills {
			out[i].Kind = Freeze
		}
	}
	rng.Shuffle(n, func(i, j int) { out[i].Kind, out[j].Kind = out[j].Kind, out[i].Kind })
	part := (s.To - s.From) / time.Duration(n)
	for i := range out {
		k := &out[i]
		begin := s.From + time.Duration(i)*part
		if k.Kind == Freeze {
			k.For = between(rng, s.Frozen/2, s.Frozen)
		} else if rng.IntN(3) > 0 { // else it is started at once
			k.For = between(rng, 0, s.Dead)
		}
		k.For = min(k.For, part/2)
		k.At = begin + between(rng, 0, part-k.For)
	}
	if s.Kills >= 3 {
		hurry(rng, out)
	}
	return out
}

// hurry moves one kill right behind the kill before it.
func hurry(rng *rand.Rand, out []Strike) {
	first := rng.IntN(len(out))
	for i := range out {
		k := (first+i)%(len(out)-1) + 1
		if before := out[k-1]; before.Kind == Kill && out[k].Kind == Kill {
			out[k].At = min(out[k].At, before.At+before.For+between(rng, 0, quick))
			return
		}
	}
}

// between draws from from..to.
func between(rng *rand.Rand, from, to time.Duration) time.Duration {
	if to <= from {
		return from
	}
	return from + time.Duration(rng.Int64N(int64(to-from)+1))
}
