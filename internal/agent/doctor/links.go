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
	"telemetry/internal/checkup"
	"telemetry/internal/config"
	"telemetry/modem"
	"telemetry/modem/ladder"
)

// links looks at each link: its modem, its interface, and whether a receiver
// answers over it.
func (r *report) links(ctx context.Context) {
	if len(r.cfg.Links) == 0 {
		r.Add(checkup.Warn, "links", "none is configured: samples are only spooled", "add links")
	}
	for _, l := range r.cfg.Links {
		what := "link " + l.Name
		if l.Modem != nil {
			r.modem(what, l.Modem)
			r.manager(ctx, what, l.Modem)
			r.kept(what, l.Name)
		}
		sys, err := fs.Sub(r.opt.Root, "sys")
		if err != nil {
			r.Add(checkup.Warn, what, err.Error(), "")
			continue
		}
		m := modem.NewInterface(l.Name, l.Interface, sys)
		st, ok := r.device(what, l, m)
		if !ok {
			continue
		}
		if l.Interface != "" {
			r.routes(what, l, st)
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
			r.Add(checkup.Fail, what+": modem", fmt.Sprintf("no USB device at %s", place), "look at its power and cable; edgeagent modem list shows what is plugged in where")
			return
		case m.Driver == "at" && port == "" && u.TTYs[m.Interface] == "":
			r.Add(checkup.Fail, what+": modem", fmt.Sprintf("USB device %s (%s) has no tty on its interface %d", place, u.Name, m.Interface), "set at_interface: edgeagent modem list shows its ttys")
			return
		}
		if port == "" {
			port = "/dev/" + u.TTYs[m.Interface]
		}
		r.OK(what+": modem", "%s at USB %s", u.Name, place)
	}
	if m.Driver == "at" && port != "" {
		r.serial(what+": control port", port, m.Baud)
	}
}

// manager looks at ModemManager: the driver mm needs it, an AT port of our own
// must not be its as well.
func (r *report) manager(ctx context.Context, what string, m *config.Modem) {
	runs, err := r.opt.ModemManager(ctx)
	switch {
	case m.Driver == "mm" && err != nil:
		r.Add(checkup.Fail, what+": ModemManager", short(err), "look at systemctl status dbus ModemManager")
	case m.Driver == "mm" && !runs:
		r.Add(checkup.Fail, what+": ModemManager", "does not run", "systemctl enable --now ModemManager")
	case m.Driver == "mm":
		r.OK(what+": ModemManager", "runs")
	case m.Driver == "at" && err == nil && runs:
		r.Add(checkup.Warn, what+": ModemManager", "runs as well: two that speak on one port disturb each other",
			`keep it away from this modem with a udev rule that sets ENV{ID_MM_DEVICE_IGNORE}="1", or stop it`)
	}
}

// kept looks at what the running agent says of the link's modem.
func (r *report) kept(what, link string) {
	what += ": modem's state"
	for _, l := range r.opt.Links {
		m := l.Modem
		if l.Name != link || m == nil {
			continue
		}
		see := "edgeagent modem info " + link
		switch {
		case m.State == ladder.Verified:
			r.OK(what, "%s", m.Reason)
		case m.NoPIN:
			r.Add(checkup.Fail, what, "the card refused the configured PIN, which is not tried again", "set modem.pin to the right one")
		case m.State == ladder.SIMFault, m.State == ladder.Rejected, m.State == ladder.Unserved:
			r.Add(checkup.Fail, what, m.State.String()+": "+m.Reason, see)
		default:
			r.Add(checkup.Warn, what, strings.TrimSpace(m.State.String()+": "+m.Reason+" "+m.PortError), see)
		}
	}
}

// device reports whether the link's interface can be used, and what it has.
func (r *report) device(what string, l config.Link, m *modem.Interface) (modem.Status, bool) {
	if l.Interface == "" {
		return modem.Status{}, true
	}
	st, err := m.Status()
	switch {
	case !st.Present:
		r.Add(checkup.Fail, what, fmt.Sprintf("interface %s is not there", l.Interface), "plug the modem in; ip link shows what there is")
		return st, false
	case !st.Up:
		r.Add(checkup.Fail, what, fmt.Sprintf("interface %s is down or has no carrier", l.Interface), "ip link set "+l.Interface+" up; then look at the modem's state")
		return st, false
	case len(st.Addresses) == 0:
		r.Add(checkup.Fail, what, fmt.Sprintf("interface %s has no address", l.Interface), "set modem.configure, or let the system's DHCP client serve it")
		return st, false
	case err != nil:
		r.Add(checkup.Warn, what, err.Error(), "")
	}
	r.OK(what, "interface %s, %v, MTU %d", l.Interface, st.Addresses, st.MTU)
	return st, true
}

// receiver connects over the link as the agent would.
func (r *report) receiver(ctx context.Context, what, address string, m *modem.Interface) {
	what += ": receiver " + address
	u, err := url.Parse(address)
	if err != nil {
		r.Add(checkup.Fail, what, err.Error(), "")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, r.opt.Timeout)
	defer cancel()
	start := time.Now()
	c, err := m.Dial(ctx, "tcp", u.Host)
	if err != nil {
		var dns *net.DNSError
		do := "check that the receiver runs and that no firewall is in the way; the link's routes stand above (--all)"
		if errors.As(err, &dns) {
			do = "the name is not known over this link: check its name servers, or use an address"
		}
		r.Add(checkup.Fail, what, short(err), do)
		return
	}
	took := time.Since(start)
	defer func() { _ = c.Close() }() // only looked at
	if u.Scheme != "tls" || r.cfg.Receiver.TLS == nil {
		if speaksTLS(ctx, c) {
			r.Add(checkup.Fail, what, "speaks TLS, and would be dialled in the clear", "write tls:// for tcp://, and set receiver.tls")
			return
		}
		r.OK(what, "answers within %v", took.Round(100*time.Microsecond))
		return
	}
	tc, err := r.handshake(ctx, c, u.Hostname())
	if err != nil {
		r.Add(checkup.Fail, what, "connects, but TLS fails: "+short(err), "check CA, certificate and the board's clock")
		return
	}
	r.OK(what, "answers within %v, %s", took.Round(100*time.Microsecond), tls.VersionName(tc.ConnectionState().Version))
}

// speaksTLS reports whether the other end of a fresh connection answers a
// handshake with TLS, whatever it thinks of it; c is of no use afterwards.
func speaksTLS(ctx context.Context, c net.Conn) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	tc := tls.Client(c, &tls.Config{InsecureSkipVerify: true}) // nothing is sent or believed
	err := tc.HandshakeContext(ctx)
	var alert tls.AlertError
	return err == nil || errors.As(err, &alert)
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
