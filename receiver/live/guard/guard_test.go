package guard

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const same = "same-origin"

func TestLoginGivesACookieThatPagesCannotRead(t *testing.T) {
	k := newRig(t, nil)
	body := `{"token":"` + k.secret[Engineer] + `"}`
	for name, tt := range map[string]struct {
		tls    bool
		cookie string
	}{"plain, on localhost": {false, "receiver-8080"}, "TLS": {true, "__Host-receiver-8080"}} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", loginPath, strings.NewReader(body))
			r.Host = "localhost:8080"
			r.TLS = nil
			if tt.tls {
				r.TLS = &tls.ConnectionState{}
			}
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
			w := httptest.NewRecorder()
			k.h.ServeHTTP(w, r)
			wants(t, "login", w, http.StatusOK, `{"name":"the-engineer","role":"engineer","login":true`)
			c := w.Result().Cookies()[0]
			if c.Name != tt.cookie || !c.HttpOnly || c.Secure != tt.tls || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" || c.MaxAge != 7*24*3600 || len(c.Value) != 43 {
				t.Errorf("cookie %+v", c)
			}
			if strings.Contains(w.Body.String(), c.Value) {
				t.Error("the answer has the cookie's value")
			}
		})
	}
	cookie := k.login(t, Viewer)
	wants(t, "me", k.ask(t, "GET", mePath, "", "Cookie", cookie), http.StatusOK, `{"name":"the-viewer","role":"viewer","login":true,"by":"cookie"}`)
	wants(t, "a handler", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", cookie), http.StatusOK, "served the-viewer viewer cookie")
	if other := k.login(t, Viewer); other == cookie {
		t.Error("two sessions have one cookie")
	}
	if !strings.Contains(k.log.String(), `msg="page login" name=the-viewer role=viewer remote=192.0.2.1`) {
		t.Errorf("log: %s", k.log)
	}
	if n := k.Counters(); n.Logins != 4 || n.Sessions != 4 {
		t.Errorf("%+v", n)
	}
}

