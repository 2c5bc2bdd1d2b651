package receiver

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"

	"telemetry/receiver/sequence/sealed"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// With the output format batch no topic has rows of the full lane: what the page
// shows of it has come from ingest, and the topic has the batches as they were
// sealed.
func TestPageShowsWhatArrivesAndTheTopicHasTheBatches(t *testing.T) {
	cfg := configure(t, t.TempDir(), embeddedLine, plainMQTT+"\nsequence: {formats: {full: batch}}")
	r, stop := run(t, cfg)
	s := r.Status(t.Context())
	car, err := dialCar(t, s.Listen.MQTT, "car-1-1-00000abc-0-1", "car-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Listen.Live+"/api/v1/events", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req) // somebody looks
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	car.send(car.Open())
	car.send(car.Anchor(1, 0, 1_800_000_000_000_000_000, 1e6))
	n := uint64(0)
	var l struct{ Channels []struct{ Name string } }
	eventually(t, "the page knows a channel of the full lane", func() bool {
		n++
		car.send(car.Full(int64(n)*1e9, 1)) // the first ones come before the catalogue
		_, body := get(t, s.Listen.Live, "/api/v1/cars/car-1/channels?q=rpm")
		return json.Unmarshal([]byte(body), &l) == nil && len(l.Channels) > 0
	})
	eventually(t, "everything is durable", func() bool { return car.has(wire.LaneFull, n) })
	eventually(t, "everything is in the samples topic", func() bool {
		full := 0
		for _, rec := range samples(t, s.Kafka.Brokers[0]) {
			lane, _ := rec.Get(topic.HeaderLane)
			if kind, _ := rec.Get(topic.HeaderContentType); lane != "full" {
				continue
			} else if kind != sealed.ContentType {
				t.Fatalf("a record of the full lane is %s", kind)
			}
			full++
		}
		return full == int(n)
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
}
