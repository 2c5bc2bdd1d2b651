package receiver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"telemetry/internal/config"
	"telemetry/receiver/live/guard"
)

// door is what people pass on their way to the page: its certificate, and the
// question who they are.
type door struct {
	guard *guard.Guard
	cert  *guard.Certificate // nil: plain HTTP
}

// openDoor reads the files of certificate and tokens.
func openDoor(c *config.Live, log *slog.Logger) (*door, error) {
	log = log.With("component", "login")
	d := &door{}
	if t := c.TLS; t != nil {
		var err error
		if d.cert, err = guard.NewCertificate(t.Cert, t.Key, log); err != nil {
			return nil, fmt.Errorf("receiver: live.tls: %w", err)
		}
	}
	o := guard.Options{Idle: c.Login.Idle.D(), Longest: c.Login.Longest.D(), Log: log}
	if c.Login.Tokens != "" {
		var err error
		if o.Tokens, err = guard.OpenTokens(c.Login.Tokens, log); err != nil {
			return nil, fmt.Errorf("receiver: live.login.tokens (`receiver page token add NAME --role viewer` makes the file): %w", err)
		}
	}
	if p := c.Login.Proxy; p != nil {
		var err error
		if o.Proxy, err = proxyOf(p); err != nil {
			return nil, fmt.Errorf("receiver: live.login.proxy: %w", err)
		}
	}
	var err error
	d.guard, err = guard.New(o)
	return d, err
}

func proxyOf(c *config.Proxy) (*guard.Proxy, error) {
	p := &guard.Proxy{Header: c.Header, RoleHeader: c.RoleHeader, Roles: map[string]guard.Role{}}
	var errs []error
	for value, name := range c.Roles {
		role, err := guard.ParseRole(name)
		p.Roles[value], errs = role, append(errs, err)
	}
	if role, err := guard.ParseRole(c.Role); err == nil {
		p.Default = role // none is Nobody
	}
	for _, from := range c.From {
		n, err := config.Network(from)
		p.From, errs = append(p.From, n), append(errs, err)
	}
	return p, errors.Join(errs...)
}

// tls returns the server's side of TLS; nil is plain HTTP.
func (d *door) tls() *tls.Config {
	if d.cert == nil {
		return nil
	}
	return d.cert.Config()
}

// serve answers on a listener of the page until the server is closed.
func (d *door) serve(srv *http.Server, l net.Listener) error {
	if d.cert == nil {
		return srv.Serve(l)
	}
	srv.TLSConfig = d.tls()
	return srv.ServeTLS(l, "", "")
}

// outside tells people who have not logged in that something is wrong, and not what.
func (d *door) outside(reasons []string) []string {
	if len(reasons) == 0 || !d.guard.Asked() {
		return reasons
	}
	return []string{"not well: the reasons stand behind the login in /api/v1/status, on health.listen, and in `receiver status`"}
}

// troubles are what is wrong with the files of the door, although it serves.
func (d *door) troubles() (list []string) {
	if err := d.guard.Err(); err != nil {
		list = append(list, err.Error())
	}
	if d.cert != nil {
		if err := d.cert.Err(); err != nil {
			list = append(list, err.Error())
		}
	}
	return list
}

// Adopt takes over the logins of the receiver that runs until now, so that reading
// the configuration again logs nobody out.
func (r *Receiver) Adopt(old *Receiver) {
	if r.door != nil && old.door != nil {
		r.door.guard.Adopt(old.door.guard)
	}
}
