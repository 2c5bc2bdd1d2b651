package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

func TestMeter(t *testing.T) {
	const second = int64(time.Second)
	r := Rates{Bytes: 1000, Packets: 10}
	for _, tt := range []struct {
		name    string
		n, size int
		over    time.Duration
		room    int64
	}{
		{"nothing", 0, 0, -2 * time.Second, 2000},
		{"half of the burst", 1, 1000, -time.Second, 1000},
		{"the burst", 2, 1000, 0, 0},
		{"beyond it", 5, 1000, 3 * time.Second, 0},
		{"many small ones", 30, 1, time.Second, 0},
		{"empty ones count too", 10, 0, -time.Second, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m meter
			now := 100 * second
			for range tt.n {
				m.take(now, r, tt.size)
			}
			if got := m.over(now, rateBurst); tt.n > 0 && got != tt.over {
				t.Errorf("over by %v, want %v", got, tt.over)
			}
			if got := m.room(now, r); got != tt.room {
				t.Errorf("room for %d, want %d", got, tt.room)
			}
			if got := m.room(now+10*second, r); got != 2000 {
				t.Errorf("room for %d after a while, want the burst", got)
			}
		})
	}
}

// A car beyond its rates gets no credit until it is within them again; nothing of
// it is dropped, and nobody else's credit changes.
func TestCreditOfACarBeyondItsRates(t *testing.T) {
	r := newRig(t, func(c *Config) { c.CarRates = Rates{Bytes: 256 << 10} })
	r.deliver(msg{car: "good", seq: 1})
	whole := r.c.credit(r.now, r.c.cars["good"])
	sent, said := 0, 0
	for i := range 60 {
		r.deliver(msg{car: "foe", seq: uint64(i + 1), body: wire.Body{Payload: noiseBytes(12_000, i)}})
		sent += 12_000
	}
	r.kafka(nil)
	foe := r.c.cars["foe"]
	if sent <= 2*256<<10 || r.c.credit(r.now, foe) != 0 {
		t.Fatalf("%d bytes sent, credit %d", sent, r.c.credit(r.now, foe))
	}
	if got := r.c.credit(r.now, r.c.cars["good"]); got != whole || whole == 0 {
		t.Errorf("the other car's credit is %d, was %d", got, whole)
	}
	if n := r.c.n; n.Overflow != 0 || n.Batches != 61 || n.Slowed == 0 || foe.slowed != n.Slowed {
		t.Errorf("%+v", n)
	}
	for _, name := range r.out.Slowed {
		if said++; name != "foe" {
			t.Errorf("%s is named", name)
		}
	}
	if said != 1 {
		t.Errorf("said %d times", said)
	}
	r.now += int64(time.Second)
	if got := r.c.credit(r.now, foe); got == 0 || got > 256<<10 {
		t.Errorf("credit %d a second later", got)
	}
	r.now += int64(10 * time.Second)
	if got := r.c.credit(r.now, foe); got != min(whole, 512<<10) {
		t.Errorf("credit %d in the end, want that of the burst", got)
	}
	if s := r.c.Snapshot(r.now); s.Cars[slices.IndexFunc(s.Cars, func(c CarSnapshot) bool { return c.Car == "foe" })].Slowed == 0 {
		t.Error("the snapshot does not tell")
	}
}

// A car that ignores its credit is read slower, over a connection of its own only,
// and another car's messages do not wait.
func TestCarBeyondItsRatesIsReadSlower(t *testing.T) {
	const rate, size = 1 << 20, 64 << 10
	for _, tt := range []struct {
		name string
		from Peer
		n    int // messages
		most time.Duration
		at   time.Duration // least
	}{
		{"within its rates", Peer{Car: "foe", Own: true}, 16, 0, 0},
		{"8 MiB at 1 MiB/s", Peer{Car: "foe", Own: true}, 128, 5500 * time.Millisecond, 4500 * time.Millisecond},
		{"named by its topics only", Peer{Own: true}, 128, 5500 * time.Millisecond, 4500 * time.Millisecond},
		{"a connection of many", Peer{}, 128, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b, p := newFakeBroker(), &fakeProducer{}
				s, err := New(Options{
					Core:   Config{Instance: "pit", Nonce: 7, Names: topic.NewNames(""), CarRates: Rates{Bytes: rate}},
					Broker: b, Producer: p, Log: slog.New(slog.DiscardHandler),
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx, stop := context.WithCancel(t.Context())
				ran := make(chan error, 1)
				go func() { ran <- s.Run(ctx) }()
				h := <-b.handler
				foe := make(chan time.Duration)
				go func() {
					began := time.Now()
					for range tt.n {
						h.Message(tt.from, "tele/foe/full", make([]byte, size))
					}
					foe <- time.Since(began)
				}()
				for range 20 { // while it floods
					began := time.Now()
					h.Message(Peer{Car: "good", Own: true}, "tele/good/live", make([]byte, 1000))
					if d := time.Since(began); d > 0 {
						t.Errorf("the other car waits %v", d)
					}
					time.Sleep(200 * time.Millisecond)
				}
				if d := <-foe; d > tt.most || d < tt.at {
					t.Errorf("took %v, want %v to %v", d, tt.at, tt.most)
				}
				synctest.Wait()
				snap, err := s.Snapshot(ctx)
				if err != nil {
					t.Fatal(err)
				}
				if got := snap.Counters.Messages; got != uint64(tt.n)+20 {
					t.Errorf("%d messages came through, want %d", got, tt.n+20)
				}
				stop()
				if err := <-ran; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// The end of the instance waits for nobody's pause.
func TestPauseEndsWithTheService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, p := newFakeBroker(), &fakeProducer{}
		s := newService(t, b, p)
		s.pace.rates = Rates{Bytes: 1, Packets: 1}
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error, 1)
		go func() { ran <- s.Run(ctx) }()
		h := <-b.handler
		stop()
		if err := <-ran; err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		h.Message(Peer{Car: "foe", Own: true}, "tele/foe/full", make([]byte, 100))
		if d := time.Since(began); d != 0 {
			t.Errorf("waited %v", d)
		}
	})
}

func TestPacerForgetsWhoIsQuiet(t *testing.T) {
	p := &pacer{rates: Rates{Bytes: 1000, Packets: 1000}, maxCars: 3, cars: map[string]*meter{}}
	for i := range 3 {
		p.take(0, fmt.Sprintf("car-%d", i), 10_000)
	}
	if p.take(0, "one too many", 10_000) != 0 || len(p.cars) != 3 {
		t.Errorf("%d cars", len(p.cars))
	}
	if p.take(int64(time.Hour), "later", 10_000) == 0 || len(p.cars) != 1 {
		t.Errorf("%d cars", len(p.cars))
	}
}

func TestRatesAtFault(t *testing.T) {
	for _, r := range []Rates{{Bytes: -1}, {Packets: -1}} {
		c := Config{Instance: "pit", Nonce: 1, Names: topic.NewNames(""), CarRates: r}
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "positive") {
			t.Errorf("%+v: %v", r, err)
		}
	}
}
