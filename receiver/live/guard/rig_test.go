package guard

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// logbook is a log that is read while it is written.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// rig is a guard with a token for each role, in front of a handler that says who
// asks.
type rig struct {
	*Guard
	h      http.Handler
	file   string
	secret map[Role]string
	log    *logbook
}

func newRig(t *testing.T, change func(*Options)) *rig {
	t.Helper()
	k := &rig{file: filepath.Join(t.TempDir(), "tokens"), secret: map[Role]string{}, log: &logbook{}}
	for _, r := range []Role{Viewer, Engineer, Admin} {
		secret, _, err := AddToken(k.file, "the-"+r.String(), r, 0)
		if err != nil {
			t.Fatal(err)
		}
		k.secret[r] = secret
	}
	log := slog.New(slog.NewTextHandler(k.log, nil))
	tokens, err := OpenTokens(k.file, log)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Tokens: tokens, Log: log}
	if change != nil {
		change(&o)
	}
	if k.Guard, err = New(o); err != nil {
		t.Fatal(err)
	}
	k.h = k.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := FromContext(r.Context())
		_, _ = io.WriteString(w, "served "+who.Name+" "+who.Role.String()+" "+who.By+" ["+r.Header.Get("X-User")+"]")
	}))
	t.Cleanup(func() {
		for _, s := range k.secret {
			if strings.Contains(k.log.String(), s) || strings.Contains(k.log.String(), s[len(secretBegins):]) {
				t.Errorf("the log has a token:\n%s", k.log)
			}
		}
	})
	return k
}

// ask sends one request; headers are pairs of names and values.
func (k *rig) ask(t *testing.T, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "pit.example:8080"
	for i := 0; i < len(headers); i += 2 {
		switch headers[i] {
		case "from":
			r.RemoteAddr = headers[i+1]
		case "Host":
			r.Host = headers[i+1]
		default:
			r.Header.Add(headers[i], headers[i+1])
		}
	}
	w := httptest.NewRecorder()
	k.h.ServeHTTP(w, r)
	return w
}

// login returns the cookie of a new session, as a browser sends it.
func (k *rig) login(t *testing.T, role Role) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"token": k.secret[role]})
	if err != nil {
		t.Fatal(err)
	}
	w := k.ask(t, "POST", loginPath, string(body), "Content-Type", "application/json", "Sec-Fetch-Site", "same-origin")
	if w.Code != http.StatusOK {
		t.Fatalf("login: %d %s", w.Code, w.Body)
	}
	return cookieOf(t, w)
}

func cookieOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	cs := w.Result().Cookies()
	if len(cs) != 1 {
		t.Fatalf("%d cookies", len(cs))
	}
	return cs[0].Name + "=" + cs[0].Value
}

// wants checks code and a part of the answer.
func wants(t *testing.T, what string, w *httptest.ResponseRecorder, code int, part string) {
	t.Helper()
	if w.Code != code || !strings.Contains(w.Body.String(), part) {
		t.Errorf("%s: got %d %s, want %d %q", what, w.Code, w.Body, code, part)
	}
}

func prefixes(t *testing.T, list ...string) (out []netip.Prefix) {
	t.Helper()
	for _, s := range list {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}
