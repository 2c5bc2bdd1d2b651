package live

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"telemetry/receiver/live/coverage"
	"telemetry/receiver/live/strip"
	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// MaxReplays is how many replays can be shown at once.
const MaxReplays = 8

// ReplayInfo says what a replay is of.
type ReplayInfo struct {
	ID           string // unique among replays, such as "r1"
	Of           string // the car that was recorded
	FromMS, ToMS int64  // event time, UTC
}

// ReplayState is where a replay stands.
type ReplayState struct {
	AtMS   int64   // event time that has been reached
	Speed  float64 // 0: as fast as possible
	Paused bool
	Done   bool
}

// ReplayView is a replay as the page gets it.
type ReplayView struct {
	ID     string `json:"id"`
	Of     string `json:"of"`
	FromMS int64  `json:"from_ms"`
	ToMS   int64  `json:"to_ms"`
	AtMS   int64  `json:"at_ms"`
	Speed  any    `json:"speed"` // a number, or "max"
	Paused bool   `json:"paused"`
	Done   bool   `json:"done"`
}

// ReplayOf says in a list that a car is a replay.
type ReplayOf struct {
	ID string `json:"id"`
	Of string `json:"of"`
}

// replay is what makes a car one that was recorded.
type replay struct {
	info  ReplayInfo
	state ReplayState
	setMS int64 // when the state was set, UTC
}

// nowMS is the time that a car's charts end at: for a replay, where it stands.
func (c *car) nowMS(wallMS int64) int64 {
	if c.replay == nil {
		return wallMS
	}
	return c.replay.nowMS(wallMS)
}

// nowMS moves on by itself between two words of whoever plays.
func (r *replay) nowMS(wallMS int64) int64 {
	if s := &r.state; !s.Paused && !s.Done && s.Speed > 0 {
		moved := float64(min(max(0, wallMS-r.setMS), replayCoast)) * s.Speed
		return min(s.AtMS+int64(moved), max(r.info.ToMS, s.AtMS))
	}
	return r.state.AtMS
}

// In ms: how long a replay's clock moves on without a word, and how far it must go
// back for what charts show to come again.
const (
	replayCoast = 1000
	replayBack  = 500
)

func (r *replay) view(wallMS int64) *ReplayView {
	v := &ReplayView{
		ID: r.info.ID, Of: r.info.Of, FromMS: r.info.FromMS, ToMS: r.info.ToMS, AtMS: r.nowMS(wallMS),
		Speed: r.state.Speed, Paused: r.state.Paused, Done: r.state.Done,
	}
	if r.state.Speed == 0 {
		v.Speed = "max"
	}
	return v
}

// Feed fills a car of the page with what was recorded. It is safe for concurrent
// use; after [Feed.Close] it does nothing.
type Feed struct {
	s *Server
	c *car // its fields are guarded by the store's mu
}

// Errors of [Server.AddReplay].
var (
	ErrReplays = errors.New("live: too many replays are open: close one")
	ErrReplay  = errors.New("live: there is such a replay already")
)

// AddReplay adds a car named "<of>~<id>" to the page, on which every view works as
// on a live one; its clock is that of the recording.
func (s *Server) AddReplay(i ReplayInfo) (*Feed, error) {
	now := time.Now().UnixMilli()
	st := s.store
	st.mu.Lock()
	defer st.mu.Unlock()
	name := i.Of + "~" + i.ID
	if err := wire.ValidCar(i.Of); err != nil {
		return nil, fmt.Errorf("live: replay: %w", err)
	}
	if st.cars[name] != nil || i.ID == "" {
		return nil, fmt.Errorf("%w: %q", ErrReplay, name)
	}
	if st.replays >= MaxReplays {
		return nil, ErrReplays
	}
	c := st.addCar(name)
	c.replay = &replay{info: i, state: ReplayState{AtMS: i.FromMS, Speed: 1, Paused: true}, setMS: now}
	c.seenMS, c.lookedMS = now, now
	st.replays++
	return &Feed{s: s, c: c}, nil
}

