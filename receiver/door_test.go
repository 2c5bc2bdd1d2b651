package receiver

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"telemetry/internal/config"
	"telemetry/receiver/ca"
	"telemetry/receiver/live/guard"
)

// locked makes a configuration whose page has TLS and tokens, and a browser that
// trusts it.
func locked(t *testing.T, kafkaLine string) (c *config.Receiver, browser *http.Client) {
	t.Helper()
	dir := t.TempDir()
	team, err := ca.Init(filepath.Join(dir, "ca"), "Team CA", ca.DefaultCA)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := team.Issue(ca.Request{Name: "page", Hosts: []string{"127.0.0.1", "localhost"}, Out: dir}); err != nil {
		t.Fatal(err)
	}
	pem, err := os.ReadFile(filepath.Join(dir, "ca", ca.CertFile))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(tr.CloseIdleConnections)
	c = configure(t, dir, kafkaLine, plainMQTT)
	c.Live.TLS = &config.PageTLS{Cert: filepath.Join(dir, "page.crt"), Key: filepath.Join(dir, "page.key")}
	c.Live.Login.Tokens = filepath.Join(dir, "tokens")
	return c, &http.Client{Transport: tr, Jar: jar}
}

// token adds one to a configuration's file.
func token(t *testing.T, c *config.Receiver, role guard.Role) string {
	t.Helper()
	secret, _, err := guard.AddToken(c.Live.Login.Tokens, "the-"+role.String(), role, 0)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// ask returns code, body and protocol of one request; a body makes it a POST of the
// page's own.
func ask(t *testing.T, c *http.Client, url, body string, headers ...string) (int, string, string) {
	t.Helper()
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
		headers = append(headers, "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin")
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b), resp.Proto
}

// A page with TLS and tokens, as a browser and a script use it.
func TestPageBehindTLSAndLogin(t *testing.T) {
	cfg, browser := locked(t, embeddedLine)
	viewer, admin := token(t, cfg, guard.Viewer), token(t, cfg, guard.Admin)
	r, _ := run(t, cfg)
	base := "https://" + r.Status(t.Context()).Listen.Live
	want := func(what string, code int, part, url, body string, headers ...string) {
		t.Helper()
		if got, text, proto := ask(t, browser, base+url, body, headers...); got != code || !strings.Contains(text, part) || proto != "HTTP/2.0" {
			t.Errorf("%s: %s %d %s, want %d %q", what, proto, got, text, code, part)
		}
	}
	want("the page", 200, "<!doctype html>", "/", "")
	want("health", 200, "ok", "/healthz", "")
	want("readiness", 200, "ready", "/readyz", "")
	want("nobody", 401, `"login":true`, "/api/v1/cars", "")
	want("nobody's stream", 401, `"login":true`, "/api/v1/events", "")
	want("nobody's metrics", 401, `"login":true`, "/metrics", "")
	want("wrong token", 401, "none of this page's", "/api/v1/login", `{"token":"page_wrong"}`)
	want("login", 200, `"role":"viewer"`, "/api/v1/login", `{"token":"`+viewer+`"}`)
	want("cars", 200, `"cars":[]`, "/api/v1/cars", "")
	want("role too low", 403, "needs the role admin", "/api/v1/status", "")
	want("a script", 200, `"ready"`, "/api/v1/status", "", "Authorization", "Bearer "+admin)
	want("metrics", 200, "telemetry_login_logins_total 1", "/metrics", "", "Authorization", "Bearer "+viewer)
	want("login as another", 200, `"role":"admin"`, "/api/v1/login", `{"token":"`+admin+`"}`)
	want("status", 200, `"ready"`, "/api/v1/status", "")
	want("logout", 204, "", "/api/v1/logout", "{}")
	want("nobody again", 401, `"login":true`, "/api/v1/cars", "")
	if in := r.Status(t.Context()).Login; in == nil || in.Logins != 2 || in.Logouts != 1 || in.Wrong != 1 || in.Sessions != 0 {
		t.Errorf("%+v", in)
	}
	// Without TLS there is nothing on that port.
	if code, text := get(t, strings.TrimPrefix(base, "https://"), "/"); code != http.StatusBadRequest || !strings.Contains(text, "HTTPS server") {
		t.Errorf("plain HTTP: %d %s", code, text)
	}
	// A token that is revoked ends its stream.
	want("login", 200, `"role":"viewer"`, "/api/v1/login", `{"token":"`+viewer+`"}`)
	resp, err := browser.Get(base + "/api/v1/events")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp, err)
	}
	defer resp.Body.Close()
	if err := guard.RevokeToken(cfg.Live.Login.Tokens, "the-viewer"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, resp.Body); t.Context().Err() != nil {
		t.Errorf("the stream goes on: %v", err)
	}
	want("revoked", 401, "login", "/api/v1/cars", "")
	if err := os.Remove(cfg.Live.TLS.Key); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a certificate that is half gone is told", func() bool {
		return strings.Contains(strings.Join(r.Status(t.Context()).Degraded, "\n"), "certificate of the page")
	})
	_, text, _ := ask(t, browser, base+"/readyz", "")
	if !strings.Contains(text, "degraded: not well") || strings.Contains(text, "page.key") {
		t.Errorf("nobody is told: %s", text)
	}
}

