package receiver

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// mqttCar is a car on one link: it publishes what it is told, answers the
// request for its catalogue, and notes what became durable.
type mqttCar struct {
	*sequencetest.Car
	t      *testing.T
	client *paho.Client

	mu      sync.Mutex
	durable map[wire.Lane]wire.Ranges // guarded by mu
}

// dialLimit is far beyond what a busy machine takes: whoever gives up before is
// answered takes slowness for a refusal.
const dialLimit = time.Minute

// dialCar connects; a nil config is plain TCP.
func dialCar(t *testing.T, addr, clientID, name string, config *tls.Config) (*mqttCar, error) {
	t.Helper()
	var conn net.Conn
	var err error
	if config == nil {
		conn, err = net.Dial("tcp", addr)
	} else {
		conn, err = tls.Dial("tcp", addr, config)
	}
	if err != nil {
		return nil, err
	}
	c := &mqttCar{Car: sequencetest.NewCar(name, 1, 0xabc), t: t, durable: map[wire.Lane]wire.Ranges{}}
	c.client = paho.NewClient(paho.ClientConfig{
		Conn: packets.NewThreadSafeConn(conn), PacketTimeout: dialLimit, // its first ping may meet any packet
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			c.heard(p.Packet.Payload)
			return true, nil
		}},
	})
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), dialLimit)
	defer cancel()
	if _, err := c.client.Connect(ctx, &paho.Connect{ClientID: clientID, CleanStart: true, KeepAlive: 30}); err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	ack, err := c.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "ctl/" + name + "/0"}}})
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	if ack.Reasons[0] >= 0x80 {
		return nil, fmt.Errorf("subscribe: reason %#x", ack.Reasons[0])
	}
	return c, nil
}

// heard takes one message of ctl; it is called by the client's goroutine.
func (c *mqttCar) heard(payload []byte) {
	ack, cmd, err := wire.ParseCtl(payload)
	if err != nil {
		c.t.Errorf("ctl: %v", err)
		return
	}
	if cmd != nil && cmd.Verb == "catalogue" {
		go c.sendCatalogue(cmd.ID) // a publish from this goroutine would wait for itself; ends by itself
	}
	if ack == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range ack.Streams {
		c.durable[s.Lane] = s.Durable
	}
}

func (c *mqttCar) sendCatalogue(id uint64) {
	parts, err := wire.SplitCatalogue(sequencetest.Catalogue(c.Name).Append(nil), wire.MaxPartBytes)
	if err != nil {
		c.t.Errorf("catalogue: %v", err)
		return
	}
	for _, p := range parts {
		c.publish("catalogue", wire.AppendCataloguePart(nil, &p))
	}
	c.publish("answer", wire.AppendAnswer(nil, &wire.Answer{ID: id, OK: true}))
}

// publish may be refused when the car's connection is over: the test then waits
// in vain for what it would have brought.
func (c *mqttCar) publish(leaf string, payload []byte) {
	if _, err := c.client.Publish(context.Background(), &paho.Publish{Topic: "tele/" + c.Name + "/" + leaf, Payload: payload}); err != nil {
		c.t.Logf("publish: %v", err)
	}
}

// send publishes one batch as the uplink does.
func (c *mqttCar) send(r topic.Record) {
	c.t.Helper()
	info, err := topic.ParseBatchHeaders(r.Headers)
	if err != nil {
		c.t.Fatal(err)
	}
	c.publish(info.ID.Stream.Lane.String(), append(wire.AppendSend(nil, info.Send), r.Value...))
}

// has reports whether the first n batches of a lane are durable.
func (c *mqttCar) has(l wire.Lane, n uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	rs := c.durable[l]
	return len(rs) == 1 && rs[0] == wire.Range{First: 1, Last: n}
}

// beginCar connects car-1 and sends what opens its epoch and anchors its clock.
func beginCar(t *testing.T, addr string) *mqttCar {
	t.Helper()
	car, err := dialCar(t, addr, "car-1-1-00000abc-0-1", "car-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	car.send(car.Open())
	car.send(car.Anchor(1, 1e9, time.Now().UnixNano(), 1e6))
	return car
}
