package live

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Pace of the following.
const (
	tailRecords   = 2000             // of each partition read again at the start, for last values
	maxBehind     = 100_000          // records of one topic; beyond, the rest is skipped
	behindEvery   = 5 * time.Second  // between looks at the topics' ends
	followRetry   = time.Second      // after an error
	followSaid    = time.Minute      // between two lines of the log about the same trouble
	followNew     = 10 * time.Second // and about another one
	interestLasts = 60 * time.Second // a topic is followed for this long after the last look
)

// follow starts one goroutine per topic; each ends with ctx.
func (s *Server) follow(ctx context.Context, g *errgroup.Group) {
	names := s.opt.Source.Names()
	for _, t := range []struct {
		name   string
		take   func(f *follower, rec *topic.Record)
		wanted bool // only while somebody looks
	}{
		{names.Live, func(f *follower, rec *topic.Record) { f.row(rec, inOrder) }, false},
		{names.Samples, func(f *follower, rec *topic.Record) { f.row(rec, inOrder) }, true},
		{names.Late, func(f *follower, rec *topic.Record) { f.row(rec, late) }, true},
		{names.Events, func(f *follower, rec *topic.Record) { f.row(rec, event) }, false},
		{names.Gaps, (*follower).gap, false},
	} {
		f := &follower{s: s, topic: t.name, take: t.take, wanted: t.wanted}
		g.Go(func() error { // ends with ctx
			f.run(ctx)
			return nil
		})
	}
}

// follower reads one topic.
type follower struct {
	s      *Server
	topic  string
	take   func(f *follower, rec *topic.Record)
	wanted bool

	row0  row             // scratch
	pos   map[int32]int64 // owned by the goroutine that reads: next offset
	start map[int32]int64 // end of each partition when the role began
	at    atomic.Int64    // sum of pos

	saidMu sync.Mutex
	said   string    // guarded by saidMu: the trouble that was logged last
	saidAt time.Time // guarded by saidMu
}

// run follows the topic until ctx ends, whatever happens to Kafka.
func (f *follower) run(ctx context.Context) {
	for ctx.Err() == nil {
		if f.wanted && !f.s.watched() {
			f.s.waitWatched(ctx)
			continue
		}
		err := f.once(ctx)
		if ctx.Err() != nil {
			return
		}
		f.s.failures.set(f.topic, err)
		if err == nil {
			continue
		}
		f.s.kafkaErrors.Add(1)
		f.tell(err)
		select {
		case <-ctx.Done():
		case <-time.After(followRetry):
		}
	}
}

// once follows the topic from shortly before its end until it is too far behind,
// nobody looks any more, or Kafka fails.
func (f *follower) once(ctx context.Context) error {
	ends, err := f.s.opt.Source.EndOffsets(ctx, f.topic)
	if err != nil {
		return err
	}
	if f.start == nil {
		f.start = ends
	}
	from := make(map[int32]int64, len(ends))
	for p, end := range ends {
		from[p] = max(0, end-tailRecords)
	}
	f.skipTo(from)
	f.pos = from
	f.s.failures.set(f.topic, nil)
	inner, stop := context.WithCancel(ctx)
	defer stop()
	var done sync.WaitGroup
	done.Add(1)
	f.at.Store(sum(from))
	go func() { // ends with inner
		defer done.Done()
		f.watch(inner, stop)
	}()
	err = f.s.opt.Source.Follow(inner, f.topic, maps.Clone(from), func(rec topic.Record) error {
		next := rec.Offset + 1
		f.at.Add(next - f.pos[rec.Partition])
		f.pos[rec.Partition] = next
		f.take(f, &rec)
		return nil
	})
	stop()
	done.Wait()
	return err
}

// tell logs trouble once a minute, and another one sooner.
func (f *follower) tell(err error) {
	f.saidMu.Lock()
	defer f.saidMu.Unlock()
	if past := time.Since(f.saidAt); past >= followSaid || err.Error() != f.said && past >= followNew {
		f.said, f.saidAt = err.Error(), time.Now()
		f.s.opt.Logger.Warn("live page cannot follow a topic, trying again", "topic", f.topic, "error", err)
	}
}

// skipTo counts what lies between where we were and where we go on, and lets
// nothing be read twice.
func (f *follower) skipTo(from map[int32]int64) {
	for p, at := range from {
		was, known := f.pos[p]
		if !known {
			continue
		}
		if at > was {
			f.s.skipped.Add(uint64(at - was))
		} else {
			from[p] = was
		}
	}
}

