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
	restartCar   kind = "restart car"   // off for Length, then a new epoch
)

// strike is one thing that happens.
type strike struct {
	At     time.Duration // from the beginning of the load
	Kind   kind
	Target int // receiver 0 or 1, broker 1 to 3, or the car's index
	Length time.Duration
}

// end is when it is over.
func (s strike) end() time.Duration { return s.At + s.Length }

func (s strike) String() string {
	return fmt.Sprintf("%v: %s %d for %v", s.At.Round(time.Millisecond), s.Kind, s.Target, s.Length.Round(time.Millisecond))
}

// Times of the plan.
const (
	killEveryLeast = 10 * time.Second
	killEveryMost  = 20 * time.Second
	restMost       = 2 * time.Second // a killed receiver stays away at most
	freezeLeast    = 12 * time.Second
	freezeMost     = 15 * time.Second // a group's session timeout is 10 s
	wakeRest       = 2 * time.Second  // after a freeze, before the next strike at a receiver
	brokerAway     = 8 * time.Second
	brokerRest     = 15 * time.Second // from one broker's return to the next one's death
	moveLength     = 10 * time.Second
	offMost        = 3 * time.Second // a restarted car stays off at most
	tail           = 4 * time.Second // without a new strike at the end
)

// planner draws a plan.
type planner struct {
	rng    *rand.Rand
	length time.Duration
	cars   int
	out    []strike
}

// plan says what happens in a pass of that length. Receivers are killed and frozen
// in turn, never at the same time: so somebody serves the cars nearly always, and a
// frozen one is woken, not killed. Brokers die one at a time, half of them while a
// receiver is frozen. Cars restart at any time, and around every death of a
// receiver.
func plan(seed uint64, length time.Duration, cars int) []strike {
	p := planner{rng: rand.New(rand.NewPCG(seed, 19)), length: length, cars: cars}
	p.receivers()
	p.brokers()
	for at := length / 10; at+moveLength < length-tail; at += max(length/3, 20*time.Second) {
		p.add(strike{At: at, Kind: moveCar, Target: p.rng.IntN(cars), Length: moveLength})
	}
	p.restarts()
	slices.SortStableFunc(p.out, func(a, b strike) int { return int(a.At - b.At) })
	return p.out
}

func (p *planner) between(least, most time.Duration) time.Duration {
	return least + time.Duration(p.rng.Int64N(int64(most-least)+1))
}

func (p *planner) add(s strike) {
	if s.At >= 0 && s.At < p.length-tail {
		p.out = append(p.out, s)
	}
}

// receivers plans their deaths and freezes: kill, freeze, and after that a freeze
// for every kill in a short pass, for every two in a long one.
func (p *planner) receivers() {
	every := 2
	if p.length > 2*time.Minute {
		every = 3
	}
	target := p.rng.IntN(2)
	at := p.between(2*time.Second, 4*time.Second)
	for i := 0; at < p.length-tail; i++ {
		if i%every == 1 {
			s := strike{At: at, Kind: freeze, Target: target, Length: p.between(freezeLeast, freezeMost)}
			if s.end() > p.length {
				return
			}
			p.add(s)
			at = s.end() + p.between(wakeRest, 3*wakeRest)
			if p.rng.IntN(4) > 0 { // else the one that has just woken dies
				target = 1 - target
			}
			continue
		}
		s := strike{At: at, Kind: killReceiver, Target: target, Length: p.between(0, restMost)}
		p.add(s)
		target = 1 - target
		if (i+1)%every == 1 {
			at = s.end() + p.between(3*time.Second, 8*time.Second)
		} else {
			at += p.between(killEveryLeast, killEveryMost)
		}
	}
}

// brokers plans their deaths: one a minute at least, each at random or, with equal
// chance, while a receiver is frozen.
func (p *planner) brokers() {
	var frozen []strike
	for _, s := range p.out {
		if s.Kind == freeze {
			frozen = append(frozen, s)
		}
	}
	var deaths []strike
	free := func(at time.Duration) bool {
		return !slices.ContainsFunc(deaths, func(s strike) bool { return at < s.end()+brokerRest && s.At < at+brokerAway+brokerRest })
	}
	for want, tries := 1+int(p.length/(75*time.Second)), 0; len(deaths) < want && tries < 1000; tries++ {
		at := p.between(p.length/10, p.length-tail-brokerAway)
		if len(frozen) > 0 && p.rng.IntN(2) == 0 {
			f := frozen[p.rng.IntN(len(frozen))]
			at = f.At + p.between(-brokerAway/2, f.Length/2)
		}
		if at < p.length/20 || at >= p.length-tail || !free(at) {
			continue
		}
		deaths = append(deaths, strike{At: at, Kind: killBroker, Target: 1 + p.rng.IntN(3), Length: brokerAway})
	}
	p.out = append(p.out, deaths...)
}

// restarts plans new epochs: of a car every few seconds, and of another one
// around each strike at a receiver.
func (p *planner) restarts() {
	one := func(at time.Duration) {
		p.add(strike{At: at, Kind: restartCar, Target: p.rng.IntN(p.cars), Length: p.between(0, offMost)})
	}
	for _, s := range slices.Clone(p.out) {
		if s.Kind == killReceiver || s.Kind == freeze {
			one(s.At + p.between(-500*time.Millisecond, 1500*time.Millisecond))
		}
	}
	for at := p.between(time.Second, 5*time.Second); at < p.length; at += p.between(3*time.Second, 9*time.Second) {
		one(at)
	}
}
