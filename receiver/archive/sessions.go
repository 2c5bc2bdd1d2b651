package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Session is a session of a car: what `edgeagent session` began, or where a car has
// none, one start of its agent. Times are UTC, ns since 1970.
type Session struct {
	ID     string
	Name   string
	Track  string
	State  string // "running", "stopped"; "epoch": it is one start of the agent
	Car    string
	Epochs []wire.Epoch // in which it ran, oldest first
	// StartNS is its first moment; EndNS is 0 while it runs. Until is the last moment
	// that is known of it.
	StartNS, EndNS int64
	UntilNS        int64
	BestNS         int64 // of its complete laps; 0: none
	Laps           []Lap // by number
	Marks          []Mark
}

// Lap is one lap. One that is not over has no EndNS and no TimeNS.
type Lap struct {
	N              int
	StartNS, EndNS int64
	TimeNS         int64 // 0: it has no time
	Complete       bool
	Sectors        []Sector // by number
}

// Sector is one sector of a lap that was passed.
type Sector struct {
	N      int
	TimeNS int64
	AtNS   int64 // when its end was passed
}

// Mark is a word of the crew.
type Mark struct {
	N    int
	AtNS int64
	Text string
}

// Sessions returns the sessions of a car, newest first: those of
// telemetry.sessions, and where a car has none, its epochs with their bounds.
func (a *Archive) Sessions(ctx context.Context, car string) ([]Session, error) {
	return a.sessions(ctx, car)
}

// Span returns when a session, by id or name, or a lap, as SESSION/LAP, began and
// ended; toNS is 0 while it runs. The error wraps [ErrUnknown] and names what there is.
func (a *Archive) Span(ctx context.Context, car, what string) (fromNS, toNS int64, err error) {
	list, err := a.Sessions(ctx, car)
	if err != nil {
		return 0, 0, err
	}
	return find(list, car, what)
}

// sessions reads telemetry.sessions; where a car has none there it makes them of the
// car's events, and without those of its epochs.
func (a *Archive) sessions(ctx context.Context, car string) ([]Session, error) {
	b := sessionBook{car: car, of: map[[2]string]*Session{}}
	err := a.each(ctx, a.src.Names().Sessions, func(r *topic.Record) {
		var s sessionRecord
		if len(r.Value) > 0 && json.Unmarshal(r.Value, &s) == nil {
			b.add(&s)
		}
	})
	if errors.Is(err, ErrNoTopic) { // a source of files has the events themselves
		err = a.sessionEvents(ctx, car, &b)
	}
	if err != nil {
		return nil, err
	}
	if len(b.of) > 0 {
		return b.list(), nil
	}
	return a.epochs(ctx, car)
}

// each calls fn for all records of a topic.
func (a *Archive) each(ctx context.Context, name string, fn func(*topic.Record)) error {
	return a.since(ctx, name, 0, fn)
}

// since calls fn for the records of a topic that were written at a time, ms since
// 1970, or later; 0: all.
func (a *Archive) since(ctx context.Context, name string, ms int64, fn func(*topic.Record)) error {
	exts, err := a.src.Extents(ctx, name, ms)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	for _, e := range exts {
		for at := max(e.Start, e.Since); at < e.End; {
			recs, next, err := a.src.Chunk(ctx, name, e.Partition, at, e.End)
			if err != nil {
				return fmt.Errorf("archive: %w", err)
			}
			for i := range recs {
				fn(&recs[i])
			}
			at = next
		}
	}
	return nil
}

// sessionEvents reads a car's events for what they say of sessions.
func (a *Archive) sessionEvents(ctx context.Context, car string, b *sessionBook) error {
	_, err := a.Read(ctx, Query{Car: car, Lanes: []wire.Lane{wire.LaneCritical}}, func(r *Rows) error {
		if r.Event == nil {
			return nil
		}
		var d struct {
			ID string `json:"id"`
			N  int    `json:"n"`
		}
		s := sessionRecord{}
		if json.Unmarshal([]byte(r.Event.Detail), &d) != nil || json.Unmarshal([]byte(r.Event.Detail), &s) != nil {
			return nil
		}
		s.Car, s.Session, s.Event, s.Mark, s.TSNS = r.Car, d.ID, r.Event.Name, d.N, r.Event.UTCNS
		s.Epoch, s.Nonce = r.ID.Stream.Epoch.Counter, fmt.Sprintf("%016x", r.ID.Stream.Epoch.Nonce)
		switch s.Event {
		case "session_start", "session_continue", "session_stop", "session_mark", "lap", "sector":
			b.add(&s)
		}
		return nil
	}, nil)
	return err
}

// epochs returns a session for each epoch of a car.
func (a *Archive) epochs(ctx context.Context, car string) ([]Session, error) {
	r := newReading(a, &Query{Car: car, Lanes: wire.Lanes[:]}, ByTime, nil)
	if err := r.survey(ctx); err != nil {
		return nil, err
	}
	of := map[[2]string]*Session{}
	for i := range r.streams {
		x := &r.streams[i]
		key := [2]string{x.Car, x.Epoch.String()}
		s := of[key]
		if s == nil {
			s = &Session{ID: x.Epoch.String(), Car: x.Car, State: "epoch", Epochs: []wire.Epoch{x.Epoch}}
			of[key] = s
		}
		s.UntilNS = max(s.UntilNS, x.lastNS)
		s.EndNS = s.UntilNS + 1
		// What is said of time itself may be older than any sample.
		if x.Lane == wire.LaneFull || s.StartNS == 0 {
			s.StartNS = x.firstNS
		}
	}
	out := make([]Session, 0, len(of))
	for _, s := range of {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(x, y Session) int { return cmp.Or(cmp.Compare(y.StartNS, x.StartNS), cmp.Compare(x.ID, y.ID)) })
	return out, nil
}

// Cars returns the cars of which there is something, sorted: those with a session or a
// time map, and where there is neither, those in the batches.
func (a *Archive) Cars(ctx context.Context) ([]string, error) {
	b := sessionBook{of: map[[2]string]*Session{}}
	err := a.each(ctx, a.src.Names().Sessions, func(r *topic.Record) {
		var s sessionRecord
		if len(r.Value) > 0 && json.Unmarshal(r.Value, &s) == nil {
			b.add(&s)
		}
	})
	if err != nil && !errors.Is(err, ErrNoTopic) {
		return nil, err
	}
	release, err := a.load(ctx)
	if err != nil {
		return nil, err
	}
	var cars []string
	for car, c := range a.clocks.cars {
		if len(c.told) > 0 {
			cars = append(cars, car)
		}
	}
	release()
	for key := range b.of {
		cars = append(cars, key[0])
	}
	if len(cars) == 0 {
		r := newReading(a, &Query{Lanes: wire.Lanes[:]}, ByTime, nil)
		if err := r.survey(ctx); err != nil {
			return nil, err
		}
		for i := range r.streams {
			cars = append(cars, r.streams[i].Car)
		}
	}
	slices.Sort(cars)
	return slices.Compact(cars), nil
}
