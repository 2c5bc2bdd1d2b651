package past

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/replay"
	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// Stage shows replays: the page's live store.
type Stage interface {
	// Add begins to show a replay as a car of its own.
	Add(ReplayInfo) (Feed, error)
}

// Feed is where a replay's data goes. It is safe for concurrent use.
type Feed interface {
	Table(t *columns.Table, id wire.ID)
	Event(e *archive.Event, id wire.ID)
	Sessions([]archive.Session)
	Lost(g *archive.Gap) // batches that the recording does not have
	Set(ReplayState)
	IdleFor() time.Duration // since somebody last looked
	Close()
}

// ReplayInfo says what is played.
type ReplayInfo struct {
	ID           string
	Car          string // under which it is shown
	Of           string // the car that it was
	FromNS, ToNS int64
}

// ReplayState is where a replay is.
type ReplayState struct {
	AtNS   int64
	Speed  float64 // 0: as fast as possible
	Paused bool
	Done   bool
}

// Replay is a replay as it stands in JSON.
type Replay struct {
	ID     string  `json:"id"`
	Car    string  `json:"car"`
	Of     string  `json:"of"`
	FromMS float64 `json:"from_ms"`
	ToMS   float64 `json:"to_ms"`
	AtMS   float64 `json:"at_ms"`
	Speed  any     `json:"speed"` // a number, or "max"
	Paused bool    `json:"paused"`
	Done   bool    `json:"done"`
	Error  string  `json:"error,omitempty"`
}

// Times of a replay.
const (
	idleLimit  = time.Minute // without anybody who looks
	stateEvery = 200 * time.Millisecond
)

// replays are those under way.
type replays struct {
	s      *server
	ctx    context.Context
	mu     sync.Mutex
	next   int
	active []*playing
}

func (p *replays) init(ctx context.Context, s *server) { p.ctx, p.s = ctx, s }

// playing is one replay.
type playing struct {
	info   ReplayInfo
	feed   Feed
	pace   *replay.Pace
	cancel context.CancelFunc
	done   chan struct{}
	gaps   []archive.Gap // of the recording, oldest first; owned by play
	told   int           // of them, since the last seek

	mu    sync.Mutex
	ended bool
	err   error
}

func (p *playing) view() Replay {
	st := p.state()
	v := Replay{
		ID: p.info.ID, Car: p.info.Car, Of: p.info.Of, FromMS: float64(p.info.FromNS) / 1e6, ToMS: float64(p.info.ToNS) / 1e6,
		AtMS: float64(st.AtNS) / 1e6, Speed: st.Speed, Paused: st.Paused, Done: st.Done,
	}
	if st.Speed == replay.Max {
		v.Speed = "max"
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err != nil {
		v.Error = p.err.Error()
	}
	return v
}

// request is the body of a POST. Absent is unchanged.
type request struct {
	Car     string   `json:"car"`
	FromMS  *float64 `json:"from_ms"`
	ToMS    *float64 `json:"to_ms"`
	Session string   `json:"session"`
	Lap     any      `json:"lap"` // SESSION/N, or N beside a session
	Speed   any      `json:"speed"`
	Paused  *bool    `json:"paused"`
	SeekMS  *float64 `json:"seek_ms"`
}

func readRequest(w http.ResponseWriter, r *http.Request) (*request, error) {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, 16<<10))
	d.DisallowUnknownFields()
	var q request
	if err := d.Decode(&q); err != nil {
		return nil, bad("the request is not what is wanted: %v", err)
	}
	return &q, nil
}

// speed reads a speed: a number, or "max".
func (q *request) speed(def float64) (float64, error) {
	switch v := q.Speed.(type) {
	case nil:
		return def, nil
	case string:
		if v == "max" {
			return replay.Max, nil
		}
		if f, err := strconv.ParseFloat(v, 64); err == nil && f >= 0.01 && f <= 1000 {
			return f, nil
		}
	case float64:
		if v >= 0.01 && v <= 1000 {
			return v, nil
		}
	}
	return 0, bad("speed is %v (want 0.01 to 1000, or \"max\")", q.Speed)
}

