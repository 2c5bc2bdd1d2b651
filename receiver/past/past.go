// Package past answers for the page about what was: sessions and laps, series with
// their extremes, two laps side by side, files to take home, what another reorder
// window would have done, and replays. The entry point is [New].
//
// It reads an archive of telemetry.batches, or a time-series store when one is
// configured. Reading costs: only [Options.Scans] readings run at once, each ends
// with its request, and what a request may ask for is bounded. Errors are text that
// says what to do.
package past

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/history"
)

// Archive is where the past is read. *archive.Archive implements it.
type Archive interface {
	Read(ctx context.Context, q archive.Query, fn func(*archive.Rows) error, progress archive.Progress) (archive.Report, error)
	Sessions(ctx context.Context, car string) ([]archive.Session, error)
	Span(ctx context.Context, car, what string) (fromNS, toNS int64, err error)
}

// WhatIf computes what reorder windows would have done to a recording.
type WhatIf func(ctx context.Context, q archive.Query, windows []time.Duration, progress archive.Progress) ([]WhatIfRow, error)

// WhatIfRow is what one window would have done to one lane.
type WhatIfRow struct {
	Window  string  `json:"window"`
	Lane    string  `json:"lane"`
	Delayed uint64  `json:"delayed"` // batches that would have waited
	P50MS   float64 `json:"p50_ms"`
	P99MS   float64 `json:"p99_ms"`
	MaxMS   float64 `json:"max_ms"`
	Late    uint64  `json:"late"` // batches behind their window
	Lost    uint64  `json:"lost"` // that never came
}

// Options is what the handler is made of. Archive and Logger are needed.
type Options struct {
	Archive Archive
	History history.Reader // nil: series come from the archive
	WhatIf  WhatIf         // nil: there is none
	Stage   Stage          // where replays are shown; nil: there are none
	Scans   int            // readings at once; 0: [DefaultScans]
	Logger  *slog.Logger
}

// Limits.
const (
	DefaultScans = 3
	MaxSpan      = 24 * time.Hour      // of series, laps and what-if
	MaxExport    = 31 * 24 * time.Hour // of a file
	MaxSeries    = 64                  // of one answer
	MaxPoints    = 5000                // of one series
	MaxReplays   = 4
	maxWindows   = 16              // of one what-if
	slotWait     = 3 * time.Second // for one of the readings to end
	writeLimit   = 30 * time.Second
)

type server struct {
	opt     Options
	slots   chan struct{}
	cache   cache
	replays replays
}

// New returns a handler of the paths under /api/v1 that the package serves. Replays
// end with ctx.
func New(ctx context.Context, opt Options) http.Handler {
	if opt.Scans <= 0 {
		opt.Scans = DefaultScans
	}
	s := &server{opt: opt, slots: make(chan struct{}, opt.Scans)}
	s.replays.init(ctx, s)
	mux := http.NewServeMux()
	for path, h := range map[string]func(http.ResponseWriter, *http.Request) error{
		"GET /api/v1/cars/{car}/sessions": s.sessions,
		"GET /api/v1/cars/{car}/past":     s.past,
		"GET /api/v1/cars/{car}/compare":  s.compare,
		"GET /api/v1/cars/{car}/export":   s.export,
		"GET /api/v1/cars/{car}/whatif":   s.whatIf,
		"GET /api/v1/replays":             s.replays.list,
		"POST /api/v1/replays":            s.replays.start,
		"GET /api/v1/replays/{id}":        s.replays.show,
		"POST /api/v1/replays/{id}":       s.replays.change,
		"DELETE /api/v1/replays/{id}":     s.replays.stop,
	} {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := h(w, r); err != nil {
				s.fail(w, r, err)
			}
		})
	}
	return mux
}

// slot takes part in the limit of readings until free is called.
func (s *server) slot(ctx context.Context) (free func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	default:
	}
	t := time.NewTimer(slotWait)
	defer t.Stop()
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-t.C:
		return nil, refuse(http.StatusServiceUnavailable, "%d readings of the past are under way, which is the limit: try again when one has ended, or end one", cap(s.slots))
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
