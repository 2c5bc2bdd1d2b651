package embedded

import (
	"bytes"
	"crypto/tls"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"telemetry/receiver/ingest"
	"telemetry/wire"
)

// hook is where mochi asks and tells: who may connect, what is allowed, what
// has come in.
type hook struct {
	mqtt.HookBase
	cfg     Config
	handler atomic.Pointer[ingest.Handler]

	mu     sync.Mutex
	peers  map[*mqtt.Client]*peer // guarded by mu; clients after login
	perCar map[string]int         // guarded by mu
	n      Counters               // guarded by mu
}

// peer is a client after login.
type peer struct {
	car   string           // "" in insecure mode: whoever its topics name
	links map[string]uint8 // ctl filters subscribed to
	asked map[string]bool  // ctl filters that were allowed
}

// maxFilters bounds what one connection subscribes to, each of which costs memory; a
// car's has one.
const maxFilters = 64

func newHook(cfg Config, h *ingest.Handler) *hook {
	k := &hook{cfg: cfg, peers: map[*mqtt.Client]*peer{}, perCar: map[string]int{}}
	k.handler.Store(h)
	return k
}

// ID implements mqtt.Hook.
func (h *hook) ID() string { return "ingest" }

// Provides implements mqtt.Hook.
func (h *hook) Provides(b byte) bool {
	return bytes.IndexByte([]byte{
		mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablish, mqtt.OnSessionEstablished, mqtt.OnPublish,
		mqtt.OnPublishDropped, mqtt.OnSubscribed, mqtt.OnUnsubscribed, mqtt.OnDisconnect,
	}, b) >= 0
}