// Whoever has no right gets nothing, and is told what he may do about it.
func TestRefusals(t *testing.T) {
	k := newRig(t, func(o *Options) { o.Proxy = &Proxy{Header: "X-User", From: prefixes(t, "10.0.0.0/8"), Default: Viewer} })
	cookie := k.login(t, Viewer)
	_, gone, err := AddToken(k.file, "gone", Admin, time.Nanosecond)
	if err != nil || !gone.Expired(time.Now()) {
		t.Fatal(gone, err)
	}
	const form = "application/x-www-form-urlencoded"
	cases := []struct {
		name, method, path, body string
		headers                  []string
		code                     int
		part                     string
	}{
		{"nobody", "GET", "/api/v1/cars", "", nil, 401, `{"error":"log in first","login":true}`},
		{"nobody asks who he is", "GET", mePath, "", nil, 401, `"login":true`},
		{"nobody, a new path", "GET", "/api/v1/new", "", nil, 401, "log in"},
		{"nobody, metrics", "GET", "/metrics", "", nil, 401, "log in"},
		{"nobody, another method", "PUT", "/api/v1/cars", "", nil, 401, "log in"},
		{"nobody, an unclean path", "GET", "//api/v1/status", "", nil, 401, "log in"},
		{"the page itself", "GET", "/app.js", "", nil, 200, "served"},
		{"health", "GET", "/healthz", "", nil, 200, "served"},
		{"wrong token", "POST", loginPath, `{"token":"page_no"}`, []string{"Content-Type", "application/json"}, 401, "none of this page's"},
		{"no token", "POST", loginPath, `{}`, []string{"Content-Type", "application/json"}, 401, "none of this page's"},
		{"a token as its hash", "POST", loginPath, `{"token":"` + hashOf(t, k, "the-admin") + `"}`, []string{"Content-Type", "application/json"}, 401, "none of this page's"},
		{"too long a token", "POST", loginPath, `{"token":"` + strings.Repeat("a", maxLogin) + `"}`, []string{"Content-Type", "application/json"}, 400, "is JSON"},
		{"login by form post", "POST", loginPath, "token=" + k.secret[Admin], []string{"Content-Type", form, "Sec-Fetch-Site", same}, 415, "is JSON"},
		{"wrong bearer", "GET", "/api/v1/cars", "", []string{"Authorization", "Bearer page_no"}, 401, "none of this page's"},
		{"wrong bearer beside a good cookie", "GET", "/api/v1/cars", "", []string{"Authorization", "Bearer page_no", "Cookie", cookie}, 401, "none of this page's"},
		{"a cookie that was never given", "GET", "/api/v1/cars", "", []string{"Cookie", "receiver-8080=" + strings.Repeat("A", 43)}, 401, "the login has ended"},
		{"a cookie of another port", "GET", "/api/v1/cars", "", []string{"Cookie", cookie, "Host", "pit.example:8081"}, 401, "log in"},
		{"a token for a cookie", "GET", "/api/v1/cars", "", []string{"Cookie", "receiver-8080=" + k.secret[Admin]}, 401, "the login has ended"},
		{"role too low", "GET", "/api/v1/cars/c/export", "", []string{"Cookie", cookie}, 403, "needs the role engineer, the-viewer has viewer"},
		{"role too low for the process", "GET", "/api/v1/status", "", []string{"Authorization", "Bearer " + k.secret[Engineer]}, 403, "needs the role admin"},
		{"metrics by cookie", "GET", "/metrics", "", []string{"Cookie", cookie}, 403, "needs the role admin"},
		{"metrics by bearer", "GET", "/metrics", "", []string{"Authorization", "bearer " + k.secret[Viewer]}, 200, "served the-viewer"},
		{"a new path", "GET", "/api/v1/new", "", []string{"Authorization", "Bearer " + k.secret[Engineer]}, 403, "needs the role admin"},
		{"header from an untrusted address", "GET", "/api/v1/cars", "", []string{"X-User", "root"}, 403, "not its"},
		{"header from an untrusted address, open path", "GET", "/", "", []string{"X-User", "root"}, 403, "not its"},
		{"an empty header from an untrusted address", "GET", "/api/v1/cars", "", []string{"X-User", "", "Cookie", cookie}, 403, "not its"},
		{"from the proxy", "GET", "/api/v1/cars", "", []string{"X-User", "anna", "from", "10.1.2.3:5"}, 200, "served anna viewer proxy []"},
		{"from the proxy, who named nobody", "GET", "/api/v1/cars", "", []string{"from", "10.1.2.3:5"}, 401, "log in"},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			wants(t, tt.name, k.ask(t, tt.method, tt.path, tt.body, tt.headers...), tt.code, tt.part)
		})
	}
	if n := k.Counters(); n.Wrong != 5 || n.Forbidden != 4 || n.ProxyRefused != 3 || n.Unknown == 0 || n.Logins != 1 {
		t.Errorf("%+v", n)
	}
	for _, want := range []string{`why="the token is none of this page's`, `name=the-viewer role=viewer method=GET path=/api/v1/cars/c/export`, "not its"} {
		if !strings.Contains(k.log.String(), want) {
			t.Errorf("the log lacks %q:\n%s", want, k.log)
		}
	}
}

func hashOf(t *testing.T, k *rig, name string) string {
	t.Helper()
	es, err := ReadTokens(k.file)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		if e.Name == name {
			return e.SHA256
		}
	}
	t.Fatalf("no token %s", name)
	return ""
}