// watch ends the reading when it is of no use.
func (f *follower) watch(ctx context.Context, stop context.CancelFunc) {
	t := time.NewTicker(behindEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if f.wanted && !f.s.watched() {
			stop()
			return
		}
		ends, err := f.s.opt.Source.EndOffsets(ctx, f.topic)
		if ctx.Err() != nil {
			return
		}
		// The reading itself waits in silence while Kafka is away.
		f.s.failures.set(f.topic, err)
		if err != nil {
			f.s.kafkaErrors.Add(1)
			f.tell(err)
		}
		if err == nil && sum(ends)-f.at.Load() > maxBehind {
			stop()
			return
		}
	}
}

func sum(m map[int32]int64) int64 {
	var n int64
	for _, v := range m {
		n += v
	}
	return n
}

// row takes a record of a topic of rows.
func (f *follower) row(rec *topic.Record, to sink) {
	if v, _ := rec.Get(topic.HeaderContentType); v == topic.ContentTypeBatch {
		return // of a lane whose output format is batch: ingest shows its values, if it is here
	}
	if parseRow(rec.Value, &f.row0) != nil {
		f.s.store.malformed()
		return
	}
	var hash wire.CatalogueHash
	if h, ok := rec.Get(topic.HeaderCatalogue); ok {
		if parsed, err := wire.ParseCatalogueHash(h); err == nil {
			hash = parsed
		}
	}
	f.s.store.apply(&f.row0, to, hash, time.Now().UnixMilli(), f.fresh(rec))
}

// Preview shows a row of package jsonrow before its batch is in order, which may
// be long before it is in its topic; see [Server.Watched]. The caller makes the
// rows of all batches of one car, in whatever order, in one goroutine.
func (s *Server) Preview(rec *topic.Record, hash wire.CatalogueHash) {
	var r row
	if parseRow(rec.Value, &r) != nil {
		s.store.malformed()
		return
	}
	s.store.preview(&r, hash, time.Now().UnixMilli())
}

// Watched reports whether somebody looks at the page: without one, previews are
// of no use.
func (s *Server) Watched() bool { return s.watched() }

// fresh reports whether a record has come since the role's start.
func (f *follower) fresh(rec *topic.Record) bool { return rec.Offset >= f.start[rec.Partition] }

// gapRow is what the page needs of a record in the gaps topic.
type gapRow struct {
	Car    string `json:"car"`
	Lane   string `json:"lane"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Count  uint64 `json:"count"`
	Change string `json:"change"`
	Reason string `json:"reason"`
	AtMS   int64  `json:"at_ms"`
}

// gap takes a record of the gaps topic. One without a value deletes another.
func (f *follower) gap(rec *topic.Record) {
	if len(rec.Value) == 0 {
		return
	}
	var g gapRow
	if json.Unmarshal(rec.Value, &g) != nil || g.Count == 0 {
		f.s.store.malformed()
		return
	}
	f.s.store.gap(&g, time.Now().UnixMilli(), f.fresh(rec))
}

func (s *store) gap(g *gapRow, nowMS int64, fresh bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.car([]byte(g.Car), nowMS)
	if c == nil {
		s.n.CarsDropped++
		return
	}
	l := &c.lanes[laneOf([]byte(g.Lane))]
	if fresh {
		switch g.Change {
		case "settled":
			l.missing += g.Count
		case "withdrawn":
			l.missing -= min(l.missing, g.Count)
		}
	}
	c.addEvent(Event{
		TimeMS: g.AtMS, Kind: "gap", Text: fmt.Sprintf("%s #%d…%d %s: %s", g.Lane, g.First, g.Last, g.Change, g.Reason),
		Detail: fmt.Sprintf("%d batches", g.Count),
	})
}

// watched reports whether somebody looks, or has looked a short time ago.
func (s *Server) watched() bool {
	return s.streams.Load() > 0 || time.Now().UnixNano()-s.wanted.Load() < int64(interestLasts)
}

// look notes that somebody looks.
func (s *Server) look() {
	s.wanted.Store(time.Now().UnixNano())
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.woken != nil {
		close(s.woken)
		s.woken = nil
	}
}

// waitWatched returns when somebody looks or ctx ends.
func (s *Server) waitWatched(ctx context.Context) {
	s.mu.Lock()
	if s.woken == nil {
		s.woken = make(chan struct{})
	}
	woken := s.woken
	s.mu.Unlock()
	if s.watched() {
		return
	}
	select {
	case <-woken:
	case <-ctx.Done():
	}
}

// failures holds why topics cannot be followed.
type failures struct {
	mu sync.Mutex
	m  map[string]string // guarded by mu; by topic
}

func (f *failures) set(name string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m == nil {
		f.m = map[string]string{}
	}
	delete(f.m, name)
	if err != nil {
		f.m[name] = err.Error()
	}
}

func (f *failures) newest() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, why := range f.m {
		return why
	}
	return ""
}
