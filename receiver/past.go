package receiver

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"telemetry/internal/config"
	"telemetry/receiver/archive"
	"telemetry/receiver/history"
	"telemetry/receiver/live"
	"telemetry/receiver/past"
	"telemetry/receiver/replay"
	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// openHistory returns the store of the configuration; nil when there is none.
func openHistory(c *config.History) (history.Reader, error) {
	if c == nil {
		return nil, nil
	}
	h := history.Config{
		Kind: c.Kind, URL: c.URL, User: c.User, CA: c.CA, Timeout: c.Timeout.D(),
		Metric: c.Metric, Table: c.Table, Column: c.Column, Time: c.Time, Match: c.Match,
	}
	if c.Password != nil {
		var err error
		if h.Password, err = readSecret(*c.Password); err != nil {
			return nil, err
		}
	}
	return history.Open(h)
}

// addPast returns what answers for the past. It has a client of its own: what is
// read there does not wait behind what is live.
func (r *Receiver) addPast(run *running) (http.Handler, error) {
	src, err := run.cluster.Past()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := func() error {
		cancel()
		return src.Close()
	}
	run.undo = append(run.undo, ended)
	run.start = append(run.start, func(ctx context.Context) error {
		<-ctx.Done()
		return ended()
	})
	a := archive.New(src, archive.Options{})
	return past.New(ctx, past.Options{
		Archive: a, History: r.history, Stage: stage{run}, WhatIf: whatIf(a), Logger: r.log.With("component", "past"),
	}), nil
}

// whatIf asks what other windows would have done to a recording.
func whatIf(a *archive.Archive) past.WhatIf {
	return func(ctx context.Context, q archive.Query, windows []time.Duration, progress archive.Progress) ([]past.WhatIfRow, error) {
		list, err := replay.WhatIf(ctx, a, q, windows, progress)
		rows := make([]past.WhatIfRow, 0, len(list))
		for i := range list {
			o := &list[i]
			w := "none"
			if o.WindowMS >= 0 {
				w = (time.Duration(o.WindowMS) * time.Millisecond).String()
			}
			rows = append(rows, past.WhatIfRow{
				Window: w, Lane: o.Lane, Delayed: o.Delayed, P50MS: o.P50MS, P99MS: o.P99MS, MaxMS: o.MaxMS, Late: o.Late, Lost: o.Lost,
			})
		}
		return rows, err
	}
}

// stage shows replays on the page.
type stage struct{ run *running }

// Add implements [past.Stage].
func (s stage) Add(i past.ReplayInfo) (past.Feed, error) {
	f, err := s.run.live.AddReplay(live.ReplayInfo{ID: i.ID, Of: i.Of, FromMS: i.FromNS / 1e6, ToMS: i.ToNS / 1e6})
	if errors.Is(err, live.ErrReplays) {
		return nil, past.ErrFull
	}
	if err != nil {
		return nil, err
	}
	return feed{f}, nil
}

// feed is a car of the page that a replay fills.
type feed struct{ *live.Feed }

func (f feed) Table(t *columns.Table, id wire.ID) { f.Feed.Table(id, t) }

func (f feed) Event(e *archive.Event, _ wire.ID) { f.Feed.Event(e.UTCNS/1e6, e.Name, e.Detail) }

// Lost implements [past.Feed]. What never reached the topic, or has left it, is as
// lost to a replay.
func (f feed) Lost(g *archive.Gap) {
	f.Feed.Lost(g.Stream.Epoch, g.Range.First, g.Range.Last, cmp.Or(g.Reason, "not in the recording"))
}

func (f feed) IdleFor() time.Duration { return f.Idle() }

func (f feed) Set(s past.ReplayState) {
	f.Feed.Set(live.ReplayState{AtMS: s.AtNS / 1e6, Speed: s.Speed, Paused: s.Paused, Done: s.Done})
}

func (f feed) Sessions(list []archive.Session) {
	out := make([]live.Session, 0, len(list))
	for i := range list {
		out = append(out, sessionOf(&list[i]))
	}
	f.Feed.Sessions(out)
}

// sessionOf is a session as the page has it.
func sessionOf(s *archive.Session) live.Session {
	o := live.Session{ID: s.ID, Name: s.Name, Track: s.Track, State: s.State, StartMS: msOf(s.StartNS), EndMS: msOf(s.EndNS), BestMS: float64(s.BestNS) / 1e6}
	for _, l := range s.Laps {
		lap := live.Lap{N: l.N, StartMS: msOf(l.StartNS), EndMS: msOf(l.EndNS), TimeMS: lengthOf(l.TimeNS), Complete: l.Complete, Sectors: []live.Sector{}}
		for _, c := range l.Sectors {
			lap.Sectors = append(lap.Sectors, live.Sector{N: c.N, TimeMS: lengthOf(c.TimeNS), AtMS: c.AtNS / 1e6})
		}
		o.Laps = append(o.Laps, lap)
	}
	for _, m := range s.Marks {
		o.Marks = append(o.Marks, live.Mark{N: m.N, AtMS: m.AtNS / 1e6, Text: m.Text})
	}
	return o
}

// msOf and lengthOf convert ns; 0 is unknown.
func msOf(ns int64) *int64 {
	if ns == 0 {
		return nil
	}
	v := ns / 1e6
	return &v
}

func lengthOf(ns int64) *float64 {
	if ns == 0 {
		return nil
	}
	v := float64(ns) / 1e6
	return &v
}
