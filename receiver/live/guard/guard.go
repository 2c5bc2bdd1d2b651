package guard

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Options is what a [Guard] is made of. Without Tokens and Proxy nobody is asked:
// everybody is an admin, and only pages from elsewhere are refused.
type Options struct {
	Tokens  *Tokens
	Proxy   *Proxy
	Idle    time.Duration // a login ends after so long without a request; 0: DefaultIdle
	Longest time.Duration // and after so long anyway; 0: DefaultLongest
	Log     *slog.Logger  // needed
}

// Defaults of [Options].
const (
	DefaultIdle    = 12 * time.Hour
	DefaultLongest = 7 * 24 * time.Hour
)

// Counters counts events since the start.
type Counters struct {
	Logins       uint64 `json:"logins"`       // tokens changed for a cookie
	Logouts      uint64 `json:"logouts"`      // by the person
	Wrong        uint64 `json:"wrong"`        // tokens that are none, or not any more
	Limited      uint64 `json:"limited"`      // refused unread: too many wrong ones from that address
	Unknown      uint64 `json:"unknown"`      // requests of nobody for what needs somebody
	Forbidden    uint64 `json:"forbidden"`    // requests of somebody whose role is too low
	CrossOrigin  uint64 `json:"cross_origin"` // requests that a page from elsewhere made
	ProxyRefused uint64 `json:"proxy_refused"`
	Ended        uint64 `json:"ended"`    // open requests cut off: logged out, revoked, expired
	Sessions     int    `json:"sessions"` // now
}

// Guard decides who may ask. It is safe for concurrent use.
type Guard struct {
	opt      Options
	table    *table
	sessions *sessions
	limit    limiter
	lines    lines

	logins, logouts, wrong, limited, unknown, forbidden, crossOrigin, proxyRefused, ended atomic.Uint64

	mu   sync.Mutex
	open map[*request]struct{} // guarded by mu: requests of somebody, under way
}

// request is one that is under way.
type request struct {
	by     proof
	cancel context.CancelCauseFunc
}

// proof is why somebody is believed to be who he is.
type proof struct {
	kind  string            // ByCookie, ByBearer, …
	id    [sha256.Size]byte // of the session, with a cookie
	token [sha256.Size]byte // hash of the token, with cookie and bearer
}

// errEnded cuts an open request off.
var errEnded = errors.New("guard: the login has ended")

// New returns a guard that has not started anything.
func New(o Options) (*Guard, error) {
	if o.Log == nil {
		return nil, errors.New("guard: a log is needed")
	}
	if o.Proxy != nil && (o.Proxy.Header == "" || len(o.Proxy.From) == 0) {
		return nil, errors.New("guard: a proxy needs its header and its addresses")
	}
	if o.Idle <= 0 {
		o.Idle = DefaultIdle
	}
	if o.Longest <= 0 {
		o.Longest = DefaultLongest
	}
	return &Guard{
		opt: o, table: newTable(Routes), limit: limiter{since: map[netip.Addr]time.Time{}}, open: map[*request]struct{}{},
		sessions: &sessions{idle: o.Idle, longest: o.Longest, of: map[[sha256.Size]byte]*session{}},
	}, nil
}

// Asked reports whether anybody is asked who he is.
func (g *Guard) Asked() bool { return g.opt.Tokens != nil || g.opt.Proxy != nil }

// Adopt takes over the logins of the guard before this one, so that a change of
// the configuration ends none. Their tokens must still be there.
func (g *Guard) Adopt(old *Guard) { g.sessions.adopt(old.sessions) }

// Counters returns what was counted.
func (g *Guard) Counters() Counters {
	return Counters{
		Logins: g.logins.Load(), Logouts: g.logouts.Load(), Wrong: g.wrong.Load(), Limited: g.limited.Load(), Unknown: g.unknown.Load(),
		Forbidden: g.forbidden.Load(), CrossOrigin: g.crossOrigin.Load(), ProxyRefused: g.proxyRefused.Load(), Ended: g.ended.Load(),
		Sessions: g.sessions.count(),
	}
}

// Err returns why the tokens in force are not those of the file; nil when they are.
func (g *Guard) Err() error {
	if g.opt.Tokens == nil {
		return nil
	}
	return g.opt.Tokens.Err()
}

// sweepEvery is how often open requests are held against what is in force.
const sweepEvery = 2 * time.Second

// Run cuts off requests whose login has ended, until ctx ends.
func (g *Guard) Run(ctx context.Context) error {
	t := time.NewTicker(sweepEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			g.sweep(time.Now())
		}
	}
}

// sweep ends what is over, and keeps the sessions of open requests.
func (g *Guard) sweep(now time.Time) {
	g.mu.Lock()
	all := make([]*request, 0, len(g.open))
	for q := range g.open {
		all = append(all, q)
	}
	g.mu.Unlock()
	for _, q := range all {
		if _, _, ok := g.holds(q.by, now); !ok {
			g.ended.Add(1)
			q.cancel(errEnded)
		}
	}
	g.sessions.mu.Lock()
	defer g.sessions.mu.Unlock()
	g.sessions.expire(now)
}

// holds reports whether a proof still holds, and of which token it is. A session
// whose token has gone ends here.
func (g *Guard) holds(p proof, now time.Time) (e Entry, why string, ok bool) {
	if p.kind != ByCookie && p.kind != ByBearer {
		return e, "", true
	}
	if p.kind == ByCookie {
		if p.token, ok = g.sessions.look(p.id, now); !ok {
			return e, "the login has ended", false
		}
	}
	e, ok = g.opt.Tokens.Lookup(p.token, now)
	switch {
	case !ok:
		why = "the token was revoked"
	case e.Expired(now):
		ok, why = false, "the token has expired"
	}
	if !ok && p.kind == ByCookie {
		g.sessions.end(p.id)
	}
	return e, why, ok
}