// span finds when to play.
func (p *replays) span(ctx context.Context, q *request) (from, to int64, err error) {
	what := q.Session
	switch v := q.Lap.(type) {
	case string:
		what = v
		if q.Session != "" && !strings.Contains(v, "/") {
			what = q.Session + "/" + v
		}
	case float64:
		if q.Session == "" {
			return 0, 0, bad("a lap's number wants its session")
		}
		what = fmt.Sprintf("%s/%.0f", q.Session, v)
	}
	switch {
	case what != "":
		if from, to, err = p.s.opt.Archive.Span(ctx, q.Car, what); err != nil {
			return 0, 0, err
		}
	case q.FromMS != nil:
		from = int64(*q.FromMS * 1e6)
		if q.ToMS != nil {
			to = int64(*q.ToMS * 1e6)
		}
	default:
		return 0, 0, bad("no time (want from_ms and to_ms, or session, or lap)")
	}
	if to == 0 {
		to = time.Now().UnixNano()
	}
	if from <= 0 || to <= from || time.Duration(to-from) > MaxSpan {
		return 0, 0, bad("from %d to %d ms is no time to play (want at most %v)", from/1e6, to/1e6, MaxSpan)
	}
	return from, to, nil
}

func (p *replays) list(w http.ResponseWriter, _ *http.Request) error {
	p.mu.Lock()
	out := make([]Replay, 0, len(p.active))
	for _, r := range p.active {
		out = append(out, r.view())
	}
	p.mu.Unlock()
	return writeJSON(w, map[string]any{"replays": out})
}

func (p *replays) start(w http.ResponseWriter, r *http.Request) error {
	if p.s.opt.Stage == nil {
		return refuse(http.StatusNotFound, "this receiver plays nothing on its page")
	}
	q, err := readRequest(w, r)
	if err != nil {
		return err
	}
	if q.Car == "" {
		return bad("no car")
	}
	speed, err := q.speed(1)
	if err != nil {
		return err
	}
	from, to, err := p.span(r.Context(), q)
	if err != nil {
		return err
	}
	one, err := p.add(q.Car, from, to, speed)
	if err != nil {
		return err
	}
	if q.Paused != nil {
		one.pace.Pause(*q.Paused)
	}
	return writeJSON(w, one.view())
}

// add begins a replay.
func (p *replays) add(car string, from, to int64, speed float64) (*playing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.active) >= MaxReplays {
		return nil, full()
	}
	p.next++
	id := fmt.Sprintf("r%d", p.next)
	one := &playing{info: ReplayInfo{ID: id, Car: car + "~" + id, Of: car, FromNS: from, ToNS: to}, pace: replay.NewPace(speed), done: make(chan struct{})}
	var err error
	if one.feed, err = p.s.opt.Stage.Add(one.info); errors.Is(err, ErrFull) {
		return nil, full()
	} else if err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, one.cancel = context.WithCancel(p.ctx)
	p.active = append(p.active, one)
	go p.run(ctx, one)
	return one, nil
}

// ErrFull is what a [Stage] says that can show no more.
var ErrFull = errors.New("past: too many replays")

func full() error {
	return refuse(http.StatusServiceUnavailable, "%d replays are under way, which is the limit: end one; they end by themselves %v after nobody looks", MaxReplays, idleLimit)
}

// run plays until it is stopped or nobody looks any more.
func (p *replays) run(ctx context.Context, one *playing) {
	defer close(one.done)
	played := make(chan struct{})
	go func() {
		defer close(played)
		one.play(ctx, p.s)
	}()
	t := time.NewTicker(stateEvery)
	defer t.Stop()
	for ctx.Err() == nil && one.feed.IdleFor() < idleLimit {
		select {
		case <-t.C:
			one.feed.Set(one.state())
		case <-ctx.Done():
		}
	}
	one.cancel()
	<-played
	one.feed.Close()
	p.mu.Lock()
	p.active = slices.DeleteFunc(p.active, func(o *playing) bool { return o == one })
	p.mu.Unlock()
}

// find returns a replay by its id.
func (p *replays) find(id string) (*playing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.active {
		if r.info.ID == id {
			return r, nil
		}
	}
	return nil, refuse(http.StatusNotFound, "there is no replay %q: it ends %v after nobody looks", id, idleLimit)
}

func (p *replays) show(w http.ResponseWriter, r *http.Request) error {
	one, err := p.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(w, one.view())
}

func (p *replays) change(w http.ResponseWriter, r *http.Request) error {
	one, err := p.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	q, err := readRequest(w, r)
	if err != nil {
		return err
	}
	if q.Speed != nil {
		speed, err := q.speed(1)
		if err != nil {
			return err
		}
		one.pace.SetSpeed(speed)
	}
	if q.SeekMS != nil {
		at := int64(*q.SeekMS * 1e6)
		if at < one.info.FromNS || at >= one.info.ToNS {
			return bad("seek_ms %.0f is outside of the replay (%d to %d)", *q.SeekMS, one.info.FromNS/1e6, one.info.ToNS/1e6)
		}
		one.pace.GoTo(at)
	}
	if q.Paused != nil {
		one.pace.Pause(*q.Paused)
	}
	return writeJSON(w, one.view())
}