// Car returns the name of the car on the page.
func (f *Feed) Car() string { return f.c.name }

// locked calls fn with the car while it is there.
func (f *Feed) locked(fn func(s *store, c *car)) {
	st := f.s.store
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.cars[f.c.name] == f.c {
		fn(st, f.c)
	}
}

// Table shows the rows of a table; id names the batch that they come from. Nothing of
// t is kept.
func (f *Feed) Table(id wire.ID, t *columns.Table) {
	now := time.Now().UnixMilli()
	f.locked(func(s *store, c *car) {
		s.tableOf(c, id, t, asWritten, origin{to: inOrder, nowMS: now, fresh: true})
	})
}

// Event shows an event of the car.
func (f *Feed) Event(tsMS int64, name, detail string) {
	f.locked(func(_ *store, c *car) {
		c.addEvent(Event{TimeMS: tsMS, Kind: "event", Text: name, Detail: detail})
	})
}

// Lost says that numbers of the full lane never came.
func (f *Feed) Lost(e wire.Epoch, first, last uint64, reason string) {
	f.locked(func(_ *store, c *car) { c.cover.Epoch(e.String()).Settle(first, last, coverage.Lost, reason) })
}

// Sessions says what sessions and laps the recording lies in, newest first.
func (f *Feed) Sessions(list []Session) {
	f.locked(func(s *store, c *car) {
		k := &carSessions{firstMS: map[string]int64{}}
		if old := s.sessions[c.name]; old != nil {
			k.version = old.version
		}
		k.version++
		for i := range list {
			x := list[i].view()
			k.list = append(k.list, &x)
			if x.StartMS != nil {
				k.firstMS[x.ID] = *x.StartMS
			}
		}
		slices.SortStableFunc(k.list, func(a, b *Session) int { return cmp.Compare(k.firstMS[a.ID], k.firstMS[b.ID]) })
		s.sessions[c.name] = k
	})
}

// Set says where the replay stands. When it has gone back, all that charts show is
// forgotten: it comes again.
func (f *Feed) Set(x ReplayState) {
	now := time.Now().UnixMilli()
	f.locked(func(s *store, c *car) {
		back := x.AtMS < c.replay.state.AtMS-replayBack
		c.replay.state, c.replay.setMS = x, now
		c.seenMS = now
		if back {
			s.rewind(c)
		}
		c.wake()
	})
}

// rewind forgets what a car's charts show.
func (s *store) rewind(c *car) {
	for _, ch := range c.channels {
		if ch.strip != nil {
			ch.strip = &strip.Strip{}
		}
		if ch.hist != nil {
			ch.hist = &history{}
		}
		ch.tsMS, ch.version = 0, 0
	}
	lat, lon, speed := c.place.lat, c.place.lon, c.place.speed
	c.place = place{lat: lat, lon: lon, speed: speed}
	c.cover, c.full, c.clock = coverage.Car{}, nil, carClock{}
	c.events = nil
	for i := range c.lanes {
		c.lanes[i].newestMS = 0
	}
}

// chartAlike charts a replay's new channel when that of the recorded car is charted:
// whoever looks at one will look at the other, and what comes first is to be there.
func (s *store) chartAlike(c *car, ch *channel, nowMS int64) {
	if c.replay == nil {
		return
	}
	if of := s.cars[c.replay.info.Of]; of != nil {
		if o := of.byKey[string(ch.key)]; o != nil && o.strip != nil {
			s.chart(ch, nowMS)
		}
	}
}

// Idle returns how long nobody has looked at the replay.
func (f *Feed) Idle() time.Duration {
	idle := time.Duration(0)
	f.locked(func(_ *store, c *car) { idle = time.Since(time.UnixMilli(c.lookedMS)) })
	return idle
}

// Close takes the car off the page.
func (f *Feed) Close() {
	f.locked(func(s *store, c *car) {
		s.forget(c)
		delete(s.sessions, c.name)
	})
}
