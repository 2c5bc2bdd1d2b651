package embedded

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
)

// handshakeTime bounds a handshake: over the worst link in the field it takes
// two seconds.
const handshakeTime = 15 * time.Second

// refusalsLogged bounds the refusals that are logged in a minute; all are counted.
const refusalsLogged = 20

// handshakes is a listener whose connections have proved who they are: what
// does not is closed, counted, and the log says why.
type handshakes struct {
	net.Listener
	tls     *tls.Config
	log     *slog.Logger
	crowd   crowd
	cars    *places
	refused atomic.Uint64

	ready chan net.Conn
	done  chan struct{}
	end   sync.Once
	err   error // of Accept; read after done closes

	mu     sync.Mutex
	minute time.Time // guarded by mu
	logged int       // guarded by mu: in this minute
}

func newHandshakes(l net.Listener, cars *places, cfg *Config) *handshakes {
	h := &handshakes{
		Listener: l, tls: cfg.TLS, log: cfg.Log, cars: cars, ready: make(chan net.Conn), done: make(chan struct{}),
		crowd: newCrowd(cfg.MaxHandshakes, cfg.MaxPerAddress),
	}
	go h.accept() // ends when l closes
	return h
}

func (h *handshakes) accept() {
	for {
		raw, err := h.Listener.Accept()
		if err != nil {
			h.stop(err)
			return
		}
		c := &counted{Conn: raw}
		if oldest := h.crowd.enter(c); oldest != nil {
			_ = oldest.Close() // its handshake fails
		}
		go h.shake(c) // ends with the handshake; the crowd bounds how many there are
	}
}

func (h *handshakes) stop(err error) {
	h.end.Do(func() {
		h.err = err
		close(h.done)
		for _, c := range h.crowd.all() {
			_ = c.Close() // its handshake leads nowhere
		}
	})
}

func (h *handshakes) shake(raw *counted) {
	c := tls.Server(raw, h.tls)
	ctx, cancel := context.WithTimeout(context.Background(), handshakeTime)
	defer cancel()
	err := c.HandshakeContext(ctx)
	stays := h.crowd.leave(raw)
	switch {
	case !stays: // it had to make room, which is counted
		_ = raw.Close()
		return
	case err != nil:
		h.refused.Add(1)
		h.tell(raw, err)
		_ = raw.Close() // it is of no use
		return
	case !h.cars.take(raw, commonName(c)):
		if h.mayTell() {
			h.log.Warn("mqtt client turned away: all places are taken", "car", commonName(c), "remote", raw.RemoteAddr().String(),
				"limit_per_car", h.cars.perCar, "limit", h.cars.max)
		}
		_ = c.Close()
		return
	}
	select {
	case h.ready <- c:
	case <-h.done:
		_ = c.Close() // nobody takes it any more
	}
}

// commonName returns that of the peer's certificate.
func commonName(c *tls.Conn) string {
	if certs := c.ConnectionState().PeerCertificates; len(certs) > 0 {
		return certs[0].Subject.CommonName
	}
	return ""
}

// mayTell reports whether a refusal is logged: unless too many were lately.
func (h *handshakes) mayTell() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); now.Sub(h.minute) >= time.Minute {
		h.minute, h.logged = now, 0
	}
	h.logged++
	return h.logged <= refusalsLogged
}

func (h *handshakes) tell(c net.Conn, err error) {
	if !h.mayTell() {
		return
	}
	h.log.Warn("mqtt client refused: it does not prove who it is", "remote", c.RemoteAddr().String(), "reason", reason(err), "error", err)
}

// reason is what an operator can act on.
func reason(err error) string {
	var invalid x509.CertificateInvalidError
	var unknown x509.UnknownAuthorityError
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate expired, or a clock is wrong"
	case errors.As(err, &unknown):
		return "certificate of another authority"
	case errors.As(err, &invalid):
		return "certificate not valid for a client"
	}
	return "no valid certificate"
}

// Accept returns the next connection that proved who it is.
func (h *handshakes) Accept() (net.Conn, error) {
	select {
	case c := <-h.ready:
		return c, nil
	case <-h.done:
		return nil, h.err
	}
}

// Close closes the listener below.
func (h *handshakes) Close() error {
	h.stop(net.ErrClosed)
	return h.Listener.Close()
}

// revokedEvery is how often open connections are held against the list of
// revocations.
const revokedEvery = 2 * time.Second

// dropRevoked ends connections whose certificate was taken back, until ctx ends.
func (b *Broker) dropRevoked(ctx context.Context) {
	t := time.NewTicker(revokedEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		b.hook.mu.Lock()
		clients := make([]*mqtt.Client, 0, len(b.hook.peers))
		for cl := range b.hook.peers {
			clients = append(clients, cl)
		}
		b.hook.mu.Unlock()
		var asked []*mqtt.Client
		var certs []*x509.Certificate
		for _, cl := range clients {
			c, ok := cl.Net.Conn.(*tls.Conn)
			if !ok || len(c.ConnectionState().PeerCertificates) == 0 {
				continue
			}
			asked, certs = append(asked, cl), append(certs, c.ConnectionState().PeerCertificates[0])
		}
		for i, err := range b.cfg.Revoked(certs) {
			if err != nil {
				b.cfg.Log.Warn("mqtt client ended: its certificate was revoked", "client_id", asked[i].ID, "error", err)
				asked[i].Stop(err)
			}
		}
	}
}
