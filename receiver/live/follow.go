package live

import (
	"context"
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
	for _, t := range []followed{
		{name: names.Live, take: rows(inOrder)},
		{name: names.Samples, take: rows(inOrder), wanted: true},
		{name: names.Late, take: rows(late), wanted: true},
		{name: names.Events, take: rows(event)},
		{name: names.Gaps, take: func(_ context.Context, f *follower, rec *topic.Record) { f.gap(rec) }},
		{name: names.Sessions, take: func(_ context.Context, f *follower, rec *topic.Record) { f.session(rec) }, whole: true},
	} {
		if t.name == "" {
			continue
		}
		f := &follower{s: s, followed: t}
		g.Go(func() error { // ends with ctx
			f.run(ctx)
			return nil
		})
	}
}

// followed is how a topic is followed.
type followed struct {
	name   string
	take   func(ctx context.Context, f *follower, rec *topic.Record)
	wanted bool // only while somebody looks
	whole  bool // from its beginning, nothing passed over: it is compacted
}

// rows takes a topic of rows.
func rows(to sink) func(context.Context, *follower, *topic.Record) {
	return func(ctx context.Context, f *follower, rec *topic.Record) { f.row(ctx, rec, to) }
}

// follower reads one topic.
type follower struct {
	s *Server
	followed

	row0   row     // scratch
	opener *opener // nil: no sealed batch has come

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
		f.s.failures.set(f.name, err)
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
	ends, err := f.s.opt.Source.EndOffsets(ctx, f.name)
	if err != nil {
		return err
	}
	if f.start == nil {
		f.start = ends
	}
	from := make(map[int32]int64, len(ends))
	for p, end := range ends {
		from[p] = max(0, end-tailRecords)
		if f.whole {
			from[p] = 0
		}
	}
	if f.skipTo(from) && f.name == f.s.opt.Source.Names().Samples {
		f.s.store.passed()
	}
	f.pos = from
	f.s.failures.set(f.name, nil)
	inner, stop := context.WithCancel(ctx)
	defer stop()
	var done sync.WaitGroup
	done.Add(1)
	f.at.Store(sum(from))
	go func() { // ends with inner
		defer done.Done()
		f.watch(inner, stop)
	}()
	err = f.s.opt.Source.Follow(inner, f.name, maps.Clone(from), func(rec topic.Record) error {
		next := rec.Offset + 1
		f.at.Add(next - f.pos[rec.Partition])
		f.pos[rec.Partition] = next
		f.take(inner, f, &rec)
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
		f.s.opt.Logger.Warn("live page cannot follow a topic, trying again", "topic", f.name, "error", err)
	}
}

// skipTo counts what lies between where we were and where we go on, and lets
// nothing be read twice. It reports whether there is something between.
func (f *follower) skipTo(from map[int32]int64) (skipped bool) {
	for p, at := range from {
		was, known := f.pos[p]
		if !known {
			continue
		}
		if at > was {
			f.s.skipped.Add(uint64(at - was))
			skipped = true
		} else {
			from[p] = was
		}
	}
	return skipped
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
		ends, err := f.s.opt.Source.EndOffsets(ctx, f.name)
		if ctx.Err() != nil {
			return
		}
		// The reading itself waits in silence while Kafka is away.
		f.s.failures.set(f.name, err)
		if err != nil {
			f.s.kafkaErrors.Add(1)
			f.tell(err)
		}
		if err == nil && !f.whole && sum(ends)-f.at.Load() > maxBehind {
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

// row takes a record of a topic of rows, which may have batches as they were sealed.
func (f *follower) row(ctx context.Context, rec *topic.Record, to sink) {
	if v, _ := rec.Get(topic.HeaderContentType); v == topic.ContentTypeBatch {
		f.sealed(ctx, rec, to)
		return
	}
	if parseRow(rec.Value, &f.row0) != nil {
		f.s.store.malformed()
		return
	}
	o := origin{to: to, source: rec.Partition, nowMS: time.Now().UnixMilli(), fresh: f.fresh(rec)}
	if h, ok := rec.Get(topic.HeaderCatalogue); ok {
		if parsed, err := wire.ParseCatalogueHash(h); err == nil {
			o.hash = parsed
		}
	}
	f.s.store.apply(&f.row0, o)
}

// Watched reports whether somebody looks at the page: without one, previews are
// of no use.
func (s *Server) Watched() bool { return s.watched() }

// fresh reports whether a record has come since the role's start.
func (f *follower) fresh(rec *topic.Record) bool { return rec.Offset >= f.start[rec.Partition] }

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