// OnConnectAuthenticate lets in cars whose certificate and client id agree.
func (h *hook) OnConnectAuthenticate(cl *mqtt.Client, _ packets.Packet) bool {
	car := ""
	if !h.cfg.Insecure {
		car = certificateCar(cl)
		if wire.ValidCar(car) != nil || carOfClientID(cl.ID) != car {
			h.count(func(n *Counters) { n.Refused++ })
			h.cfg.Log.Warn("mqtt client refused: certificate and client id do not name one car",
				"certificate", car, "client_id", cl.ID, "remote", cl.Net.Remote)
			return false
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if car != "" && h.perCar[car] >= h.cfg.MaxPerCar {
		h.n.TooMany++
		return false
	}
	return true
}

// OnSessionEstablished notes a client. Only from here on does the library
// promise to tell of its end.
func (h *hook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	car := ""
	if !h.cfg.Insecure {
		car = certificateCar(cl)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.perCar[car]++
	h.n.CarConnections++
	h.peers[cl] = &peer{car: car, links: map[string]uint8{}, asked: map[string]bool{}}
}

// certificateCar returns the common name of the client's certificate.
func certificateCar(cl *mqtt.Client) string {
	c, ok := cl.Net.Conn.(*tls.Conn)
	if !ok {
		return ""
	}
	return commonName(c)
}

// carOfClientID returns the car in "<car>-<epoch>-<nonce>-<link>-<gen>"; a car's
// name may itself hold hyphens. Two connections with one client id end each
// other, so a car must not be able to use another's.
func carOfClientID(id string) string {
	for range 4 {
		i := strings.LastIndexByte(id, '-')
		if i < 0 {
			return ""
		}
		id = id[:i]
	}
	return id
}

// OnSessionEstablish drops the client's last will: the broker library would
// publish it without asking whether the client may.
func (h *hook) OnSessionEstablish(cl *mqtt.Client, _ packets.Packet) {
	cl.Properties.Will = mqtt.Will{}
}

// leaves of tele/<car>/… that a car may publish on.
var leaves = []string{"critical", "live", "full", "catalogue", "answer"}

// OnACLCheck allows a car to publish on its own leaves and to subscribe to the
// acks of its own links, one by one: no wildcard, nothing else.
func (h *hook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.peers[cl]
	car, ok := "", false
	if write {
		var leaf string
		car, leaf, ok = splitTele(topic)
		ok = ok && slices.Contains(leaves, leaf)
	} else {
		car, _, ok = splitCtl(topic)
	}
	if p == nil || !ok || p.car != "" && p.car != car || !write && !p.asked[topic] && len(p.asked) >= maxFilters {
		h.n.Forbidden++
		return false
	}
	if !write {
		p.asked[topic] = true
	}
	return true
}

// OnPublish hands a car's message to the handler instead of subscribers. It
// blocks while the handler does, and with it only this client.
func (h *hook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline {
		return pk, nil // ours
	}
	h.mu.Lock()
	p := h.peers[cl]
	h.mu.Unlock()
	to := h.handler.Load()
	if p != nil && to != nil {
		(*to).Message(ingest.Peer{Car: p.car, Own: true}, pk.TopicName, pk.Payload) // decoded into memory of its own
	}
	return pk, packets.ErrRejectPacket
}

// OnPublishDropped counts a message that a slow client does not get.
func (h *hook) OnPublishDropped(*mqtt.Client, packets.Packet) {
	h.count(func(n *Counters) { n.Dropped++ })
}

// OnSubscribed notes which links a client listens for.
func (h *hook) OnSubscribed(cl *mqtt.Client, pk packets.Packet, codes []byte) {
	for i, f := range pk.Filters {
		car, link, ok := splitCtl(f.Filter)
		if !ok || i >= len(codes) || codes[i] > packets.CodeGrantedQos2.Code {
			continue
		}
		h.mu.Lock()
		p := h.peers[cl]
		fresh := false
		if p != nil {
			_, old := p.links[f.Filter]
			fresh = !old
			p.links[f.Filter] = link
		}
		h.mu.Unlock()
		if fresh {
			h.attached(car, link, true)
		}
	}
}

// OnUnsubscribed is the inverse of OnSubscribed.
func (h *hook) OnUnsubscribed(cl *mqtt.Client, pk packets.Packet) {
	for _, f := range pk.Filters {
		h.mu.Lock()
		p := h.peers[cl]
		had := false
		if p != nil {
			_, had = p.links[f.Filter]
			delete(p.links, f.Filter)
			delete(p.asked, f.Filter)
		}
		h.mu.Unlock()
		if car, link, ok := splitCtl(f.Filter); ok && had {
			h.attached(car, link, false)
		}
	}
}

// OnDisconnect forgets a client.
func (h *hook) OnDisconnect(cl *mqtt.Client, err error, _ bool) {
	if errors.Is(err, packets.ErrPacketTooLarge) {
		h.count(func(n *Counters) { n.Oversized++ })
		h.cfg.Log.Warn("mqtt client ended: its packet is larger than any of ours", "client_id", cl.ID, "remote", cl.Net.Remote, "limit_bytes", maxPacket)
	}
	h.mu.Lock()
	p := h.peers[cl]
	if p != nil {
		delete(h.peers, cl)
		h.n.CarConnections--
		if h.perCar[p.car]--; h.perCar[p.car] == 0 {
			delete(h.perCar, p.car)
		}
	}
	h.mu.Unlock()
	if p == nil {
		return
	}
	for filter, link := range p.links {
		if car, _, ok := splitCtl(filter); ok {
			h.attached(car, link, false)
		}
	}
}

func (h *hook) attached(car string, link uint8, up bool) {
	if to := h.handler.Load(); to != nil {
		(*to).Attached(car, link, up)
	}
}

func (h *hook) count(f func(n *Counters)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f(&h.n)
}

func (h *hook) counters() Counters {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.n
}

// splitTele splits tele/<car>/<leaf>.
func splitTele(topic string) (car, leaf string, ok bool) {
	rest, ok := strings.CutPrefix(topic, "tele/")
	if !ok {
		return "", "", false
	}
	car, leaf, ok = strings.Cut(rest, "/")
	return car, leaf, ok && wire.ValidCar(car) == nil
}

// splitCtl splits ctl/<car>/<link>. A link has one name: of others there would be as
// many as somebody likes to subscribe to.
func splitCtl(filter string) (car string, link uint8, ok bool) {
	rest, ok := strings.CutPrefix(filter, "ctl/")
	if !ok {
		return "", 0, false
	}
	car, number, ok := strings.Cut(rest, "/")
	if !ok {
		return "", 0, false
	}
	n, err := strconv.ParseUint(number, 10, 8)
	ok = err == nil && n < ingest.MaxLinks && number == strconv.FormatUint(n, 10) && wire.ValidCar(car) == nil
	return car, uint8(n), ok
}
