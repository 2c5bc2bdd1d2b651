package live

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"telemetry/internal/status"
	"telemetry/receiver/live/page"
	"telemetry/receiver/live/strip"
)

// policy lets the page load nothing but itself; names of channels come from
// cars, and must stay text whatever they hold.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// answerLimit bounds the writing of an answer that is no stream.
const answerLimit = 10 * time.Second

// Handler answers the requests that the package comment lists.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", pages(page.Handler()))
	mux.HandleFunc("GET /api/v1/status", s.status)
	if s.opt.Metrics != nil {
		mux.HandleFunc("GET /metrics", s.opt.Metrics)
	}
	mux.HandleFunc("GET /api/v1/cars", func(w http.ResponseWriter, _ *http.Request) { status.Reply(w, s.carList(), nil) })
	mux.HandleFunc("GET /api/v1/cars/{car}", s.car)
	mux.HandleFunc("GET /api/v1/cars/{car}/channels", s.channels)
	mux.HandleFunc("GET /api/v1/cars/{car}/lanes", s.carLanes)
	mux.HandleFunc("GET /api/v1/cars/{car}/laps", s.carLaps)
	mux.HandleFunc("GET /api/v1/cars/{car}/track", s.carTrack)
	mux.HandleFunc("GET /api/v1/cars/{car}/window", s.carWindow)
	mux.HandleFunc("GET /api/v1/events", s.events)
	mux.HandleFunc("/api/v1/", s.extra)
	looked := http.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/api/") {
			introduce(r.Context())
			s.look()
		}
		mux.ServeHTTP(w, r)
	}))
	if s.opt.Guard != nil {
		looked = s.opt.Guard(looked)
	}
	data := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.loopback && !loopbackHost(r.Host) {
			s.hosts.Add(1)
			http.Error(w, "this page answers under a loopback address only: open "+s.URL()+" (a proxy must send `Host: localhost`)",
				http.StatusMisdirectedRequest)
			return
		}
		looked.ServeHTTP(w, r)
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

// pages serves files, which can only be read.
func pages(files http.Handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "pages can only be read", http.StatusMethodNotAllowed)
			return
		}
		files.ServeHTTP(w, r)
	}
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
	Instance  string        `json:"instance"`
	Described uint64        `json:"described"` // as in [CarView]
	Total     int           `json:"total"`
	Offset    int           `json:"offset"`
	Channels  []ChannelView `json:"channels"`
}

func (s *Server) channels(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if names := q["name"]; len(names) > 0 {
		s.namedChannels(w, r, names)
		return
	}
	offset, err1 := number(q.Get("offset"), 0)
	limit, err2 := number(q.Get("limit"), MaxView)
	if err1 != nil || err2 != nil {
		http.Error(w, "offset and limit are numbers from 0", http.StatusBadRequest)
		return
	}
	l := ChannelList{Instance: s.instance, Described: s.store.described(r.PathValue("car")), Offset: offset}
	var ok bool
	if l.Total, l.Channels, ok = s.store.find(r.PathValue("car"), q.Get("q"), offset, min(limit, MaxView)); !ok {
		s.unknown(w, r.PathValue("car"))
		return
	}
	status.Reply(w, l, nil)
}

// namedChannels answers with channels of given names.
func (s *Server) namedChannels(w http.ResponseWriter, r *http.Request, names []string) {
	if len(names) > MaxView {
		http.Error(w, fmt.Sprintf("at most %d names", MaxView), http.StatusBadRequest)
		return
	}
	l := ChannelList{Instance: s.instance, Described: s.store.described(r.PathValue("car"))}
	var ok bool
	if l.Channels, ok = s.store.exactly(r.PathValue("car"), names); !ok {
		s.unknown(w, r.PathValue("car"))
		return
	}
	l.Total = len(l.Channels)
	status.Reply(w, l, nil)
}

