package agent

import (
	"errors"
	"net/http"

	"telemetry/internal/status"
	"telemetry/wire"
)

// openSessions reads the session that was under way and tells that it goes on.
func (a *Agent) openSessions(r *running, boot [16]byte) (*sessions, error) {
	put := func(e wire.Event) error { return r.encoder.event(e, r.sinkCtx.Done()) }
	s, err := newSessions(a.cfg.Session, a.cfg.Spool.Dir, boot, r.spool.Epoch().Counter, a.clock.BootNS, put, a.log.With("component", "session"))
	if err != nil {
		return nil, err
	}
	s.wanted, _ = seek(a.cfg.Session, a.sources, a.plan)
	return s, s.continued()
}

// sessions returns those of the running agent.
func (a *Agent) sessions() (*sessions, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running == nil {
		return nil, errors.New("agent: not running")
	}
	return a.running.session, nil
}

// sessionRoutes answers GET /v1/session and POST /v1/session/start, stop and mark.
func (a *Agent) sessionRoutes(mux *http.ServeMux) {
	answer := func(do func(s *sessions, req *http.Request) (*Session, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, req *http.Request) {
			s, err := a.sessions()
			var on *Session
			if err == nil {
				on, err = do(s, req)
			}
			status.Reply(w, on, err)
		}
	}
	mux.HandleFunc("GET /v1/session", answer(func(s *sessions, _ *http.Request) (*Session, error) { return s.now(), nil }))
	mux.HandleFunc("POST /v1/session/start", answer(func(s *sessions, req *http.Request) (*Session, error) {
		return s.start(req.URL.Query().Get("name"))
	}))
	mux.HandleFunc("POST /v1/session/stop", answer(func(s *sessions, _ *http.Request) (*Session, error) { return s.stop() }))
	mux.HandleFunc("POST /v1/session/mark", answer(func(s *sessions, req *http.Request) (*Session, error) {
		return s.mark(req.URL.Query().Get("text"))
	}))
}
