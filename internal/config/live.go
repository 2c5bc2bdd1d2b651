package config

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Live is the page for people.
type Live struct {
	Listen  string   `yaml:"listen"` // default 127.0.0.1:8080; "off" = none
	TLS     *PageTLS `yaml:"tls"`    // needed where other machines reach the page
	Login   Login    `yaml:"login"`  // needed there too
	History *History `yaml:"history"`
}

// PageTLS names the files of the page's identity. They are read again when they
// change.
type PageTLS struct {
	Cert string `yaml:"cert"`
	Key  string `yaml:"key"`
}

// Login says who may see the page. Without tokens and proxy nobody is asked.
type Login struct {
	Tokens  string   `yaml:"tokens"`  // file that `receiver page token` writes; read again when it changes
	Proxy   *Proxy   `yaml:"proxy"`   // in front of the page, which has asked who it is
	Idle    Duration `yaml:"idle"`    // a login ends after so long without a request; default 12h
	Longest Duration `yaml:"longest"` // and after so long anyway; default 168h
}

// Asked reports whether anybody is asked who he is.
func (l *Login) Asked() bool { return l.Tokens != "" || l.Proxy != nil }

// Proxy is a server in front of the page whose word is taken for who asks.
type Proxy struct {
	Header     string            `yaml:"header"`      // that names the user
	RoleHeader string            `yaml:"role_header"` // that names a role, or groups with commas between them; empty = none
	Roles      map[string]string `yaml:"roles"`       // role by value of role_header; empty = the value is the role
	Role       string            `yaml:"role"`        // of users without one: viewer, engineer, admin or none; default viewer, with role_header none
	From       Addresses         `yaml:"from"`        // its addresses, or networks as 10.0.0.0/8: nobody else may send the headers
}

// Addresses are IP addresses or networks: one, or a list.
type Addresses []string

func (Addresses) loneScalar() {}

// History is a time-series database that has past values, beside Kafka. In its
// templates {car}, {group} and {channel} stand for those of a channel.
type History struct {
	Kind     string            `yaml:"kind"` // victoriametrics or questdb
	URL      string            `yaml:"url"`
	User     string            `yaml:"user"`
	Password *Secret           `yaml:"password"` // of that user
	CA       string            `yaml:"ca"`       // of an https:// address; default the system's
	Timeout  Duration          `yaml:"timeout"`  // of one question; default 30s
	Metric   string            `yaml:"metric"`   // of VictoriaMetrics: the metric of a channel; default {group}_{channel}
	Table    string            `yaml:"table"`    // of QuestDB: the table of a channel; default {group}
	Column   string            `yaml:"column"`   // of QuestDB: its column; default {channel}
	Time     string            `yaml:"time"`     // of QuestDB: the column of time; default timestamp
	Match    map[string]string `yaml:"match"`    // labels or columns that a car's values have; default car: {car}
}

// Roles of people, by what they may do: watch, read the past, see the process.
const (
	RoleViewer   = "viewer"
	RoleEngineer = "engineer"
	RoleAdmin    = "admin"
	roleNobody   = "none"
)

var pageRoles = []string{RoleViewer, RoleEngineer, RoleAdmin}

func (l *Live) defaults() {
	def(&l.Listen, "127.0.0.1:8080")
	def(&l.Login.Idle, Duration(12*time.Hour))
	def(&l.Login.Longest, Duration(7*24*time.Hour))
	if p := l.Login.Proxy; p != nil {
		role := RoleViewer
		if p.RoleHeader != "" {
			role = roleNobody
		}
		def(&p.Role, role)
	}
	if h := l.History; h != nil {
		def(&h.Timeout, Duration(30*time.Second))
		def(&h.Metric, "{group}_{channel}")
		def(&h.Table, "{group}")
		def(&h.Column, "{channel}")
		def(&h.Time, "timestamp")
		if h.Match == nil {
			h.Match = map[string]string{"car": "{car}"}
		}
	}
}

func (l *Live) resolve(dir string) {
	if t := l.TLS; t != nil {
		abs(dir, &t.Cert)
		abs(dir, &t.Key)
	}
	abs(dir, &l.Login.Tokens)
	if h := l.History; h != nil {
		abs(dir, &h.CA)
		if h.Password != nil {
			abs(dir, &h.Password.File)
		}
	}
}

// Loopback reports whether only this machine reaches an address to listen on.
func Loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// validate checks the page; served says that this process has it.
func (l *Live) validate(served bool, report reporter) {
	if l.Listen != "off" {
		checkListen("live.listen", l.Listen, report)
	}
	if t := l.TLS; t != nil && (t.Cert == "" || t.Key == "") {
		report("live.tls", "is not complete (want cert and key)")
	}
	if served && l.Listen != "off" && !Loopback(l.Listen) {
		const remedy = "; or live.listen on 127.0.0.1, reached by an SSH tunnel"
		if l.TLS == nil {
			report("live.tls", "is missing: other machines reach the page on %s (want cert and key: `receiver ca issue page --host NAME` makes them%s)", l.Listen, remedy)
		}
		if !l.Login.Asked() {
			report("live.login", "is missing: other machines reach the page on %s (want tokens, the file that `receiver page token add NAME` makes, or proxy%s)", l.Listen, remedy)
		}
	}
	l.Login.validate("live.login", report)
	if l.History != nil {
		l.History.validate("live.history", report)
	}
}