// While Kafka is waited for, the page's port has the same certificate and login.
func TestLoginWhileKafkaIsWaitedFor(t *testing.T) {
	cfg, browser := locked(t, fmt.Sprintf(clusterLine, freePort(t)))
	admin := token(t, cfg, guard.Admin)
	r, err := Prepare(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // ends with ctx
	eventually(t, "the port answers", func() bool { return r.Status(ctx).Listen.Live != "" })
	base := "https://" + r.Status(ctx).Listen.Live
	for _, tt := range []struct {
		name, path string
		headers    []string
		code       int
		part, not  string
	}{
		{"health", "/healthz", nil, 200, "ok", "refused"},
		{"readiness tells no reasons", "/readyz", nil, 503, "not well", "refused"},
		{"metrics of nobody", "/metrics", nil, 401, "log in", "telemetry_"},
		{"metrics", "/metrics", []string{"Authorization", "Bearer " + admin}, 200, "telemetry_kafka_up 0", ""},
		{"page", "/", nil, 503, "starting", "refused"},
	} {
		code, text, _ := ask(t, browser, base+tt.path, "", tt.headers...)
		if code != tt.code || !strings.Contains(text, tt.part) || tt.not != "" && strings.Contains(text, tt.not) {
			t.Errorf("%s: %d %s", tt.name, code, text)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// What the door needs is missed before anything is served.
func TestDoorsThatDoNotOpen(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(t *testing.T, c *config.Receiver)
		want   string
	}{
		"no tokens":      {func(*testing.T, *config.Receiver) {}, "receiver page token add"},
		"no certificate": {func(t *testing.T, c *config.Receiver) { token(t, c, guard.Viewer); c.Live.TLS.Cert = "none.crt" }, "live.tls"},
		"no token left": {func(t *testing.T, c *config.Receiver) {
			token(t, c, guard.Viewer)
			if err := guard.RevokeToken(c.Live.Login.Tokens, "the-viewer"); err != nil {
				t.Fatal(err)
			}
		}, "has no token"},
		"everybody may write the tokens": {func(t *testing.T, c *config.Receiver) {
			token(t, c, guard.Viewer)
			if err := os.Chmod(c.Live.Login.Tokens, 0o666); err != nil {
				t.Fatal(err)
			}
		}, "chmod o-w"},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := locked(t, embeddedLine)
			tt.change(t, c)
			if _, err := Prepare(c, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	c, _ := locked(t, embeddedLine)
	c.Roles = []string{"ingest", "sequence"}
	if _, err := Prepare(c, slog.New(slog.DiscardHandler)); err != nil {
		t.Errorf("without the page nobody needs tokens: %v", err)
	}
}

// An address that others reach is not served without TLS and login, whatever the
// configuration's reader has let through.
func TestOthersNeedTLSAndLogin(t *testing.T) {
	for name, change := range map[string]func(c *config.Receiver){
		"nothing":      func(c *config.Receiver) { c.Live.TLS, c.Live.Login.Tokens = nil, "" },
		"TLS alone":    func(c *config.Receiver) { c.Live.Login.Tokens = "" },
		"tokens alone": func(c *config.Receiver) { c.Live.TLS = nil },
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := locked(t, embeddedLine)
			token(t, c, guard.Viewer)
			change(c)
			c.Live.Listen = "0.0.0.0:0"
			r, err := Prepare(c, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "live.tls and live.login") {
				t.Errorf("got %v", err)
			}
		})
	}
	c, browser := locked(t, embeddedLine)
	admin := token(t, c, guard.Admin)
	c.Live.Listen = "0.0.0.0:0"
	r, _ := run(t, c)
	_, port, _ := strings.Cut(strings.TrimPrefix(r.Status(t.Context()).Listen.Live, "[::]"), ":")
	if code, text, _ := ask(t, browser, "https://localhost:"+port+"/api/v1/me", "", "Authorization", "Bearer "+admin); code != 200 || !strings.Contains(text, "the-admin") {
		t.Errorf("with both: %d %s", code, text)
	}
}

// The proxy's word counts from its address, through the whole receiver.
func TestPageBehindAProxy(t *testing.T) {
	c, browser := locked(t, embeddedLine)
	c.Live.Login.Tokens = ""
	c.Live.Login.Proxy = &config.Proxy{
		Header: "X-Auth-Request-User", RoleHeader: "X-Auth-Request-Groups", Roles: map[string]string{"pit": "engineer"}, Role: "none", From: config.Addresses{"127.0.0.1"},
	}
	r, _ := run(t, c)
	base := "https://" + r.Status(t.Context()).Listen.Live
	for _, tt := range []struct {
		name    string
		headers []string
		code    int
		part    string
	}{
		{"nobody", nil, 403, "the proxy in front of this page did not say"},
		{"anna", []string{"X-Auth-Request-User", "anna", "X-Auth-Request-Groups", "staff,pit"}, 200, `{"name":"anna","role":"engineer","login":true,"by":"proxy"}`},
		{"a guest", []string{"X-Auth-Request-User", "bert", "X-Auth-Request-Groups", "staff"}, 403, "has no role here"},
	} {
		if code, text, _ := ask(t, browser, base+"/api/v1/me", "", tt.headers...); code != tt.code || !strings.Contains(text, tt.part) {
			t.Errorf("%s: %d %s", tt.name, code, text)
		}
	}
}