// What changes something comes from the page itself, or from a script.
func TestOtherOrigins(t *testing.T) {
	k := newRig(t, func(o *Options) {
		o.Proxy = &Proxy{Header: "X-User", From: prefixes(t, "10.0.0.1/32"), Default: Engineer}
	})
	cookie, bearer := k.login(t, Engineer), "Bearer "+k.secret[Engineer]
	const post, path = "POST", "/api/v1/replays"
	for _, tt := range []struct {
		name, method, path string
		headers            []string
		code               int
	}{
		{"the page", post, path, []string{"Cookie", cookie, "Sec-Fetch-Site", same}, 200},
		{"the page in an old browser", post, path, []string{"Cookie", cookie, "Origin", "http://pit.example:8080"}, 200},
		{"the page under capitals", post, path, []string{"Cookie", cookie, "Origin", "http://PIT.example:8080"}, 200},
		{"CSRF by form post", post, path, []string{"Cookie", cookie, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example", "Content-Type", "text/plain"}, 403},
		{"CSRF by form post in an old browser", post, path, []string{"Cookie", cookie, "Origin", "https://evil.example", "Content-Type", "text/plain"}, 403},
		{"another port of the same host", post, path, []string{"Cookie", cookie, "Sec-Fetch-Site", "same-site", "Origin", "http://pit.example:3000"}, 403},
		{"the other port in an old browser", post, path, []string{"Cookie", cookie, "Origin", "http://pit.example:3000"}, 403},
		{"a sandboxed page", post, path, []string{"Cookie", cookie, "Origin", "null"}, 403},
		{"two origins", post, path, []string{"Cookie", cookie, "Origin", "http://pit.example:8080", "Origin", "http://evil.example"}, 403},
		{"a link that was typed", post, path, []string{"Cookie", cookie, "Sec-Fetch-Site", "none"}, 403},
		{"a cookie and no origin", post, path, []string{"Cookie", cookie}, 403},
		{"deleting from elsewhere", "DELETE", path + "/r1", []string{"Cookie", cookie, "Sec-Fetch-Site", "cross-site"}, 403},
		{"a script", post, path, []string{"Authorization", bearer}, 200},
		{"a script's token in a page from elsewhere", post, path, []string{"Authorization", bearer, "Origin", "https://evil.example"}, 403},
		{"login from elsewhere", post, loginPath, []string{"Content-Type", "application/json", "Sec-Fetch-Site", "cross-site"}, 403},
		{"logout from elsewhere", post, logoutPath, []string{"Cookie", cookie, "Origin", "https://evil.example"}, 403},
		{"by the proxy, from elsewhere", post, path, []string{"from", "10.0.0.1:1", "X-User", "anna", "Origin", "https://evil.example"}, 403},
		{"by the proxy, no origin", post, path, []string{"from", "10.0.0.1:1", "X-User", "anna"}, 403},
		{"by the proxy, under its name", post, path, []string{"from", "10.0.0.1:1", "X-User", "anna", "Origin", "https://page.example", "X-Forwarded-Host", "page.example"}, 200},
		{"under a name that anybody says", post, path, []string{"Cookie", cookie, "Origin", "https://evil.example", "X-Forwarded-Host", "evil.example"}, 403},
		{"reading from elsewhere", "GET", "/api/v1/events", []string{"Cookie", cookie, "Sec-Fetch-Site", "cross-site"}, 403},
		{"a link to the page", "GET", "/", []string{"Sec-Fetch-Site", "cross-site"}, 200},
	} {
		t.Run(tt.name, func(t *testing.T) { wants(t, tt.name, k.ask(t, tt.method, tt.path, "", tt.headers...), tt.code, "") })
	}
	if n := k.Counters().CrossOrigin; n != 16 {
		t.Errorf("%d counted", n)
	}
	wants(t, "still logged in", k.ask(t, "GET", mePath, "", "Cookie", cookie), 200, "the-engineer")
}

// TestTLSPageHasTLSOrigins: the same host without TLS is another origin.
func TestTLSPageHasTLSOrigins(t *testing.T) {
	for origin, want := range map[string]origin{"https://pit.example:8080": originSame, "http://pit.example:8080": originOther} {
		r := httptest.NewRequest("POST", "/api/v1/replays", http.NoBody)
		r.Host, r.TLS = "pit.example:8080", &tls.ConnectionState{}
		r.Header.Set("Origin", origin)
		if got := originOf(r, false); got != want {
			t.Errorf("%s: %v, want %v", origin, got, want)
		}
	}
}

func TestCookieIsOfNoUseAfterLogout(t *testing.T) {
	k := newRig(t, nil)
	cookie := k.login(t, Viewer)
	other := k.login(t, Viewer)
	w := k.ask(t, "POST", logoutPath, "", "Cookie", cookie, "Sec-Fetch-Site", same)
	wants(t, "logout", w, http.StatusNoContent, "")
	if c := w.Result().Cookies()[0]; c.MaxAge != -1 || c.Value != "" {
		t.Errorf("the browser keeps it: %+v", c)
	}
	wants(t, "replay", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", cookie), 401, "the login has ended")
	wants(t, "replay at logout", k.ask(t, "POST", logoutPath, "", "Cookie", cookie, "Sec-Fetch-Site", same), http.StatusNoContent, "")
	wants(t, "another session of the same person", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", other), 200, "served")
	if n := k.Counters(); n.Logouts != 1 || n.Sessions != 1 {
		t.Errorf("%+v", n)
	}
	// A new login ends the one that the browser had.
	body := `{"token":"` + k.secret[Admin] + `"}`
	wants(t, "login anew", k.ask(t, "POST", loginPath, body, "Cookie", other, "Content-Type", "application/json", "Sec-Fetch-Site", same), 200, "the-admin")
	wants(t, "the old one", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", other), 401, "the login has ended")
}

func TestLoginsEndByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newRig(t, func(o *Options) { o.Idle, o.Longest = time.Hour, 3*time.Hour })
		used, idle := k.login(t, Viewer), k.login(t, Viewer)
		for range 3 {
			time.Sleep(50 * time.Minute)
			wants(t, "in use", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", used), 200, "served")
		}
		wants(t, "idle", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", idle), 401, "the login has ended")
		time.Sleep(31 * time.Minute)
		wants(t, "longest", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", used), 401, "the login has ended")
		if n := k.Counters().Sessions; n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

func TestTokensEndByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newRig(t, nil)
		secret, _, err := AddToken(k.file, "guest", Viewer, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		k.secret[Nobody] = secret
		time.Sleep(2 * lookEvery)
		cookie := k.login(t, Nobody)
		wants(t, "bearer", k.ask(t, "GET", "/api/v1/cars", "", "Authorization", "Bearer "+secret), 200, "served guest")
		time.Sleep(time.Hour)
		wants(t, "cookie", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", cookie), 401, "the token has expired")
		wants(t, "bearer", k.ask(t, "GET", "/api/v1/cars", "", "Authorization", "Bearer "+secret), 401, "the token guest has expired")
		wants(t, "login", k.ask(t, "POST", loginPath, `{"token":"`+secret+`"}`, "Content-Type", "application/json"), 401, "the token guest has expired")
	})
}

// A token that is revoked ends its sessions, and another role counts at once.
func TestRevokedAndChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newRig(t, nil)
		viewer, admin := k.login(t, Viewer), k.login(t, Admin)
		if err := RevokeToken(k.file, "the-viewer"); err != nil {
			t.Fatal(err)
		}
		if err := change(k.file, func(es []Entry) ([]Entry, error) {
			for i := range es {
				if es[i].Name == "the-admin" {
					es[i].Role = Viewer
				}
			}
			return es, nil
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * lookEvery)
		wants(t, "cookie", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", viewer), 401, "the token was revoked")
		wants(t, "cookie again", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", viewer), 401, "the login has ended")
		wants(t, "bearer", k.ask(t, "GET", "/api/v1/cars", "", "Authorization", "Bearer "+k.secret[Viewer]), 401, "none of this page's")
		wants(t, "login", k.ask(t, "POST", loginPath, `{"token":"`+k.secret[Viewer]+`"}`, "Content-Type", "application/json"), 401, "none of this page's")
		wants(t, "another role", k.ask(t, "GET", "/api/v1/status", "", "Cookie", admin), 403, "the-admin has viewer")
	})
}

// Streams that are open end with the login that they began with.
func TestOpenStreamsEnd(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, k *rig, cookie string){
		"logout": func(t *testing.T, k *rig, cookie string) {
			k.ask(t, "POST", logoutPath, "", "Cookie", cookie, "Sec-Fetch-Site", same)
		},
		"revoked": func(t *testing.T, k *rig, _ string) {
			if err := RevokeToken(k.file, "the-viewer"); err != nil {
				t.Error(err)
			}
		},
		"longest": func(*testing.T, *rig, string) { time.Sleep(3 * time.Hour) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := newRig(t, func(o *Options) { o.Idle, o.Longest = time.Hour, 3*time.Hour })
				ended := make(chan error, 2)
				k.h = k.Wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					<-r.Context().Done()
					ended <- context.Cause(r.Context())
				}))
				ctx, stop := context.WithCancel(t.Context())
				ran := make(chan error, 1)
				go func() { ran <- k.Run(ctx) }()
				cookie := k.login(t, Viewer)
				go k.ask(t, "GET", "/api/v1/events", "", "Cookie", cookie)
				go k.ask(t, "GET", "/api/v1/events", "", "Cookie", cookie)
				time.Sleep(90 * time.Minute) // open is not idle
				synctest.Wait()
				if len(ended) != 0 {
					t.Fatal("ended before its time")
				}
				end(t, k, cookie)
				time.Sleep(2 * sweepEvery)
				synctest.Wait()
				if len(ended) != 2 || !errors.Is(<-ended, errEnded) || k.Counters().Ended != 2 {
					t.Errorf("%d ended, %+v", len(ended), k.Counters())
				}
				if len(k.open) != 0 {
					t.Errorf("%d requests are left", len(k.open))
				}
				stop()
				if err := <-ran; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func TestWrongTokensAreLimitedByAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newRig(t, func(o *Options) {
			o.Proxy = &Proxy{Header: "X-User", From: prefixes(t, "10.0.0.1/32"), Default: Viewer}
		})
		try := func(token string, headers ...string) *httptest.ResponseRecorder {
			return k.ask(t, "POST", loginPath, `{"token":"`+token+`"}`, append(headers, "Content-Type", "application/json")...)
		}
		for range wrongBurst {
			wants(t, "wrong", try("page_x", "from", "[2001:db8::1]:5"), 401, "")
		}
		w := try(k.secret[Admin], "from", "[2001:db8::ffff]:5") // its network, and even a good one
		wants(t, "limited", w, http.StatusTooManyRequests, `"error":"too many wrong tokens from this address"`)
		if w.Header().Get("Retry-After") != "7" {
			t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
		}
		wants(t, "another address", try(k.secret[Admin], "from", "192.0.2.9:5"), 200, "")
		time.Sleep(wrongEvery)
		wants(t, "later", try(k.secret[Admin], "from", "[2001:db8::1]:5"), 200, "")
		// Behind the proxy each client counts for itself, as the proxy saw it.
		for range wrongBurst {
			try("page_x", "from", "10.0.0.1:5", "X-Forwarded-For", "203.0.113.8, 198.51.100.7")
		}
		wants(t, "through the proxy", try(k.secret[Admin], "from", "10.0.0.1:6", "X-Forwarded-For", "198.51.100.7"), 429, "")
		wants(t, "another one through it", try(k.secret[Admin], "from", "10.0.0.1:6", "X-Forwarded-For", "203.0.113.8"), 200, "")
		wants(t, "a header that anybody sends", try(k.secret[Admin], "from", "192.0.2.10:6", "X-Forwarded-For", "198.51.100.7"), 200, "")
		if n := k.Counters(); n.Limited != 2 || n.Wrong != 2*wrongBurst {
			t.Errorf("%+v", n)
		}
		if n := strings.Count(k.log.String(), "refused"); n > maxLines+1 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestNobodyIsAskedWithoutALogin(t *testing.T) {
	k := newRig(t, func(o *Options) { o.Tokens = nil })
	wants(t, "me", k.ask(t, "GET", mePath, ""), 200, `{"name":"","role":"admin","login":false,"by":"nothing"}`)
	wants(t, "status", k.ask(t, "GET", "/api/v1/status", ""), 200, "served  admin nothing")
	wants(t, "a script", k.ask(t, "POST", "/api/v1/replays", ""), 200, "served")
	wants(t, "the page", k.ask(t, "POST", "/api/v1/replays", "", "Sec-Fetch-Site", same), 200, "served")
	wants(t, "CSRF by form post", k.ask(t, "POST", "/api/v1/replays", "", "Sec-Fetch-Site", "cross-site"), 403, "elsewhere")
	wants(t, "CSRF in an old browser", k.ask(t, "POST", "/api/v1/replays", "", "Origin", "http://evil.example"), 403, "elsewhere")
	wants(t, "a stream for a page from elsewhere", k.ask(t, "GET", "/api/v1/events", "", "Sec-Fetch-Site", "cross-site"), 403, "elsewhere")
	wants(t, "login", k.ask(t, "POST", loginPath, `{"token":"x"}`, "Content-Type", "application/json"), 404, "live.login.tokens")
	wants(t, "logout", k.ask(t, "POST", logoutPath, ""), 204, "")
}

func TestProxyNamesPeople(t *testing.T) {
	p := &Proxy{
		Header: "X-User", RoleHeader: "X-Groups", Roles: map[string]Role{"pit": Engineer, "boss": Admin, "guests": Viewer},
		From: prefixes(t, "10.0.0.0/24", "2001:db8::/64"),
	}
	k := newRig(t, func(o *Options) { o.Tokens, o.Proxy = nil, p })
	const here = "10.0.0.7:1"
	for _, tt := range []struct {
		name    string
		headers []string
		code    int
		part    string
	}{
		{"a group", []string{"from", here, "X-User", "anna", "X-Groups", "staff, pit"}, 200, "served anna engineer proxy []"},
		{"the highest of several", []string{"from", here, "X-User", "anna", "X-Groups", "pit,guests", "X-Groups", "boss"}, 200, "served anna admin"},
		{"IPv4 within IPv6", []string{"from", "[::ffff:10.0.0.7]:1", "X-User", "anna", "X-Groups", "pit"}, 200, "served anna engineer"},
		{"IPv6", []string{"from", "[2001:db8::9]:1", "X-User", "anna", "X-Groups", "pit"}, 200, "served anna engineer"},
		{"no group that counts", []string{"from", here, "X-User", "anna", "X-Groups", "admin"}, 403, "has no role here"},
		{"nobody", []string{"from", here}, 403, "did not say who you are"},
		{"a role without a user", []string{"from", here, "X-Groups", "boss"}, 403, "did not say who you are"},
		{"two users", []string{"from", here, "X-User", "anna", "X-User", "root", "X-Groups", "pit"}, 403, "more than one user"},
		{"a user of spaces", []string{"from", here, "X-User", "  ", "X-Groups", "pit"}, 403, "a user that is none"},
		{"too long a user", []string{"from", here, "X-User", strings.Repeat("a", 129), "X-Groups", "pit"}, 403, "a user that is none"},
		{"another address", []string{"from", "10.0.1.7:1", "X-User", "anna", "X-Groups", "pit"}, 403, "not its"},
		{"another address, the role alone", []string{"from", "10.0.1.7:1", "X-Groups", "boss"}, 403, "not its"},
		{"another address says it is forwarded", []string{"from", "10.0.1.7:1", "X-Forwarded-For", "10.0.0.7", "X-User", "anna", "X-Groups", "pit"}, 403, "not its"},
		{"not by way of the proxy", []string{"from", "10.0.1.7:1"}, 403, "did not say who you are"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wants(t, tt.name, k.ask(t, "GET", "/api/v1/cars", "", tt.headers...), tt.code, tt.part)
		})
	}
	p.RoleHeader, p.Roles = "X-Role", nil
	wants(t, "the role itself", k.ask(t, "GET", mePath, "", "from", here, "X-User", "anna", "X-Role", "engineer"), 200, `{"name":"anna","role":"engineer","login":true,"by":"proxy"}`)
	wants(t, "an unknown role", k.ask(t, "GET", mePath, "", "from", here, "X-User", "anna", "X-Role", "none"), 403, "has no role here")
}

// A change of the configuration logs nobody out whose token is still there.
func TestAdopt(t *testing.T) {
	k := newRig(t, nil)
	viewer := k.login(t, Viewer)
	next, err := New(k.opt)
	if err != nil {
		t.Fatal(err)
	}
	next.Adopt(k.Guard)
	r := httptest.NewRequest("GET", mePath, http.NoBody)
	r.Host = "pit.example:8080"
	r.Header.Set("Cookie", viewer)
	w := httptest.NewRecorder()
	next.Wrap(http.NotFoundHandler()).ServeHTTP(w, r)
	var m me
	if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil || m.Name != "the-viewer" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	k := newRig(t, nil)
	first := k.login(t, Viewer)
	for range maxTokenSessions {
		k.login(t, Viewer)
	}
	if n := k.Counters().Sessions; n != maxTokenSessions {
		t.Errorf("%d sessions", n)
	}
	wants(t, "the oldest", k.ask(t, "GET", "/api/v1/cars", "", "Cookie", first), 401, "the login has ended")
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("no log is fine")
	}
	k := newRig(t, nil)
	for name, p := range map[string]*Proxy{"no address": {Header: "X-User"}, "no header": {From: prefixes(t, "10.0.0.1/32")}} {
		if _, err := New(Options{Proxy: p, Log: k.opt.Log}); err == nil {
			t.Errorf("%s is fine", name)
		}
	}
	if who := FromContext(t.Context()); who.Role != Admin || who.By != ByNothing {
		t.Errorf("without a guard: %+v", who)
	}
}