func (l *Login) validate(at string, report reporter) {
	if d := l.Idle.D(); d < time.Minute || d > l.Longest.D() {
		report(at+".idle", "is %v (want 1m to longest, which is %v)", d, l.Longest.D())
	}
	if d := l.Longest.D(); d > 90*24*time.Hour {
		report(at+".longest", "is %v (want at most 2160h)", d)
	}
	if l.Proxy != nil {
		l.Proxy.validate(at+".proxy", report)
	}
}

// headerName reports whether s can name a header: RFC 9110 without the rarer
// characters.
func headerName(s string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

// spoken are headers that say something else, and that anybody sends.
var spoken = []string{"authorization", "cookie", "host", "origin", "referer", "user-agent", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"}

func (p *Proxy) validate(at string, report reporter) {
	for _, h := range []struct {
		key, name string
		need      bool
	}{{"header", p.Header, true}, {"role_header", p.RoleHeader, false}} {
		switch {
		case h.name == "" && h.need:
			report(at+".header", "is missing (want the header that names the user, as X-Auth-Request-User)")
		case h.name == "":
		case !headerName(h.name):
			report(at+"."+h.key, "%q is no header (want letters, digits and '-')", h.name)
		case slices.Contains(spoken, strings.ToLower(h.name)):
			report(at+"."+h.key, "%q says something else (want a header that only the proxy sends)", h.name)
		}
	}
	if p.RoleHeader != "" && strings.EqualFold(p.RoleHeader, p.Header) {
		report(at+".role_header", "is header too (want another one)")
	}
	for _, v := range slices.Sorted(maps.Keys(p.Roles)) {
		if !slices.Contains(pageRoles, p.Roles[v]) {
			report(at+".roles."+v, "%q is no role (want viewer, engineer or admin)", p.Roles[v])
		}
	}
	if len(p.Roles) > 0 && p.RoleHeader == "" {
		report(at+".roles", "stands without role_header, whose values it names")
	}
	if p.Role != roleNobody && !slices.Contains(pageRoles, p.Role) {
		report(at+".role", "%q is no role (want viewer, engineer, admin or none)", p.Role)
	}
	if len(p.From) == 0 {
		report(at+".from", "is missing (want the proxy's address, or its network as 10.1.2.0/24)")
	}
	for i, a := range p.From {
		n, err := Network(a)
		switch {
		case err != nil:
			report(fmt.Sprintf("%s.from[%d]", at, i), "%v", err)
		case n.Bits() == 0:
			report(fmt.Sprintf("%s.from[%d]", at, i), "%q is everybody: anybody could say who he is (want the proxy's address)", a)
		}
	}
}

// Network reads an address or a network; an address is a network of its own.
func Network(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap().WithZone("")
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return netip.Prefix{}, fmt.Errorf("%q is no address (want an IP address, or a network as 10.1.2.0/24)", s)
	}
	return p.Masked(), nil
}

func (h *History) validate(at string, report reporter) {
	if h.Kind != "victoriametrics" && h.Kind != "questdb" {
		report(at+".kind", "%q is no history (want victoriametrics or questdb)", h.Kind)
	}
	u, err := url.Parse(h.URL)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		report(at+".url", "is no address of a database (want http://host:port or https://host:port; user and password have keys of their own)")
	}
	switch {
	case (h.User == "") != (h.Password == nil):
		report(at+".user", "and password belong together")
	case h.Password != nil:
		h.Password.check(at+".password", report)
	}
	if d := h.Timeout.D(); d < 100*time.Millisecond || d > 10*time.Minute {
		report(at+".timeout", "is %v (want 100ms to 10m)", d)
	}
	for _, t := range []struct{ key, text string }{{"metric", h.Metric}, {"table", h.Table}, {"column", h.Column}, {"time", h.Time}} {
		checkTemplate(at+"."+t.key, t.text, report)
	}
	for _, k := range slices.Sorted(maps.Keys(h.Match)) {
		checkTemplate(at+".match."+k, h.Match[k], report)
	}
}

// checkTemplate refuses placeholders that mean nothing.
func checkTemplate(at, t string, report reporter) {
	rest := strings.NewReplacer("{car}", "", "{group}", "", "{channel}", "").Replace(t)
	if strings.ContainsAny(rest, "{}") || t == "" || len(t) > maxNewName {
		report(at, "%q is no template (want a name with {car}, {group} and {channel})", t)
	}
}
