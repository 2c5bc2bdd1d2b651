package guard

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestOriginOf: whatever stands around it, crossSite and the roles, the origin itself
// is told right.
func TestOriginOf(t *testing.T) {
	for _, tt := range []struct {
		name    string
		tls     bool
		trusted bool
		headers []string
		want    origin
	}{
		{"the page", false, false, []string{"Sec-Fetch-Site", "same-origin"}, originSame},
		{"another host of the domain", false, false, []string{"Sec-Fetch-Site", "same-site"}, originOther},
		{"from elsewhere", false, false, []string{"Sec-Fetch-Site", "cross-site"}, originOther},
		{"typed", false, false, []string{"Sec-Fetch-Site", "none"}, originOther},
		{"a word that nobody knows", false, false, []string{"Sec-Fetch-Site", "Same-Origin"}, originOther},
		{"elsewhere, under the page's origin", false, false, []string{"Sec-Fetch-Site", "cross-site", "Origin", "http://pit.example:8080"}, originOther},
		{"the page, whose name the proxy has changed", false, false, []string{"Sec-Fetch-Site", "same-origin", "Origin", "https://page.example"}, originSame},
		{"nothing is said", false, false, nil, originUnknown},
		{"nothing is said through the proxy", false, true, []string{"X-Forwarded-Host", "pit.example:8080"}, originUnknown},
		{"an old browser", false, false, []string{"Origin", "http://pit.example:8080"}, originSame},
		{"an old browser with TLS", true, false, []string{"Origin", "https://pit.example:8080"}, originSame},
		{"a page without TLS", true, false, []string{"Origin", "http://pit.example:8080"}, originOther},
		{"another port", false, false, []string{"Origin", "http://pit.example:8081"}, originOther},
		{"no port", false, false, []string{"Origin", "http://pit.example"}, originOther},
		{"a host that begins alike", false, false, []string{"Origin", "http://pit.example:8080.evil.example"}, originOther},
		{"the host as a user", false, false, []string{"Origin", "http://pit.example:8080@evil.example"}, originOther},
		{"no origin that can be", false, false, []string{"Origin", "http://%zz"}, originOther},
		{"empty", false, false, []string{"Origin", ""}, originOther},
		{"a sandboxed page", false, false, []string{"Origin", "null"}, originOther},
		{"a sandboxed page, through a proxy that says no host", false, true, []string{"Origin", "null"}, originOther},
		{"the good one first", false, false, []string{"Origin", "http://pit.example:8080", "Origin", "http://evil.example"}, originOther},
		{"under the proxy's name", false, true, []string{"Origin", "https://Page.example", "X-Forwarded-Host", "page.example"}, originSame},
		{"under another name through the proxy", false, true, []string{"Origin", "https://evil.example", "X-Forwarded-Host", "page.example"}, originOther},
		{"a name that anybody says", false, false, []string{"Origin", "https://evil.example", "X-Forwarded-Host", "evil.example"}, originOther},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := asked(tt.headers...)
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			if got := originOf(r, tt.trusted); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// asked is a request to change something; headers as for rig.ask.
func asked(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/api/v1/replays", http.NoBody)
	r.Host = "pit.example:8080"
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "from" {
			r.RemoteAddr = headers[i+1]
			continue
		}
		r.Header.Add(headers[i], headers[i+1])
	}
	return r
}

func TestTrusts(t *testing.T) {
	p := &Proxy{From: prefixes(t, "10.0.0.0/24", "192.0.2.7/32", "fe80::/64")}
	for remote, want := range map[string]bool{
		"10.0.0.0:1": true, "10.0.0.255:1": true, "10.0.1.0:1": false, "9.255.255.255:1": false,
		"192.0.2.7:1": true, "192.0.2.8:1": false, "[::ffff:192.0.2.7]:1": true, "[::ffff:192.0.2.8]:1": false,
		"[fe80::1%eth0]:1": true, "[fe80:0:0:1::1]:1": false,
		"10.0.0.1": false, "@": false, "": false, // no address and port: a socket of this machine
	} {
		a := clientOf(remote)
		if got := p.trusts(a); got != want {
			t.Errorf("%q: %v, want %v", remote, got, want)
		}
		if (*Proxy)(nil).trusts(a) {
			t.Errorf("%q: trusted without a proxy", remote)
		}
		if (&Proxy{}).trusts(a) {
			t.Errorf("%q: trusted by a proxy without addresses", remote)
		}
	}
}

func clientOf(addr string) netip.Addr {
	r := asked()
	r.RemoteAddr = addr
	return remote(r)
}

// TestClient: who is counted against is whom the proxy itself has seen, the last one
// of the last line; what stands before it anybody may have sent.
func TestClient(t *testing.T) {
	p := &Proxy{From: prefixes(t, "10.0.0.1/32")}
	const here = "10.0.0.1:5"
	for _, tt := range []struct {
		name    string
		headers []string
		want    string
	}{
		{"not through the proxy", []string{"from", "203.0.113.9:5", "X-Forwarded-For", "198.51.100.7"}, "203.0.113.9"},
		{"through it", []string{"from", here, "X-Forwarded-For", "198.51.100.7"}, "198.51.100.7"},
		{"and others before it", []string{"from", here, "X-Forwarded-For", "192.0.2.1, 192.0.2.2, 198.51.100.7"}, "198.51.100.7"},
		{"and lines before it", []string{"from", here, "X-Forwarded-For", "192.0.2.1", "X-Forwarded-For", "198.51.100.7"}, "198.51.100.7"},
		{"the proxy says nothing", []string{"from", here}, "10.0.0.1"},
		{"nothing that can be", []string{"from", here, "X-Forwarded-For", "198.51.100.7, unknown"}, "10.0.0.1"},
		{"IPv4 within IPv6", []string{"from", here, "X-Forwarded-For", "::ffff:198.51.100.7"}, "198.51.100.7"},
		{"a zone", []string{"from", here, "X-Forwarded-For", "fe80::1%eth0"}, "fe80::1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.client(asked(tt.headers...)); got != netip.MustParseAddr(tt.want) {
				t.Errorf("got %v, want %s", got, tt.want)
			}
		})
	}
	if got := (*Proxy)(nil).client(asked("from", here, "X-Forwarded-For", "198.51.100.7")); got != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("without a proxy: %v", got)
	}
}

