package live

import (
	"context"
	"embed"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"telemetry/internal/status"
)

//go:embed page
var page embed.FS

// policy lets the page load nothing but itself; names of channels come from
// cars, and must stay text whatever they hold.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// answerLimit bounds the writing of an answer that is no stream.
const answerLimit = 10 * time.Second

// Handler answers the requests that the package comment lists.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for path, file := range map[string]string{"/{$}": "index.html", "/app.js": "app.js", "/chart.js": "chart.js", "/style.css": "style.css", "/icon.svg": "icon.svg"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, page, "page/"+file) })
	}
	mux.HandleFunc("GET /api/v1/status", s.status)
	if s.opt.Metrics != nil {
		mux.HandleFunc("GET /metrics", s.opt.Metrics)
	}
	mux.HandleFunc("GET /api/v1/cars", func(w http.ResponseWriter, _ *http.Request) { status.Reply(w, s.carList(), nil) })
	mux.HandleFunc("GET /api/v1/cars/{car}", s.car)
	mux.HandleFunc("GET /api/v1/cars/{car}/channels", s.channels)
	mux.HandleFunc("GET /api/v1/events", s.events)
	data := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.loopback && !loopbackHost(r.Host) {
			s.hosts.Add(1)
			http.Error(w, "this page answers under a loopback address only: open http://"+s.Addr()+"/ (a proxy must send `Host: localhost`)",
				http.StatusMisdirectedRequest)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/api/") {
			s.look()
		}
		mux.ServeHTTP(w, r)
	})
	top := http.NewServeMux()
	top.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	top.HandleFunc("GET /readyz", s.ready)
	top.Handle("/", data)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		// A writer without deadlines is that of a test.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerLimit))
		top.ServeHTTP(w, r)
	})
}

// loopbackHost reports whether a Host header names this machine to itself: a
// page of another site that makes its name point here has its own name there.
func loopbackHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if strings.EqualFold(name, "localhost") {
		return true
	}
	ip := net.ParseIP(strings.Trim(name, "[]"))
	return ip != nil && ip.IsLoopback()
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	var waits []string
	if s.opt.Ready != nil {
		waits = s.opt.Ready(r.Context())
	}
	if len(waits) > 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, strings.Join(waits, "\n"))
		return
	}
	fmt.Fprintln(w, "ready")
	if s.opt.Degraded != nil {
		for _, why := range s.opt.Degraded(r.Context()) {
			fmt.Fprintln(w, "degraded:", why)
		}
	}
}

func (s *Server) status(w http.ResponseWriter, r *http.Request) {
	if s.opt.Status == nil {
		http.NotFound(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerLimit)
	defer cancel()
	status.Reply(w, s.opt.Status(ctx), nil)
}

// CarList is the answer to /api/v1/cars.
type CarList struct {
	Instance string    `json:"instance"` // ids of channels hold for it
	NowMS    int64     `json:"now_ms"`
	Lanes    []string  `json:"lanes"` // by the number in values
	Cars     []CarView `json:"cars"`
	Counters Counters  `json:"counters"`
}

func (s *Server) carList() CarList {
	return CarList{
		Instance: s.instance, NowMS: time.Now().UnixMilli(), Lanes: laneNames(), Cars: s.store.list(), Counters: s.Counters(),
	}
}

// unknown answers for a car that is not there.
func (s *Server) unknown(w http.ResponseWriter, car string) {
	if s.store.full() {
		s.refused.Add(1)
		http.Error(w, fmt.Sprintf("car %q is not among the %d cars that this page follows at most; they are forgotten after %d minutes of silence",
			car, MaxCars, forgetCarMS/60_000), http.StatusServiceUnavailable)
		return
	}
	http.Error(w, fmt.Sprintf("no car %q has sent anything yet", car), http.StatusNotFound)
}

func (s *Server) car(w http.ResponseWriter, r *http.Request) {
	d, ok := s.store.detail(r.PathValue("car"), time.Now().UnixMilli())
	if !ok {
		s.unknown(w, r.PathValue("car"))
		return
	}
	status.Reply(w, d, nil)
}

// ChannelList is the answer to /api/v1/cars/{car}/channels.
type ChannelList struct {
	Instance string        `json:"instance"`
	Total    int           `json:"total"`
	Offset   int           `json:"offset"`
	Channels []ChannelView `json:"channels"`
}

func (s *Server) channels(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	offset, err1 := number(q.Get("offset"), 0)
	limit, err2 := number(q.Get("limit"), MaxView)
	if err1 != nil || err2 != nil {
		http.Error(w, "offset and limit are numbers from 0", http.StatusBadRequest)
		return
	}
	l := ChannelList{Instance: s.instance, Offset: offset}
	var ok bool
	if l.Total, l.Channels, ok = s.store.find(r.PathValue("car"), q.Get("q"), offset, min(limit, MaxView)); !ok {
		s.unknown(w, r.PathValue("car"))
		return
	}
	status.Reply(w, l, nil)
}

// number parses a number from 0; "" is def.
func number(s string, def int) (int, error) {
	if s == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(s, 10, 31)
	return int(n), err
}
