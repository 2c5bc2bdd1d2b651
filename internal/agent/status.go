package agent

import (
	"context"
	"net/http"
	"time"

	"telemetry/board"
	"telemetry/internal/status"
	"telemetry/internal/version"
	"telemetry/modem/keeper"
	"telemetry/wire"
)

// Status is what `edgeagent status --json` prints: a stable shape, fields are
// only added.
type Status struct {
	Car       string                `json:"car"`
	Epoch     string                `json:"epoch"`
	Catalogue string                `json:"catalogue"`
	Version   string                `json:"version"`
	UptimeS   float64               `json:"uptime_s"`
	BootNS    int64                 `json:"boot_ns"`
	Draining  bool                  `json:"draining"`
	Held      bool                  `json:"held"` // every reachable receiver is stalled
	Lanes     map[string]LaneStatus `json:"lanes"`
	Dropped   uint64                `json:"dropped_samples"` // not encodable, or refused by the spool
	Sources   []SourceStatus        `json:"sources"`
	Links     []LinkStatus          `json:"links"`
	Spool     SpoolStatus           `json:"spool"`
	Session   *Session              `json:"session,omitempty"` // absent: none is under way
	Shed      string                `json:"shed"`              // lanes that wait because the board is hot: nothing, live, or full (and live)
}

// LaneStatus counts one lane since the agent's start.
type LaneStatus struct {
	Samples      uint64 `json:"samples"` // taken by the spool
	Batches      uint64 `json:"batches"`
	Pending      int    `json:"pending_batches"`
	PendingBytes int64  `json:"pending_bytes"`
	OldestMS     int64  `json:"oldest_ms"` // age of the oldest pending batch; 0 = none
}

// SourceStatus is one source.
type SourceStatus struct {
	Name     string            `json:"name"`
	State    string            `json:"state"`
	Restarts uint64            `json:"restarts"`
	Failures uint64            `json:"failures"`
	Error    string            `json:"error,omitempty"` // of the latest failure
	Rows     uint64            `json:"rows"`            // taken
	Refused  uint64            `json:"rows_refused"`    // not as the source's groups say
	Values   uint64            `json:"values"`          // in these rows, absent ones included
	Events   uint64            `json:"events"`
	Channels int               `json:"channels"`
	Counters map[string]uint64 `json:"counters,omitempty"`
	Jitter   *JitterStatus     `json:"jitter,omitempty"` // of a polled source
}

// LinkStatus is one link.
type LinkStatus struct {
	Name       string  `json:"name"`
	Interface  string  `json:"interface,omitempty"`
	State      string  `json:"state"`
	Address    string  `json:"address"`
	RTTMS      float64 `json:"rtt_ms"`
	RateBitS   int64   `json:"rate_bit_s"`
	InFlight   int64   `json:"in_flight_bytes"`
	Sent       uint64  `json:"sent_bytes"`
	Resent     uint64  `json:"resent_bytes"`
	Wins       uint64  `json:"critical_wins"`
	Suspicions uint64  `json:"suspicions"`
	Dials      uint64  `json:"dials"`
	DialErrors uint64  `json:"dial_errors"`
	Refused    uint64  `json:"refused"`
	LastChange string  `json:"last_change"`
	ChangeAgoS float64 `json:"last_change_ago_s"`
	MinRTTMS   float64 `json:"min_rtt_ms"`
	Share      float64 `json:"share"` // of what all links delivered in the last seconds, 0 to 1
	Today      uint64  `json:"today_bytes"`
	DayLimit   uint64  `json:"day_limit_bytes"` // 0 = none
	ModemError string  `json:"modem_error,omitempty"`

	Data  *DataUse       `json:"data,omitempty"`  // what its interface carried
	Modem *keeper.Status `json:"modem,omitempty"` // if the agent looks after it
}

// SpoolStatus is the spool's state.
type SpoolStatus struct {
	DiskBytes   int64   `json:"disk_bytes"`
	QuotaBytes  int64   `json:"quota_bytes"`
	Commits     uint64  `json:"commits"`
	SyncMaxMS   float64 `json:"sync_max_ms"`
	LostQuota   uint64  `json:"lost_quota_batches"`
	LostCorrupt uint64  `json:"lost_corrupt_batches"`
	LostDisk    uint64  `json:"lost_disk_batches"`
	Superseded  uint64  `json:"superseded_batches"`
	Degraded    bool    `json:"degraded"`
	Disk        string  `json:"disk"` // ok, full, read-only or failing
	Encrypted   bool    `json:"encrypted"`
	Locked      uint64  `json:"locked_batches"`      // encrypted ones that no key opens: they wait on the card
	KeyFault    string  `json:"key_fault,omitempty"` // why the card's identity cannot be had: then only this process reads what it writes
	LastError   string  `json:"last_error,omitempty"`
}

