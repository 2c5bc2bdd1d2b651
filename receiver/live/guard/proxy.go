package guard

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"
)

// Proxy is a server in front of the page that has asked people who they are.
type Proxy struct {
	Header     string          // names the user
	RoleHeader string          // names a role, or groups with commas between them; "" is none
	Roles      map[string]Role // by value of RoleHeader; empty: the value is the role
	Default    Role            // of a user without one; Nobody: he may not do anything
	From       []netip.Prefix  // its addresses; nobody else is believed
}

// maxUser bounds a user's name, in bytes.
const maxUser = 128

// Reasons to refuse what a proxy says.
var (
	errNotProxy = errors.New("headers of the proxy from an address that is not its (live.login.proxy.from)")
	errTwice    = errors.New("the proxy names more than one user")
	errUser     = errors.New("the proxy names a user that is none")
	errNoRole   = errors.New("the proxy names a user who has no role here (live.login.proxy.roles)")
)

// trusts reports whether an address is the proxy's.
func (p *Proxy) trusts(a netip.Addr) bool {
	if p == nil {
		return false
	}
	for _, n := range p.From {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// who returns whom the proxy names; ok is false when it names nobody. It takes
// the headers off the request.
func (p *Proxy) who(r *http.Request, from netip.Addr) (w Who, ok bool, err error) {
	users, roles := r.Header.Values(p.Header), []string(nil)
	r.Header.Del(p.Header)
	if p.RoleHeader != "" {
		roles = r.Header.Values(p.RoleHeader)
		r.Header.Del(p.RoleHeader)
	}
	switch {
	case !p.trusts(from) && len(users)+len(roles) > 0:
		return w, false, errNotProxy
	case len(users) > 1:
		return w, false, errTwice
	case len(users) == 0 || users[0] == "":
		return w, false, nil
	}
	name := strings.TrimSpace(users[0])
	if name == "" || len(name) > maxUser || strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return w, false, errUser
	}
	w = Who{Name: name, Role: p.role(roles), By: ByProxy}
	if w.Role == Nobody {
		return w, false, errNoRole
	}
	return w, true, nil
}

// role returns the highest role that a user's groups have.
func (p *Proxy) role(values []string) Role {
	best := Nobody
	for _, line := range values {
		for v := range strings.SplitSeq(line, ",") {
			v = strings.TrimSpace(v)
			role, known := p.Roles[v]
			if len(p.Roles) == 0 {
				var err error
				role, err = ParseRole(v)
				known = err == nil
			}
			if known {
				best = max(best, role)
			}
		}
	}
	if best == Nobody {
		return p.Default
	}
	return best
}

// remote returns the address that a request comes from.
func remote(r *http.Request) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr().Unmap().WithZone("")
}

// client returns the address of whoever asks: of what comes through the proxy,
// the one that it saw.
func (p *Proxy) client(r *http.Request) netip.Addr {
	a := remote(r)
	if !p.trusts(a) {
		return a
	}
	lines := r.Header.Values("X-Forwarded-For")
	if len(lines) == 0 {
		return a
	}
	last := lines[len(lines)-1]
	last = strings.TrimSpace(last[strings.LastIndexByte(last, ',')+1:])
	if seen, err := netip.ParseAddr(last); err == nil {
		return seen.Unmap().WithZone("")
	}
	return a
}