func (s *Server) carLaps(w http.ResponseWriter, r *http.Request) {
	list, version := s.store.laps(r.PathValue("car"), -1)
	if _, ok := s.store.detail(r.PathValue("car"), time.Now().UnixMilli()); !ok && version == 0 {
		s.unknown(w, r.PathValue("car"))
		return
	}
	status.Reply(w, list, nil)
}

func (s *Server) carTrack(w http.ResponseWriter, r *http.Request) {
	t, known := s.store.track(r.PathValue("car"), time.Now().UnixMilli())
	if !known {
		s.unknown(w, r.PathValue("car"))
		return
	}
	status.Reply(w, t, nil)
}

// maxWindow is how many charts one window may have.
const maxWindow = MaxCharts

// carWindow answers with a stretch of event time of charts: what a stream has sent,
// and more of it.
func (s *Server) carWindow(w http.ResponseWriter, r *http.Request) {
	q, now := r.URL.Query(), time.Now().UnixMilli()
	ids, err := idsOf("charts", q.Get("charts"), maxWindow)
	bad := []error{err}
	to, err := within("to_ms", q.Get("to_ms"), 1, 1<<53, now)
	bad = append(bad, err)
	from, err := within("from_ms", q.Get("from_ms"), max(0, to-strip.MaxSpanMS), to-1, max(0, to-defaultSpanMS))
	bad = append(bad, err)
	points, err := within("points", q.Get("points"), minPoints, strip.MaxPoints, defaultPoints)
	if err := errors.Join(append(bad, err)...); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var f chartFrame
	f.reset = true
	holes, ok := s.store.window(&f, r.PathValue("car"), ids, from, to, int(points), now)
	if !ok {
		s.unknown(w, r.PathValue("car"))
		return
	}
	b := f.append(nil)
	b = append(b[:len(b)-1], `,"coverage":{"lanes":{"full":`...)
	b = append(appendHoles(b, holes), "}}}"...)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // a browser that went away is not our fault
}

// extra hands a request on to who serves the past: an answer may take as long as its
// reader goes on reading.
func (s *Server) extra(w http.ResponseWriter, r *http.Request) {
	if s.opt.Extra == nil {
		http.NotFound(w, r)
		return
	}
	// Until it begins to answer, it may take its time.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Time{}) // a writer without deadlines is that of a test
	p := &patient{ResponseWriter: w, rc: http.NewResponseController(w), limit: writeLimit, rests: r.ProtoMajor >= 2}
	defer p.move() // for what is written at the end
	s.opt.Extra.ServeHTTP(p, r)
}

// patient gives each write its own deadline. HTTP/2 ends a stream whose deadline goes by
// although nothing is being written, so that none is left there.
type patient struct {
	http.ResponseWriter
	rc    *http.ResponseController
	limit time.Duration
	rests bool      // no deadline between two writes
	next  time.Time // when the deadline is moved again
}

// Write implements [http.ResponseWriter].
func (p *patient) Write(b []byte) (int, error) {
	p.move()
	defer p.rest()
	return p.ResponseWriter.Write(b)
}

// WriteHeader implements [http.ResponseWriter].
func (p *patient) WriteHeader(code int) {
	p.move()
	defer p.rest()
	p.ResponseWriter.WriteHeader(code)
}

// Flush implements [http.Flusher].
func (p *patient) Flush() {
	p.move()
	defer p.rest()
	_ = p.rc.Flush() // it says so to whoever writes next
}

// Unwrap serves [http.ResponseController].
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

// move moves the deadline, not with every small write.
func (p *patient) move() {
	if now := time.Now(); !now.Before(p.next) {
		p.next = now.Add(p.limit / 10)
		_ = p.rc.SetWriteDeadline(now.Add(p.limit)) // a writer without deadlines is that of a test
	}
}

// rest takes the deadline away until the next write.
func (p *patient) rest() {
	if p.rests {
		p.next = time.Time{}
		_ = p.rc.SetWriteDeadline(time.Time{}) // see move
	}
}
