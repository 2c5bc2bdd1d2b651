package doctor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"telemetry/board"
	"telemetry/internal/agent"
	"telemetry/internal/config"
	"telemetry/modem"
)

// links looks at each link: its modem, its interface, and whether a receiver
// answers over it.
func (r *report) links(ctx context.Context) {
	if len(r.cfg.Links) == 0 {
		r.add(Warn, "links", "none is configured: samples are only spooled", "add links")
	}
	for _, l := range r.cfg.Links {
		what := "link " + l.Name
		if l.Modem != nil {
			r.modem(what, l.Modem)
		}
		sys, err := fs.Sub(r.opt.Root, "sys")
		if err != nil {
			r.add(Warn, what, err.Error(), "")
			continue
		}
		m := modem.NewInterface(l.Name, l.Interface, sys)
		if !r.device(what, l, m) {
			continue
		}
		for _, a := range l.Addresses {
			r.receiver(ctx, what, a, m)
		}
	}
}

func (r *report) modem(what string, m *config.Modem) {
	p, err := board.Find(r.cfg.Board)
	if err != nil {
		return // already told
	}
	place := m.USB
	if s, err := p.Slot(m.Slot); err == nil && place == "" {
		place = s.USBPath
	}
	port := m.Port
	if place != "" {
		u := board.Open(p, r.opt.Root).USBDevice(place)
		switch {
		case !u.Present:
			r.add(Fail, what+": modem", fmt.Sprintf("no USB device at %s", place), "look at its power and cable; edgeagent modem list shows what is plugged in where")
			return
		case m.Driver == "at" && port == "" && u.TTYs[m.Interface] == "":
			r.add(Fail, what+": modem", fmt.Sprintf("USB device %s (%s) has no tty on its interface %d", place, u.Name, m.Interface), "set at_interface: edgeagent modem list shows its ttys")
			return
		}
		if port == "" {
			port = "/dev/" + u.TTYs[m.Interface]
		}
		r.ok(what+": modem", "%s at USB %s", u.Name, place)
	}
	if m.Driver == "at" && port != "" {
		r.serial(what+": control port", port, m.Baud)
	}
}

// device reports whether the link's interface can be used.
func (r *report) device(what string, l config.Link, m *modem.Interface) bool {
	if l.Interface == "" {
		return true
	}
	st, err := m.Status()
	switch {
	case !st.Present:
		r.add(Fail, what, fmt.Sprintf("interface %s is not there", l.Interface), "plug the modem in; ip link shows what there is")
		return false
	case !st.Up:
		r.add(Fail, what, fmt.Sprintf("interface %s is down or has no carrier", l.Interface), "ip link set "+l.Interface+" up; then look at the modem's state")
		return false
	case len(st.Addresses) == 0:
		r.add(Fail, what, fmt.Sprintf("interface %s has no address", l.Interface), "set modem.configure, or let the system's DHCP client serve it")
		return false
	case err != nil:
		r.add(Warn, what, err.Error(), "")
	}
	r.ok(what, "interface %s, %v, MTU %d", l.Interface, st.Addresses, st.MTU)
	return true
}

// receiver connects over the link as the agent would.
func (r *report) receiver(ctx context.Context, what, address string, m *modem.Interface) {
	what += ": receiver " + address
	u, err := url.Parse(address)
	if err != nil {
		r.add(Fail, what, err.Error(), "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	start := time.Now()
	c, err := m.Dial(ctx, "tcp", u.Host)
	if err != nil {
		var dns *net.DNSError
		do := "check that the receiver runs and that no firewall is in the way; the link's routes: ip route get …"
		if errors.As(err, &dns) {
			do = "the name is not known over this link: check its name servers, or use an address"
		}
		r.add(Fail, what, short(err), do)
		return
	}
	took := time.Since(start)
	defer func() { _ = c.Close() }() // only looked at
	if u.Scheme != "tls" || r.cfg.Receiver.TLS == nil {
		r.ok(what, "answers within %v", took.Round(100*time.Microsecond))
		return
	}
	tc, err := r.handshake(ctx, c, u.Hostname())
	if err != nil {
		r.add(Fail, what, "connects, but TLS fails: "+short(err), "check CA, certificate and the board's clock")
		return
	}
	r.ok(what, "answers within %v, TLS %s", took.Round(100*time.Microsecond), tls.VersionName(tc.ConnectionState().Version))
}

func (r *report) handshake(ctx context.Context, c net.Conn, host string) (*tls.Conn, error) {
	cfg, err := agent.ClientTLS(r.cfg.Receiver.TLS)
	if err != nil {
		return nil, err
	}
	if cfg.ServerName == "" {
		cfg.ServerName = host
	}
	tc := tls.Client(c, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	// With TLS 1.3 a server that refuses our certificate says so only after the
	// handshake: its alert comes instead of silence.
	if err := tc.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		return nil, err
	}
	if _, err := tc.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, fmt.Errorf("the receiver hangs up on our certificate: %w", err)
	}
	return tc, nil
}

// short is an error without the places that the finding already names.
func short(err error) string {
	s := err.Error()
	if i := strings.LastIndex(s, "\n"); i >= 0 {
		s = strings.ReplaceAll(s, "\n", "; ")
	}
	return strings.TrimPrefix(s, "modem: ")
}
