package kafkafire

import (
	"testing"
	"time"
)

func TestPlanLeavesNothingOut(t *testing.T) {
	for name, length := range map[string]time.Duration{"half a minute": 30 * time.Second, "a minute": time.Minute, "five": 5 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(50) {
				count := map[kind]int{}
				var frozen strike
				for _, s := range plan(seed, length, 20) {
					count[s.Kind]++
					if s.Kind == freeze {
						frozen = s
					}
					if s.At < 0 || s.At > length {
						t.Errorf("seed %d: %v is outside the pass", seed, s)
					}
				}
				if frozen.Length <= 10*time.Second {
					t.Errorf("seed %d: frozen for %v, which no session outlives", seed, frozen.Length)
				}
				if count[killReceiver] < 1 || count[freeze] != 1 || count[killBroker] < 1 || count[moveCar] < 1 {
					t.Errorf("seed %d: plan has %v", seed, count)
				}
				if length >= time.Minute && count[killReceiver] < int((length-20*time.Second)/(20*time.Second)) {
					t.Errorf("seed %d: %d kills in %v", seed, count[killReceiver], length)
				}
			}
		})
	}
}

// While one receiver is frozen nobody is killed, or nobody would serve the cars.
func TestPlanKillsNobodyBesideAFrozenOne(t *testing.T) {
	for seed := range uint64(200) {
		strikes := plan(seed, 2*time.Minute, 20)
		for _, f := range strikes {
			if f.Kind != freeze {
				continue
			}
			for _, s := range strikes {
				if s.Kind == killReceiver && s.At+s.Length > f.At && s.At < f.At+f.Length {
					t.Fatalf("seed %d: %v during %v", seed, s, f)
				}
			}
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
