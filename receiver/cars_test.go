package receiver

import (
	"log/slog"
	"strings"
	"testing"

	broker "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"telemetry/receiver/ingest/external"
	"telemetry/wire"
)

// open lets everybody do everything.
type open struct{ broker.HookBase }

func (*open) ID() string { return "open" }

func (*open) Provides(b byte) bool {
	return b == broker.OnConnectAuthenticate || b == broker.OnACLCheck
}

func (*open) OnConnectAuthenticate(*broker.Client, packets.Packet) bool { return true }

func (*open) OnACLCheck(*broker.Client, string, bool) bool { return true }

func TestCarsThroughAnExternalBroker(t *testing.T) {
	srv := broker.New(&broker.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := srv.AddHook(&open{}, nil); err != nil {
		t.Fatal(err)
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0"})
	if err := srv.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := srv.Serve(); err != nil {
		t.Fatal(err)
	}
	closed := false
	t.Cleanup(func() {
		if !closed {
			_ = srv.Close()
		}
	})
	r, _ := run(t, configure(t, t.TempDir(), embeddedLine, `mqtt: {broker: "tcp://`+l.Address()+`"}`))
	s := r.Status(t.Context())
	if b := s.Ingest.Broker; s.Listen.MQTT != "" || b == nil || b.State != external.StateConnected || !b.Sharing {
		t.Errorf("status: %+v %+v", s.Listen, b)
	}
	car := beginCar(t, l.Address())
	car.send(car.Full(2e9, 5))
	eventually(t, "all is durable", func() bool { return car.has(wire.LaneFull, 1) && car.has(wire.LaneCritical, 2) })
	eventually(t, "all rows are written", func() bool { return len(samples(t, s.Listen.Kafka)) == 5 })

	closed = true
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it says that it waits for the broker", func() bool {
		s := r.Status(t.Context())
		return !s.Ready && strings.Contains(strings.Join(s.Waits, " "), "the mqtt broker at tcp://"+l.Address()+" is not connected: external: ")
	})
}