// Wrap puts the guard in front of a handler. The handler finds who asks by
// [FromContext]; its request's context ends with the login.
func (g *Guard) Wrap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now, from := time.Now(), remote(r)
		route := g.table.find(r)
		at := originOf(r, g.opt.Proxy.trusts(from))
		if changes(r) && at == originOther || crossSite(r) && (route.Role > Nobody || changes(r)) {
			g.crossOrigin.Add(1)
			g.refuse(w, r, http.StatusForbidden, "a page from elsewhere made this request: open the page itself", Who{})
			return
		}
		var who Who
		var by proof
		var err error
		if g.Asked() {
			who, by, err = g.identify(r, from, now)
		} else {
			who = Who{Role: Admin, By: ByNothing}
		}
		var refused *refusal
		switch {
		case errors.As(err, &refused) && (route.Role > Nobody || refused.code == http.StatusForbidden):
			g.turnAway(w, r, refused)
			return
		case changes(r) && at == originUnknown && (by.kind == ByCookie || by.kind == ByProxy):
			g.crossOrigin.Add(1) // no browser of these years: what it sends by itself proves nothing
			g.refuse(w, r, http.StatusForbidden, "the request does not say that the page made it (want the header Origin or Sec-Fetch-Site; scripts use a token in Authorization)", who)
			return
		}
		switch r.URL.Path {
		case loginPath, logoutPath, mePath:
			if g.own(w, r, who, by, now) {
				return
			}
		}
		if who.Role < route.Role && !(route.Bearer && by.kind == ByBearer) {
			if who.Role == Nobody {
				g.turnAway(w, r, &refusal{code: http.StatusUnauthorized, text: "log in first"})
				return
			}
			g.forbidden.Add(1)
			g.refuse(w, r, http.StatusForbidden, "this needs the role "+route.Role.String()+", "+who.Name+" has "+who.Role.String(), who)
			return
		}
		g.serve(next, w, r, who, by)
	})
}

// serve calls the handler; while it runs the sweep may cut it off.
func (g *Guard) serve(next http.Handler, w http.ResponseWriter, r *http.Request, who Who, by proof) {
	ctx := context.WithValue(r.Context(), whoKey{}, who)
	if by.kind == ByCookie || by.kind == ByBearer {
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		q := &request{by, cancel}
		g.mu.Lock()
		g.open[q] = struct{}{}
		g.mu.Unlock()
		defer func() {
			g.mu.Lock()
			delete(g.open, q)
			g.mu.Unlock()
			cancel(nil)
		}()
	}
	next.ServeHTTP(w, r.WithContext(ctx))
}

// refusal is why nobody, or the wrong one, is believed.
type refusal struct {
	code int
	text string
	wait time.Duration // with 429
}

func (e *refusal) Error() string { return e.text }

// identify finds out who asks: whom the proxy names, the token of a script, or the
// cookie of a login. Nobody at all is no error.
func (g *Guard) identify(r *http.Request, from netip.Addr, now time.Time) (Who, proof, error) {
	if p := g.opt.Proxy; p != nil {
		who, ok, err := p.who(r, from)
		if err != nil {
			g.proxyRefused.Add(1)
			return Who{}, proof{}, &refusal{code: http.StatusForbidden, text: err.Error()}
		}
		if ok {
			return who, proof{kind: ByProxy}, nil
		}
	}
	if g.opt.Tokens == nil {
		return Who{}, proof{}, nil
	}
	if secret, ok := bearer(r); ok {
		return g.byBearer(r, secret, now)
	}
	c, err := r.Cookie(cookieName(r, g.secure(r)))
	if err != nil {
		return Who{}, proof{}, nil // none
	}
	by := proof{kind: ByCookie, id: sha256.Sum256([]byte(c.Value))}
	e, why, ok := g.holds(by, now)
	if !ok {
		return Who{}, proof{}, &refusal{code: http.StatusUnauthorized, text: why}
	}
	return Who{Name: e.Name, Role: e.Role, By: ByCookie}, by, nil
}

// byBearer lets a script in. Its wrong tokens are counted, but not against its
// address: a script that is out of date must not lock people out beside it.
func (g *Guard) byBearer(r *http.Request, secret string, now time.Time) (Who, proof, error) {
	hash, e, ok := g.opt.Tokens.Find(secret, now)
	if !ok || e.Expired(now) {
		g.wrong.Add(1)
		return Who{}, proof{}, &refusal{code: http.StatusUnauthorized, text: wrongText(e, ok)}
	}
	return Who{Name: e.Name, Role: e.Role, By: ByBearer}, proof{kind: ByBearer, token: hash}, nil
}

// bearer returns the token in the header Authorization.
func bearer(r *http.Request) (string, bool) {
	scheme, secret, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	return strings.TrimSpace(secret), ok && strings.EqualFold(scheme, "Bearer")
}

func wrongText(e Entry, known bool) string {
	if known {
		return "the token " + e.Name + " has expired (receiver page token add makes another)"
	}
	return "the token is none of this page's: is it whole, and not revoked?"
}

// secure reports whether the browser's side is encrypted.
func (g *Guard) secure(r *http.Request) bool {
	return r.TLS != nil || g.opt.Proxy.trusts(remote(r)) && r.Header.Get("X-Forwarded-Proto") == "https"
}
