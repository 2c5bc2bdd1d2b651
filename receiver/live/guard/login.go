package guard

import (
	"encoding/json"
	"mime"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Bounds of the body of a login: in bytes, and the time it may take.
const (
	maxLogin  = 4 << 10
	loginTime = 10 * time.Second
)

// me is the answer to login and me.
type me struct {
	Name  string `json:"name"`
	Role  Role   `json:"role"`
	Login bool   `json:"login"` // somebody is asked here
	By    string `json:"by"`    // how he is known
}

// own answers the guard's own paths; false: not with this method.
func (g *Guard) own(w http.ResponseWriter, r *http.Request, who Who, by proof, now time.Time) bool {
	switch {
	case r.URL.Path == loginPath && r.Method == http.MethodPost:
		g.login(w, r, by, now)
	case r.URL.Path == logoutPath && r.Method == http.MethodPost:
		g.logout(w, r, who, by, now)
	case r.URL.Path == mePath && (r.Method == http.MethodGet || r.Method == http.MethodHead) && who.Role > Nobody:
		answer(w, http.StatusOK, me{who.Name, who.Role, g.Asked(), who.By})
	default:
		return false
	}
	return true
}

// login changes a token for a cookie.
func (g *Guard) login(w http.ResponseWriter, r *http.Request, by proof, now time.Time) {
	if g.opt.Tokens == nil {
		http.Error(w, "nobody logs in here by token (live.login.tokens is not set)", http.StatusNotFound)
		return
	}
	// A form cannot send this type, and a page from elsewhere not unasked.
	if t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || t != "application/json" {
		http.Error(w, `a login is JSON: {"token":"…"} with Content-Type: application/json`, http.StatusUnsupportedMediaType)
		return
	}
	from := g.opt.Proxy.client(r)
	if wait := g.limit.wait(from, now); wait > 0 {
		g.turnAway(w, r, &refusal{http.StatusTooManyRequests, "too many wrong tokens from this address", wait})
		return
	}
	// A writer without deadlines is that of a test.
	_ = http.NewResponseController(w).SetReadDeadline(now.Add(loginTime))
	var body struct {
		Token string `json:"token"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxLogin)).Decode(&body); err != nil {
		http.Error(w, `a login is JSON: {"token":"…"}`, http.StatusBadRequest)
		return
	}
	hash, e, ok := g.opt.Tokens.Find(body.Token, now)
	if !ok || e.Expired(now) {
		g.limit.wrong(from, now)
		g.wrong.Add(1)
		g.turnAway(w, r, &refusal{code: http.StatusUnauthorized, text: wrongText(e, ok)})
		return
	}
	cookie, err := g.sessions.begin(hash, now)
	if err != nil {
		g.opt.Log.Error("page login failed", "error", err)
		http.Error(w, "no random number for a session: try again", http.StatusInternalServerError)
		return
	}
	if by.kind == ByCookie {
		g.sessions.end(by.id) // of whoever sat here before
	}
	g.logins.Add(1)
	g.opt.Log.Info("page login", "name", e.Name, "role", e.Role.String(), "remote", from.String())
	g.cookie(w, r, cookie, int(g.opt.Longest/time.Second))
	answer(w, http.StatusOK, me{e.Name, e.Role, true, ByCookie})
}

// logout ends the session, and what is open of it.
func (g *Guard) logout(w http.ResponseWriter, r *http.Request, who Who, by proof, now time.Time) {
	if by.kind == ByCookie {
		if _, was := g.sessions.end(by.id); was {
			g.logouts.Add(1)
			g.opt.Log.Info("page logout", "name", who.Name, "remote", g.opt.Proxy.client(r).String())
			g.sweep(now)
		}
	}
	g.cookie(w, r, "", -1)
	w.WriteHeader(http.StatusNoContent)
}

// cookie sets the session's cookie; seconds < 0 takes it away.
func (g *Guard) cookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	secure := g.secure(r)
	http.SetCookie(w, &http.Cookie{
		Name: cookieName(r, secure), Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: secure, SameSite: http.SameSiteStrictMode,
	})
}

// cookieName has the port: cookies of one machine's ports are not apart. Its
// beginning has browsers refuse it from other hosts of a domain.
func cookieName(r *http.Request, secure bool) string {
	name := "receiver"
	if _, port, err := net.SplitHostPort(r.Host); err == nil && port != "" {
		if _, err := strconv.ParseUint(port, 10, 16); err == nil {
			name += "-" + port
		}
	}
	if secure {
		return "__Host-" + name
	}
	return name
}

// turnAway answers nobody: with what is needed, and with a line of the log.
func (g *Guard) turnAway(w http.ResponseWriter, r *http.Request, f *refusal) {
	switch f.code {
	case http.StatusForbidden:
		g.refuse(w, r, f.code, f.text, Who{})
		return
	case http.StatusTooManyRequests:
		g.limited.Add(1)
		w.Header().Set("Retry-After", strconv.Itoa(int(f.wait/time.Second)+1))
	default:
		g.unknown.Add(1)
		if g.opt.Tokens == nil {
			g.refuse(w, r, http.StatusForbidden, "the proxy in front of this page did not say who you are: come by way of it", Who{})
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="receiver"`)
	}
	g.say(r, f.code, f.text, Who{})
	answer(w, f.code, struct {
		Error string `json:"error"`
		Login bool   `json:"login"`
	}{f.text, true})
}

// refuse answers with a text, and with a line of the log.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, code int, text string, who Who) {
	g.say(r, code, text, who)
	http.Error(w, text, code)
}

// say logs a refusal, unless too many were lately. A request that only lacks a
// login is none: every page begins with one.
func (g *Guard) say(r *http.Request, code int, why string, who Who) {
	if code == http.StatusUnauthorized && r.Method == http.MethodGet && r.Header.Get("Authorization") == "" || !g.lines.allowed(time.Now()) {
		return
	}
	path := r.URL.Path
	g.opt.Log.Warn("page request refused", "status", code, "why", why, "name", who.Name, "role", who.Role.String(),
		"method", r.Method, "path", path[:min(len(path), 200)], "remote", g.opt.Proxy.client(r).String())
}

// answer writes JSON.
func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	// A client that has gone is nobody's fault.
	_ = json.NewEncoder(w).Encode(v)
}
