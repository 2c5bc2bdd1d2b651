package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const liveHead = "version: 1\nmqtt: {insecure: true}\nkafka: {embedded: {dir: k}}\nlive: "

// Off localhost there is no page without TLS and a login.
func TestPageOffLocalhost(t *testing.T) {
	const tls, tokens = "tls: {cert: c, key: k}", "login: {tokens: t}"
	const proxy = "login: {proxy: {header: X-User, from: 10.0.0.1}}"
	const noTLS, noLogin = "live.tls: is missing: other machines reach the page", "live.login: is missing: other machines reach the page"
	for _, tt := range []struct {
		name, live string
		want       []string
	}{
		{"default", "{}", nil},
		{"127.0.0.1", "{listen: '127.0.0.1:80'}", nil},
		{"IPv6", "{listen: '[::1]:80'}", nil},
		{"localhost", "{listen: 'localhost:80'}", nil},
		{"off", "{listen: 'off'}", nil},
		{"all addresses", "{listen: ':80'}", []string{noTLS, noLogin}},
		{"all of IPv4", "{listen: '0.0.0.0:80'}", []string{noTLS, noLogin}},
		{"a name", "{listen: 'pit.example:80'}", []string{noTLS, noLogin}},
		{"a name that looks like it", "{listen: 'localhost.example:80'}", []string{noTLS, noLogin}},
		{"no TLS", "{listen: ':80', " + tokens + "}", []string{noTLS}},
		{"no login", "{listen: ':80', " + tls + "}", []string{noLogin}},
		{"a login that asks nobody", "{listen: ':80', " + tls + ", login: {idle: 1h}}", []string{noLogin}},
		{"tokens", "{listen: ':80', " + tls + ", " + tokens + "}", nil},
		{"a proxy", "{listen: ':80', " + tls + ", " + proxy + "}", nil},
		{"half a certificate", "{tls: {cert: c}}", []string{"live.tls: is not complete"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadReceiver(write(t, liveHead+tt.live+"\n"))
			var fs Faults
			if err != nil && !errors.As(err, &fs) || len(fs) != len(tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			for i := range fs {
				if !strings.Contains(fs[i].Error(), tt.want[i]) {
					t.Errorf("got %v, want %q", fs[i], tt.want[i])
				}
			}
		})
	}
	if _, err := ReadReceiver(write(t, "version: 1\nroles: [sequence]\nkafka: {embedded: {dir: k}}\nlive: {listen: ':80'}\n")); err != nil {
		t.Errorf("a process without the page: %v", err)
	}
}

func TestLoginAtFault(t *testing.T) {
	for _, tt := range []struct{ name, login, want string }{
		{"idle beyond longest", "{idle: 10h, longest: 1h}", "login.idle: is 10h"},
		{"no time", "{idle: 1s}", "login.idle: is 1s"},
		{"for ever", "{longest: 100000h}", "login.longest"},
		{"no header", "{proxy: {from: 10.0.0.1}}", "proxy.header: is missing"},
		{"no address", "{proxy: {header: X-User}}", "proxy.from: is missing"},
		{"a name for an address", "{proxy: {header: X-User, from: proxy.example}}", "is no address"},
		{"everybody", "{proxy: {header: X-User, from: [10.0.0.1, 0.0.0.0/0]}}", "proxy.from[1]: \"0.0.0.0/0\" is everybody"},
		{"everybody of IPv6", "{proxy: {header: X-User, from: '::/0'}}", "is everybody"},
		{"IPv4 within IPv6", "{proxy: {header: X-User, from: '::ffff:0.0.0.0/96'}}", "is no address"},
		{"a header that anybody sends", "{proxy: {header: x-forwarded-for, from: 10.0.0.1}}", "says something else"},
		{"no name of a header", "{proxy: {header: 'X User', from: 10.0.0.1}}", "is no header"},
		{"an underscore", "{proxy: {header: X_User, from: 10.0.0.1}}", "is no header"},
		{"one header for both", "{proxy: {header: X-User, role_header: x-user, from: 10.0.0.1}}", "role_header: is header too"},
		{"an unknown role", "{proxy: {header: X-User, role: root, from: 10.0.0.1}}", `"root" is no role`},
		{"roles of nothing", "{proxy: {header: X-User, roles: {a: viewer}, from: 10.0.0.1}}", "without role_header"},
		{"a role that is none", "{proxy: {header: X-User, role_header: X-Groups, roles: {a: none}, from: 10.0.0.1}}", `roles.a: "none" is no role`},
		{"unknown key", "{token: x}", `did you mean "tokens"?`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ReadReceiver(write(t, liveHead+"{login: "+tt.login+"}\n")); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestLoginAndHistoryDefaults(t *testing.T) {
	p := write(t, liveHead+"{tls: {cert: c, key: k}, login: {tokens: t, proxy: {header: X-User, from: 10.0.0.1}}, history: {kind: questdb, url: 'http://q:9000', user: u, password: {file: p}}}\n")
	c, err := ReadReceiver(p)
	if err != nil {
		t.Fatal(err)
	}
	in := func(f string) string { return filepath.Join(filepath.Dir(p), f) }
	l := c.Live
	if l.TLS.Cert != in("c") || l.TLS.Key != in("k") || l.Login.Tokens != in("t") || l.History.Password.File != in("p") {
		t.Errorf("paths: %+v %+v", l, l.TLS)
	}
	if l.Login.Idle.D() != 12*time.Hour || l.Login.Longest.D() != 7*24*time.Hour || l.Login.Proxy.Role != RoleViewer || !l.Login.Asked() {
		t.Errorf("login: %+v", l.Login)
	}
	h := l.History
	if h.Metric != "{group}_{channel}" || h.Table != "{group}" || h.Column != "{channel}" || h.Time != "timestamp" || h.Match["car"] != "{car}" || h.Timeout.D() != 30*time.Second {
		t.Errorf("history: %+v", h)
	}
	c, err = ReadReceiver(write(t, liveHead+"{login: {proxy: {header: X-User, role_header: X-Groups, from: [10.0.0.0/8, '::1']}}}\n"))
	if err != nil || c.Live.Login.Proxy.Role != roleNobody {
		t.Errorf("%+v, %v", c, err)
	}
	for _, tt := range []struct{ name, history, want string }{
		{"no kind", "{url: 'http://h:1'}", "history.kind"},
		{"no address", "{kind: questdb, url: 'h:1'}", "history.url"},
		{"a password in the address", "{kind: questdb, url: 'http://u:hunter2@h:1'}", "keys of their own"},
		{"half a user", "{kind: questdb, url: 'http://h:1', user: u}", "belong together"},
		{"an unknown placeholder", "{kind: questdb, url: 'http://h:1', table: '{lane}'}", "is no template"},
		{"a label at fault", "{kind: questdb, url: 'http://h:1', match: {car: '{'}}", "history.match.car"},
		{"no patience", "{kind: questdb, url: 'http://h:1', timeout: 1ms}", "history.timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadReceiver(write(t, liveHead+"{history: "+tt.history+"}\n"))
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}

func TestPerCar(t *testing.T) {
	const head = "version: 1\nmqtt: {insecure: true}\nkafka: {embedded: {dir: k}}\n"
	c, err := ReadReceiver(write(t, head+"ingest: {per_car: {bytes_per_second: 1MiB}}\n"))
	if err != nil || c.Ingest.PerCar != (PerCar{Connections: 32, Bytes: 1 << 20, Packets: 20_000}) {
		t.Errorf("%+v, %v", c, err)
	}
	for _, tt := range []struct{ limit, want string }{
		{"connections: 3", "want 4 to 4096"},
		{"bytes_per_second: 64KiB", "at least 256KiB"},
		{"bytes_per_second: 1000000", "has no unit"},
		{"packets_per_second: 1", "at least 100"},
	} {
		if _, err := ReadReceiver(write(t, head+"ingest: {per_car: {"+tt.limit+"}}\n")); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.limit, err, tt.want)
		}
	}
}

// A process to which no car comes needs no identity for cars.
func TestTLSOfCarsOnlyWithIngest(t *testing.T) {
	const kafka = "kafka: {embedded: {dir: k}}\nlive: {listen: 'off'}\n"
	for roles, ok := range map[string]bool{"[sequence]": true, "[sequence, live]": true, "[live]": true, "[ingest]": false, "[ingest, sequence]": false} {
		_, err := ReadReceiver(write(t, "version: 1\nroles: "+roles+"\n"+kafka))
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "mqtt.tls: is missing") {
			t.Errorf("%s: %v", roles, err)
		}
	}
}

func TestReceiverSchemaKnowsAllKeys(t *testing.T) {
	s := ReceiverSchema()
	for _, path := range []string{"live.login.proxy.from", "live.history.password.env", "ingest.per_car.bytes_per_second", "kafka.embedded.port"} {
		at := s
		for key := range strings.SplitSeq(path, ".") {
			next, ok := at["properties"].(map[string]any)[key].(map[string]any)
			if !ok {
				t.Fatalf("%s: no %s", path, key)
			}
			at = next
		}
	}
}
