package embedded_test

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/ingest"
	"telemetry/receiver/ingest/embedded"
)

// taker keeps who sent what.
type taker struct {
	ingest.Handler
	got chan ingest.Peer
}

func (k *taker) Message(from ingest.Peer, _ string, _ []byte) { k.got <- from }

// publish makes a PUBLISH of MQTT 5 at QoS 0, with a remaining length of its own.
func publish(topic string, payload []byte, remaining int) []byte {
	body := append([]byte{0, byte(len(topic))}, topic...)
	body = append(append(body, 0), payload...)
	if remaining == 0 {
		remaining = len(body)
	}
	head := []byte{0x30}
	for ; remaining > 127; remaining >>= 7 {
		head = append(head, byte(remaining&127|128))
	}
	return append(append(head, byte(remaining)), body...)
}

// Each limit of one car ends or turns away what is beyond it, is counted and
// logged, and leaves the others alone.
func TestLimitsOfOneCar(t *testing.T) {
	issued, caFile, server := authority(t)
	said := &logbook{}
	b, err := embedded.Listen(embedded.Config{Address: "127.0.0.1:0", TLS: server, MaxPerCar: 2, Log: slog.New(slog.NewTextHandler(said, nil))})
	if err != nil {
		t.Fatal(err)
	}
	k := &taker{got: make(chan ingest.Peer, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx, k) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	good, err := connect(t, b.Addr(), caFile, issued, "car-1", "car-1-1-00000abc-0-1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = good.Close() }()
	if _, err := good.Write(publish("tele/car-1/full", []byte("x"), 0)); err != nil {
		t.Fatal(err)
	}
	if from := <-k.got; from != (ingest.Peer{Car: "car-1", Own: true}) {
		t.Errorf("from %+v", from)
	}
	large, err := connect(t, b.Addr(), caFile, issued, "car-1", "car-1-1-00000abc-1-1")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = large.Close() }()
	if c, err := connect(t, b.Addr(), caFile, issued, "car-1", "car-1-1-00000abc-2-1"); err == nil {
		_ = c.Close()
		t.Error("a third connection got a place")
	}
	await(t, "the log says that there is no place", func() bool { return strings.Contains(said.text(), `all places are taken" car=car-1`) })
	if n := b.Counters().TooMany; n != 1 {
		t.Errorf("%d turned away", n)
	}

	if _, err := large.Write(publish("tele/car-1/full", []byte("begins"), 2*ingest.MaxMessageBytes)); err != nil {
		t.Fatal(err)
	}
	if err := large.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, large); err != nil && strings.Contains(err.Error(), "timeout") {
		t.Error("a packet that is too large did not end its connection")
	}
	await(t, "it is counted", func() bool { return b.Counters().Oversized == 1 })
	if !strings.Contains(said.text(), "its packet is larger than any of ours") || !strings.Contains(said.text(), "client_id=car-1-1-00000abc-1-1") {
		t.Errorf("log: %s", said.text())
	}
	if !pinged(t, good) {
		t.Error("the other connection is not served any more")
	}
	await(t, "there is a place again", func() bool {
		c, err := connect(t, b.Addr(), caFile, issued, "car-1", "car-1-1-00000abc-2-2")
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}
