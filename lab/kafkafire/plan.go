package kafkafire

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// kind is what a strike does.
type kind string

const (
	killReceiver kind = "kill receiver" // SIGKILL, started again after Length
	freeze       kind = "freeze"        // SIGSTOP for Length, then SIGCONT
	killBroker   kind = "kill broker"   // SIGKILL, started again after Length
	moveCar      kind = "move car"      // to the other receiver alone, and back to both after Length
)

// strike is one thing that happens.
type strike struct {
	At     time.Duration // from the beginning of the load
	Kind   kind
	Target int // receiver 0 or 1, broker 1 to 3, or the car's index
	Length time.Duration
}

func (s strike) String() string {
	return fmt.Sprintf("%v: %s %d for %v", s.At.Round(time.Millisecond), s.Kind, s.Target, s.Length.Round(time.Millisecond))
}

// Times of the plan.
const (
	killEveryLeast = 10 * time.Second
	killEveryMost  = 20 * time.Second
	restMost       = 2 * time.Second  // a killed receiver stays away at most
	freezeLength   = 14 * time.Second // a group's session timeout is 10 s
	brokerAway     = 8 * time.Second
	moveLength     = 10 * time.Second
	tail           = 4 * time.Second // without a new strike at the end
)

// plan says what happens in a pass of that length. Receivers are killed in turn
// every 10 to 20 s, never while the other one is frozen or the same one is: so
// somebody serves the cars nearly always, and a frozen one is woken, not killed.
func plan(seed uint64, length time.Duration, cars int) []strike {
	rng := rand.New(rand.NewPCG(seed, 19))
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(rng.Int64N(int64(most-least)+1))
	}
	var out []strike
	frozen := strike{At: length * 4 / 10, Kind: freeze, Target: rng.IntN(2), Length: freezeLength}
	out = append(out, frozen, strike{At: length * 2 / 10, Kind: killBroker, Target: 1 + rng.IntN(3), Length: brokerAway})
	if length >= 3*time.Minute {
		out = append(out, strike{At: length * 7 / 10, Kind: killBroker, Target: 1 + rng.IntN(3), Length: brokerAway})
	}
	for at := length / 10; at+moveLength < length-tail; at += max(length/3, 20*time.Second) {
		out = append(out, strike{At: at, Kind: moveCar, Target: rng.IntN(cars), Length: moveLength})
	}
	next := rng.IntN(2)
	for at := between(3*time.Second, 8*time.Second); at < length-tail; at += between(killEveryLeast, killEveryMost) {
		s := strike{At: at, Kind: killReceiver, Target: next, Length: between(0, restMost)}
		if at+s.Length+time.Second > frozen.At && at < frozen.At+frozen.Length+2*time.Second {
			at = frozen.At + frozen.Length + 2*time.Second
			if s.At = at; at >= length-tail {
				break
			}
		}
		out = append(out, s)
		next = 1 - next
	}
	slices.SortStableFunc(out, func(a, b strike) int { return int(a.At - b.At) })
	return out
}