// TestForwardedHeadersWithoutAProxy: where no proxy is set nobody's word is taken for
// one's.
func TestForwardedHeadersWithoutAProxy(t *testing.T) {
	k := newRig(t, nil)
	cookie := k.login(t, Engineer)
	wants(t, "a name that anybody says", k.ask(t, "POST", "/api/v1/replays", "", "Cookie", cookie, "Origin", "https://evil.example", "X-Forwarded-Host", "evil.example"), 403, "elsewhere")
	if r := asked("X-Forwarded-Proto", "https"); k.secure(r) {
		t.Error("anybody says that it is encrypted")
	}
	k.opt.Proxy = &Proxy{Header: "X-User", From: prefixes(t, "10.0.0.1/32")}
	for addr, want := range map[string]bool{"10.0.0.1:5": true, "10.0.0.2:5": false} {
		if got := k.secure(asked("from", addr, "X-Forwarded-Proto", "https")); got != want {
			t.Errorf("%s says that it is encrypted: %v, want %v", addr, got, want)
		}
	}
}

// TestOpenStreamsOfScriptsEnd: what was let in by a token in Authorization ends with
// that token, and nothing else does.
func TestOpenStreamsOfScriptsEnd(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, k *rig){
		"revoked": func(t *testing.T, k *rig) {
			if err := RevokeToken(k.file, "guest"); err != nil {
				t.Error(err)
			}
		},
		"expired": func(*testing.T, *rig) { time.Sleep(time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newRig(t, nil)
				secret, _, err := AddToken(k.file, "guest", Viewer, time.Hour)
				if err != nil {
					t.Fatal(err)
				}
				k.secret[Nobody] = secret
				ended := make(chan string, 2)
				k.h = k.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
					ended <- FromContext(r.Context()).Name
				}))
				time.Sleep(2 * lookEvery)
				go k.ask(t, "GET", "/api/v1/events", "", "Authorization", "Bearer "+secret)
				go k.ask(t, "GET", "/api/v1/events", "", "Authorization", "Bearer "+k.secret[Viewer])
				synctest.Wait()
				k.sweep(time.Now())
				synctest.Wait()
				if len(ended) != 0 || len(k.open) != 2 {
					t.Fatalf("%d ended before their time, %d are open", len(ended), len(k.open))
				}
				end(t, k)
				time.Sleep(2 * lookEvery)
				k.sweep(time.Now())
				synctest.Wait()
				if len(ended) != 1 || <-ended != "guest" || k.Counters().Ended != 1 {
					t.Errorf("%d more ended, %+v", len(ended), k.Counters())
				}
				if err := RevokeToken(k.file, "the-viewer"); err != nil {
					t.Error(err)
				}
				time.Sleep(2 * lookEvery)
				k.sweep(time.Now())
				synctest.Wait()
				if len(ended) != 1 || <-ended != "the-viewer" {
					t.Error("the other one goes on")
				}
			})
		})
	}
}
