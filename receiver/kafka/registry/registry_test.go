package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// fake is a registry that does what its handler's author wants.
type fake struct {
	mu     sync.Mutex
	ids    map[string]int // guarded by mu; by subject
	next   int            // guarded by mu
	status int            // guarded by mu; of registrations, 0 for success
	asked  []string       // guarded by mu; method and path
	bodies []string       // guarded by mu
	auth   string         // guarded by mu; of the last request
}

func (f *fake) set(change func(f *fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// ServeHTTP implements http.Handler.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	f.asked, f.bodies = append(f.asked, r.Method+" "+r.URL.Path), append(f.bodies, string(body))
	f.auth = r.Header.Get("Authorization")
	subject, register := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/subjects/"), "/versions")
	if f.status != 0 && (register || f.status >= 500) {
		http.Error(w, fmt.Sprintf(`{"error_code":%d,"message":"no"}`, f.status), f.status)
		return
	}
	if f.ids[subject] == 0 {
		if !register {
			http.Error(w, `{"error_code":40401,"message":"none"}`, http.StatusNotFound)
			return
		}
		f.next++
		f.ids[subject] = f.next
	}
	fmt.Fprintf(w, `{"id":%d,"subject":%q,"version":1}`, f.ids[subject], subject)
}

// keeper returns a keeper of a registry, and what makes its next round happen.
func keeper(t *testing.T, h http.Handler, change func(*Config)) (k *Keeper, round func()) {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	cfg := Config{URL: srv.URL + "/apis", Schema: "syntax = \"proto3\";", Topics: []string{"a", "a.late"}, Log: slog.New(slog.DiscardHandler)}
	cfg.URL = srv.URL
	if change != nil {
		change(&cfg)
	}
	k, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	turn, ended := make(chan struct{}), make(chan struct{}, 1)
	k.asleep = func(ctx context.Context, _ time.Duration) error {
		ended <- struct{}{}
		select {
		case <-turn:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }() // ends with ctx
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	<-ended
	return k, func() {
		turn <- struct{}{}
		<-ended
	}
}

func TestSchemaIsRegisteredForEveryTopic(t *testing.T) {
	f := &fake{ids: map[string]int{}}
	k, round := keeper(t, f, func(c *Config) { c.User, c.Password = "team", "secret" })
	if err := k.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.ID("a") != 1 || k.ID("a.late") != 2 || k.ID("b") != 0 {
		t.Errorf("ids %d %d %d", k.ID("a"), k.ID("a.late"), k.ID("b"))
	}
	var body struct{ Schema, SchemaType string }
	f.set(func(f *fake) {
		if f.asked[0] != "POST /subjects/a-value/versions" || !strings.HasPrefix(f.auth, "Basic ") {
			t.Errorf("asked %v with %q", f.asked, f.auth)
		}
		if err := json.Unmarshal([]byte(f.bodies[0]), &body); err != nil || body.SchemaType != "PROTOBUF" || body.Schema != `syntax = "proto3";` {
			t.Errorf("body %s: %v", f.bodies[0], err)
		}
	})
	round()
	if s := k.State(); !s.Ready || s.Err != nil || k.ID("a") != 1 {
		t.Errorf("state %+v", s)
	}
}

func TestRegistryThatIsDownIsAskedAgain(t *testing.T) {
	f := &fake{ids: map[string]int{}, status: http.StatusServiceUnavailable}
	k, round := keeper(t, f, nil)
	if s := k.State(); s.Ready || s.Err == nil || s.Since.IsZero() {
		t.Errorf("state %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.Ready(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("ready: %v", err)
	}
	f.set(func(f *fake) { f.status = 0 })
	round()
	if s := k.State(); !s.Ready || s.Err != nil {
		t.Errorf("state %+v", s)
	}
	f.set(func(f *fake) { f.status = http.StatusBadGateway })
	round()
	if s := k.State(); !s.Ready || s.Err == nil || k.ID("a") != 1 {
		t.Errorf("later: state %+v, id %d", s, k.ID("a"))
	}
}

func TestRegistryThatLostItsContentsGetsTheSchemaAgain(t *testing.T) {
	f := &fake{ids: map[string]int{}}
	k, round := keeper(t, f, nil)
	f.set(func(f *fake) { f.ids, f.next = map[string]int{}, 40 })
	round()
	if k.ID("a") != 41 || k.ID("a.late") != 42 || k.State().Err != nil {
		t.Errorf("ids %d %d, %v", k.ID("a"), k.ID("a.late"), k.State().Err)
	}
}

func TestSchemaThatMayNotBeRegisteredIsLookedUp(t *testing.T) {
	f := &fake{ids: map[string]int{"a-value": 7, "a.late-value": 8}, status: http.StatusForbidden}
	k, _ := keeper(t, f, nil)
	if k.ID("a") != 7 || k.ID("a.late") != 8 {
		t.Errorf("ids %d %d, %v", k.ID("a"), k.ID("a.late"), k.State().Err)
	}
}

func TestErrorsSayWhatIsWrong(t *testing.T) {
	cases := map[string]struct {
		f    *fake
		want string
	}{
		"not allowed":  {&fake{ids: map[string]int{}, status: http.StatusForbidden}, "cannot be looked up"},
		"incompatible": {&fake{ids: map[string]int{}, status: http.StatusConflict}, "does not go with the versions"},
		"absurd id":    {&fake{ids: map[string]int{"a-value": -3, "a.late-value": 1}}, "its id is -3"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			k, _ := keeper(t, c.f, nil)
			s := k.State()
			if s.Ready || s.Err == nil || !strings.Contains(s.Err.Error(), c.want) || !strings.Contains(s.Err.Error(), "subject a-value") {
				t.Errorf("state %+v, want %q in it", s, c.want)
			}
		})
	}
}

func TestConfigIsChecked(t *testing.T) {
	if _, err := New(Config{URL: "http://r", Schema: "x", Log: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("no topics are taken")
	}
}