func (p *replays) stop(w http.ResponseWriter, r *http.Request) error {
	one, err := p.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	one.cancel()
	select {
	case <-one.done:
	case <-r.Context().Done():
		return r.Context().Err()
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// lead is what is shown at once of the time before the place where it begins, so that
// charts are not empty.
const lead = 15 * time.Second

// play reads the archive at its pace, again from elsewhere after a seek.
func (p *playing) play(ctx context.Context, s *server) {
	if list, err := s.opt.Archive.Sessions(ctx, p.info.Of); err == nil {
		p.feed.Sessions(list)
	}
	p.findGaps(ctx, s)
	from := p.info.FromNS
	p.pace.GoTo(from)
	p.pace.From()
	for ctx.Err() == nil {
		p.tell(from)
		p.told = 0
		begin := max(from-int64(lead), p.info.FromNS)
		_, err := s.opt.Archive.Read(ctx, archive.Query{Car: p.info.Of, FromNS: begin, ToNS: p.info.ToNS}, func(rows *archive.Rows) error {
			return p.put(ctx, rows)
		}, nil)
		if err == nil {
			err = p.pace.Wait(ctx, p.info.ToNS)
		}
		if !errors.Is(err, replay.ErrSeek) && ctx.Err() == nil {
			p.end(err)
			err = p.again(ctx)
		}
		if !errors.Is(err, replay.ErrSeek) {
			return
		}
		from = p.pace.From()
		p.tell(p.info.ToNS) // what goes back forgets what was shown
	}
}

// findGaps asks what the recording does not have: the archive knows before it gives
// the first row. Without an answer holes stay without a reason.
func (p *playing) findGaps(ctx context.Context, s *server) {
	rep, err := s.opt.Archive.Read(ctx, archive.Query{Car: p.info.Of, FromNS: p.info.FromNS, ToNS: p.info.ToNS},
		func(*archive.Rows) error { return archive.ErrStop }, nil)
	if err != nil {
		return // the reading that follows says it
	}
	p.gaps = slices.DeleteFunc(rep.Gaps, func(g archive.Gap) bool { return g.Stream.Lane != wire.LaneFull })
}

// tellGaps tells those that begin before a time.
func (p *playing) tellGaps(at int64) {
	for ; p.told < len(p.gaps) && p.gaps[p.told].FromNS <= at; p.told++ {
		p.feed.Lost(&p.gaps[p.told])
	}
}

// state is where the replay is.
func (p *playing) state() ReplayState {
	at, speed, paused := p.pace.State()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		at = p.info.ToNS
	}
	return ReplayState{AtNS: min(max(at, p.info.FromNS), p.info.ToNS), Speed: speed, Paused: paused, Done: p.ended}
}

// tell tells the page that the replay is at a time.
func (p *playing) tell(at int64) {
	st := p.state()
	st.AtNS = at
	p.feed.Set(st)
}

// put shows rows when they are due.
func (p *playing) put(ctx context.Context, rows *archive.Rows) error {
	at, synced := int64(0), false
	if rows.Event != nil {
		at, synced = rows.Event.UTCNS, rows.Event.Synced
	} else {
		at, synced = rows.UTC[0], rows.Clock.Synced
	}
	if !synced {
		at = min(at, rows.AtNS) // the log's time may be hours behind: nobody waits for it
	}
	if err := p.pace.Wait(ctx, at); err != nil {
		return err
	}
	p.tellGaps(at)
	if rows.Event != nil {
		p.feed.Event(rows.Event, rows.ID)
	} else {
		p.feed.Table(rows.Table, rows.ID)
	}
	return nil
}

// end notes that everything was played, or could not be.
func (p *playing) end(err error) {
	p.mu.Lock()
	p.ended, p.err = true, err
	p.mu.Unlock()
	p.feed.Set(p.state())
}

// again waits for a seek after the end.
func (p *playing) again(ctx context.Context) error {
	t := time.NewTicker(stateEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		if err := p.pace.Wait(ctx, 0); err != nil {
			p.mu.Lock()
			p.ended, p.err = false, nil
			p.mu.Unlock()
			return err
		}
	}
}
