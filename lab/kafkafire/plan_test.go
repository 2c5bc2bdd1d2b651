package kafkafire

import (
	"testing"
	"time"
)

func TestPlanLeavesNothingOut(t *testing.T) {
	for name, c := range map[string]struct {
		length                                   time.Duration
		kills, freezes, brokers, moves, restarts int // at least
	}{
		"half a minute":  {30 * time.Second, 1, 1, 1, 1, 3},
		"a minute":       {time.Minute, 2, 2, 1, 1, 8},
		"two and a half": {150 * time.Second, 4, 3, 3, 2, 20},
		"five":           {5 * time.Minute, 9, 4, 5, 2, 40},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				count := map[kind]int{}
				for _, s := range plan(seed, c.length, 20) {
					count[s.Kind]++
					if s.At < 0 || s.At > c.length-tail {
						t.Errorf("seed %d: %v begins outside the pass", seed, s)
					}
					if s.Kind == freeze && (s.Length <= 10*time.Second || s.end() > c.length) {
						t.Errorf("seed %d: %v: no session outlives it, or it ends too late", seed, s)
					}
				}
				if count[killReceiver] < c.kills || count[freeze] < c.freezes || count[killBroker] < c.brokers || count[moveCar] < c.moves || count[restartCar] < c.restarts {
					t.Errorf("seed %d: plan has %v", seed, count)
				}
			}
		})
	}
}

// While one receiver is frozen or dead nothing happens to the other one, or nobody
// would serve the cars; and two of three brokers are enough.
func TestPlanLeavesSomebodyToServe(t *testing.T) {
	for seed := range uint64(200) {
		strikes := plan(seed, 3*time.Minute, 20)
		for i, a := range strikes {
			for _, b := range strikes[i+1:] {
				receivers := (a.Kind == killReceiver || a.Kind == freeze) && (b.Kind == killReceiver || b.Kind == freeze)
				brokers := a.Kind == killBroker && b.Kind == killBroker
				if receivers && b.At <= a.end() || brokers && b.At < a.end()+brokerRest {
					t.Fatalf("seed %d: %v during %v", seed, b, a)
				}
			}
		}
	}
}

// What makes it hard happens under some seeds: a broker dies while a receiver is
// frozen, a car begins an epoch while a receiver is away, one that has just woken is
// killed.
func TestPlansOverlap(t *testing.T) {
	overlap := func(a, b strike) bool { return a.At < b.end() && b.At < a.end() }
	seen := map[string]int{}
	const seeds = 100
	for seed := range uint64(seeds) {
		had := map[string]bool{}
		strikes := plan(seed, time.Minute, 20)
		for _, a := range strikes {
			for _, b := range strikes {
				had["a broker dies beside a freeze"] = had["a broker dies beside a freeze"] || a.Kind == freeze && b.Kind == killBroker && overlap(a, b)
				had["a car restarts beside a death"] = had["a car restarts beside a death"] || a.Kind == killReceiver && b.Kind == restartCar && overlap(a, b)
				had["a car restarts beside a freeze"] = had["a car restarts beside a freeze"] || a.Kind == freeze && b.Kind == restartCar && overlap(a, b)
				had["one that woke is killed"] = had["one that woke is killed"] || a.Kind == freeze && b.Kind == killReceiver && a.Target == b.Target && b.At > a.At && b.At-a.end() < 3*wakeRest
				had["a car restarts while it moves"] = had["a car restarts while it moves"] || a.Kind == moveCar && b.Kind == restartCar && a.Target == b.Target && overlap(a, b)
			}
		}
		for what, is := range had {
			if is {
				seen[what]++
			}
		}
	}
	for what, least := range map[string]int{
		"a broker dies beside a freeze": seeds / 3, "a car restarts beside a death": seeds / 2, "a car restarts beside a freeze": seeds / 2,
		"one that woke is killed": seeds / 10, "a car restarts while it moves": 5,
	} {
		if seen[what] < least {
			t.Errorf("%s: in %d plans of %d, want %d", what, seen[what], seeds, least)
		}
	}
}

func TestPlanIsTheSeeds(t *testing.T) {
	a, b, c := plan(3, time.Minute, 20), plan(3, time.Minute, 20), plan(4, time.Minute, 20)
	if len(a) != len(b) {
		t.Fatal("one seed gives two plans")
	}
	same := len(a) == len(c)
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("one seed gives %v and %v", a[i], b[i])
		}
		same = same && a[i] == c[i]
	}
	if same {
		t.Error("two seeds give one plan")
	}
}
