package external

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"telemetry/receiver/ingest"
	"telemetry/wire"
)

// told notes what a handler is told of links.
type told struct{ calls []string }

func (h *told) Message(ingest.Peer, string, []byte) {}
func (h *told) Attached(car string, link uint8, up bool) {
	h.calls = append(h.calls, fmt.Sprintf("%s/%d %v", car, link, up))
}

func send(link uint8) []byte {
	return wire.AppendSend(nil, wire.Send{Link: link, Gen: 1, SentNS: 1, Base: 1})
}

func TestPresenceFollowsCars(t *testing.T) {
	start := time.Unix(1e9, 0)
	type heard struct {
		after   time.Duration
		topic   string
		payload []byte
	}
	full := "tele/car-1/full"
	tests := []struct {
		name  string
		heard []heard
		until time.Duration // when silence is looked for
		want  []string
	}{
		{"a link is told once", []heard{{0, full, send(0)}, {time.Second, full, send(0)}, {2 * time.Second, "tele/car-1/live", send(2)}}, 0, []string{"car-1/0 true", "car-1/2 true"}},
		{"an idle link stays while another is heard", []heard{{0, full, send(0)}, {25 * time.Second, full, send(1)}}, 50 * time.Second, []string{"car-1/0 true", "car-1/1 true"}},
		{"an answer keeps the car", []heard{{0, full, send(0)}, {25 * time.Second, "tele/car-1/answer", nil}}, 50 * time.Second, []string{"car-1/0 true"}},
		{"a silent car is forgotten", []heard{{0, full, send(0)}}, 31 * time.Second, []string{"car-1/0 true", "car-1/0 false"}},
		{"cars are apart", []heard{{0, full, send(0)}, {20 * time.Second, "tele/car-2/full", send(1)}}, 31 * time.Second, []string{"car-1/0 true", "car-2/1 true", "car-1/0 false"}},
		{"nonsense is no car", []heard{{0, full, []byte("x")}, {0, full, send(ingest.MaxLinks)}, {0, "tele/a b/full", send(0)}, {0, "tele/car-1", send(0)}, {0, "tele/car-1/answer", send(0)}}, time.Minute, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, h := presence{cars: map[string]*seen{}}, &told{}
			for _, m := range tt.heard {
				p.heard(start.Add(m.after), h, m.topic, m.payload)
			}
			p.expire(start.Add(tt.until), h)
			if !slices.Equal(h.calls, tt.want) {
				t.Errorf("told %q, want %q", h.calls, tt.want)
			}
		})
	}
}

func TestPresenceIsBounded(t *testing.T) {
	p, h := presence{cars: map[string]*seen{}}, &told{}
	for i := range maxCars + 10 {
		p.heard(time.Now(), h, fmt.Sprintf("tele/car-%d/full", i), send(0))
	}
	if p.count() != maxCars || len(h.calls) != maxCars {
		t.Errorf("%d cars followed, %d told, want %d", p.count(), len(h.calls), maxCars)
	}
}

func TestPublishNeverBlocks(t *testing.T) {
	b, err := New(Config{Address: "tcp://127.0.0.1:1", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	const more = 5
	for range more { // not connected
		if err := b.Publish("ctl/car-1/0", []byte("x")); err != nil {
			t.Error(err)
		}
	}
	if len(b.out) != 0 || b.Status().Counters.Dropped != more {
		t.Errorf("without a connection: %d wait, %+v", len(b.out), b.Status().Counters)
	}
	b.connected.Store(true) // and nobody reads the queue
	for i := range outboundQueue + more {
		if err := b.Publish(fmt.Sprint("ctl/car-1/", i), []byte("x")); err != nil {
			t.Error(err)
		}
	}
	if len(b.out) != outboundQueue || b.Status().Counters.Dropped != 2*more {
		t.Errorf("with a stuck one: %d wait, %+v", len(b.out), b.Status().Counters)
	}
	if m := <-b.out; m.topic != fmt.Sprint("ctl/car-1/", more) {
		t.Errorf("the oldest that waits is %s, want the newest to stay", m.topic)
	}
}