// Status returns the present state; the zero Status while Run is not under way.
func (a *Agent) Status() Status {
	a.mu.Lock()
	r := a.running
	a.mu.Unlock()
	if r == nil {
		return Status{
			Car: a.cfg.Car, Version: version.Get("").Version, BootNS: a.clock.BootNS(),
			Lanes: map[string]LaneStatus{}, Sources: []SourceStatus{}, Links: []LinkStatus{},
		}
	}
	now := a.clock.BootNS()
	sp, up := r.spool.Stats(), r.snapshot()
	s := Status{
		Car: a.cfg.Car, Epoch: sp.Epoch.String(), Catalogue: a.plan.hash.String(), Version: version.Get("").Version,
		UptimeS: time.Since(r.started).Seconds(), BootNS: now, Draining: r.draining.Load(), Held: up.Held,
		Lanes: map[string]LaneStatus{}, Links: []LinkStatus{}, Dropped: a.taken.Dropped.Load(), Sources: a.sourceStatus(r),
		Shed: board.Shed(r.board.shed.Load()).String(),
		Spool: SpoolStatus{
			DiskBytes: sp.DiskBytes, QuotaBytes: sp.QuotaBytes, Commits: sp.Commits, SyncMaxMS: ms(sp.SyncMax),
			LostQuota: sp.LostQuota, LostCorrupt: sp.LostCorrupt, LostDisk: sp.LostDisk, Superseded: sp.Superseded,
			Degraded: sp.Degraded, LastError: sp.LastError,
			Disk: sp.Disk.String(), Encrypted: a.cfg.Spool.Encrypt != nil, Locked: sp.Locked, KeyFault: r.keyFault,
		},
	}
	s.Session = r.session.now()
	for _, l := range wire.Lanes {
		ls := LaneStatus{
			Samples: a.taken.Samples[l].Load(), Batches: a.taken.Batches[l].Load(),
			Pending: sp.Lanes[l].Pending, PendingBytes: sp.Lanes[l].PendingBytes,
		}
		if at := sp.Lanes[l].OldestSealedNS; at > 0 {
			ls.OldestMS = (now - at) / 1e6
		}
		s.Lanes[l.String()] = ls
	}
	for i, l := range up.Links {
		ls := LinkStatus{
			Name: l.Name, Interface: a.cfg.Links[i].Interface, State: l.State, Address: l.Addr, RTTMS: float64(l.RTTNS) / 1e6,
			RateBitS: 8 * l.RateBps, InFlight: l.InFlight, Sent: l.Bytes, Resent: l.ResentBytes, Wins: l.Wins,
			ChangeAgoS: float64(now-l.LastChangeNS) / 1e9, MinRTTMS: float64(l.MinRTTNS) / 1e6, Share: l.Share, Today: l.DayBytes, DayLimit: l.DayLimit,
			Suspicions: l.Suspicions, Dials: l.Dials, DialErrors: l.DialFailures, Refused: l.Refused, LastChange: l.LastChange,
		}
		if _, err := r.modems[i].Status(); err != nil {
			ls.ModemError = err.Error()
		}
		if use, ok := r.care.usage(l.Name); ok {
			ls.Data = &use
		}
		if isKept(a.cfg.Links[i]) {
			m := r.care.status(l.Name)
			ls.Modem = &m
		}
		s.Links = append(s.Links, ls)
	}
	return s
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func (a *Agent) sourceStatus(r *running) []SourceStatus {
	out := []SourceStatus{}
	for i, st := range r.super.Status() {
		s := SourceStatus{Name: st.Name, State: string(st.State), Restarts: st.Restarts, Error: st.LastError, Rows: st.Rows, Values: st.Values, Events: st.Events, Failures: st.Failures, Refused: st.Refused}
		for _, g := range a.sources[i].source.Groups() {
			s.Channels += len(g.Channels)
		}
		for _, c := range st.Counters {
			if s.Counters == nil {
				s.Counters = map[string]uint64{}
			}
			s.Counters[c.Name] = c.Value
		}
		s.Jitter = jitterOf(a.sources[i].source)
		out = append(out, s)
	}
	return out
}

// drainLimit bounds one request to drain.
const drainLimit = 10 * time.Minute

// Handler answers GET /v1/status, GET /v1/catalogue, GET /v1/channels, POST
// /v1/drain, POST /v1/modem/at and POST /v1/modem/reset.
func (a *Agent) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) {
		status.Reply(w, a.Status(), nil)
	})
	mux.HandleFunc("GET /metrics", a.metrics)
	mux.HandleFunc("GET /v1/catalogue", func(w http.ResponseWriter, _ *http.Request) {
		status.Reply(w, a.plan.catalogue, nil)
	})
	mux.HandleFunc("GET /v1/channels", func(w http.ResponseWriter, _ *http.Request) {
		status.Reply(w, a.Channels(), nil)
	})
	mux.HandleFunc("POST /v1/modem/at", func(w http.ResponseWriter, req *http.Request) {
		lines, err := a.modemCommand(req.Context(), req.FormValue("link"), req.FormValue("command"))
		status.Reply(w, lines, err)
	})
	mux.HandleFunc("POST /v1/modem/reset", func(w http.ResponseWriter, req *http.Request) {
		status.Reply(w, struct{}{}, a.modemReset(req.Context(), req.FormValue("link"), req.FormValue("rung")))
	})
	a.sessionRoutes(mux)
	mux.HandleFunc("POST /v1/drain", func(w http.ResponseWriter, req *http.Request) {
		limit := drainLimit
		if d, err := time.ParseDuration(req.URL.Query().Get("timeout")); err == nil && d < limit {
			limit = d
		}
		ctx, cancel := context.WithTimeout(req.Context(), limit)
		defer cancel()
		err := a.Drain(ctx)
		status.Reply(w, a.Status(), err)
	})
	return mux
}
