package live

import (
	"context"
	"errors"
	"math"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/wire"
)

// scratch is memory that tables share, guarded by the store's mu.
type scratch struct {
	key    []byte
	group  []byte
	times  []int64
	values []float64
}

// tableTimes says how the times of a table's rows are found.
type tableTimes func(c *car, t *columns.Table, row int) (utcNS int64, synced bool)

// table takes a table of a decoded batch.
func (s *store) table(id wire.ID, t *columns.Table, times tableTimes, o origin) {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.car([]byte(id.Stream.Car), o.nowMS)
	if c == nil {
		s.n.CarsDropped++
		return
	}
	s.tableOf(c, id, t, times, o)
}

func (s *store) tableOf(c *car, id wire.ID, t *columns.Table, times tableTimes, o origin) {
	if len(t.Boot) == 0 {
		return
	}
	session := id.Stream.Epoch.String()
	if o.to == preview && session != c.session && epochOf(session) <= epochOf(c.session) {
		return // of an epoch that is over
	}
	if o.to != late {
		c.enter(session)
	}
	ms := s.scratch.times[:0]
	synced := true
	for i := range t.Boot {
		utc, known := times(c, t, i)
		synced = synced && known
		ms = append(ms, sane(floorMS(utc), o.nowMS))
	}
	s.scratch.times = ms
	lane := id.Stream.Lane
	switch o.to {
	case late:
		if !synced {
			return
		}
		if o.fresh && t.Place == 1 {
			c.lanes[lane].late++
		}
	case inOrder:
		s.n.Rows += uint64(len(t.Boot))
		c.count(lane, ms[len(ms)-1], t.Place == 1, o)
		if o.fresh {
			c.lanes[lane].rows += uint64(len(t.Boot)) - 1
		}
	default:
		c.seenMS = o.nowMS
	}
	c.seen(id, o, ms[0], ms[len(ms)-1])
	if o.to != late {
		c.synced = synced
		c.wake()
	}
	s.columns(c, t, ms, arrival{lane: lane, synced: synced}, o)
}

// columns takes the values of a table whose rows are at given times.
func (s *store) columns(c *car, t *columns.Table, ms []int64, a arrival, o origin) {
	s.scratch.group = jsonrow.AppendString(s.scratch.group[:0], t.Group.Name)
	for i := range t.Columns {
		col := &t.Columns[i]
		s.scratch.key = jsonrow.AppendString(s.scratch.key[:0], col.Channel.Field)
		ch := c.byKey[string(s.scratch.key)]
		switch {
		case o.to == late && ch == nil:
			continue
		case o.to != late:
			known := ch != nil
			if ch = s.channel(c, s.scratch.key, s.scratch.group); ch == nil {
				s.n.ChannelsDropped++
				continue
			}
			if !known {
				ch.tell(&col.Channel.Channel)
				c.place.stale = true
				s.chartAlike(c, ch, o.nowMS)
			}
		}
		s.scratch.values = floats(s.scratch.values[:0], col)
		last := -1
		for k, v := range s.scratch.values {
			row := k
			if col.Rows != nil {
				row = int(col.Rows[k])
			}
			ch.plot(ms[row], v)
			if !math.IsNaN(v) && !math.IsInf(v, 0) && (last < 0 || ms[row] >= a.tsMS) {
				last, a.tsMS = k, ms[row]
			}
		}
		if last >= 0 && o.to != late {
			if !a.synced {
				a.tsMS = o.nowMS
			}
			ch.show(c, s.scratch.values[last], a)
		}
		a.tsMS = 0
	}
	if o.to != late {
		c.place.table(c, t, ms)
	}
}

// floats appends a column's values.
func floats(dst []float64, col *columns.Column) []float64 {
	switch col.Kind {
	case columns.Int:
		for _, v := range col.Ints {
			dst = append(dst, float64(v))
		}
	case columns.Uint:
		for _, v := range col.Uints {
			dst = append(dst, float64(v))
		}
	case columns.Float32:
		for _, v := range col.Float32 {
			dst = append(dst, float64(v))
		}
	default:
		dst = append(dst, col.Float64...)
	}
	return dst
}

func floorMS(ns int64) int64 { return sequence.FloorMS(ns) }

// Arrivals shows batches before they are in order, which may be long before they
// are in a topic. One goroutine owns it.
type Arrivals struct {
	s      *Server
	reader *columns.Reader
}

// Arrivals returns what shows the batches of one goroutine; see [Server.Watched].
// The batches of one car must all go to the same.
func (s *Server) Arrivals() *Arrivals {
	return &Arrivals{s: s, reader: columns.NewReader(nil, jsonrow.Reserved()...)}
}

// Show shows the values of a batch, which needs no clock: the rows in order of the
// same epoch tell the time. It keeps nothing of b.
func (a *Arrivals) Show(b *sequence.Batch) error {
	now := time.Now().UnixMilli()
	o := origin{to: preview, source: -1, hash: b.Hash, nowMS: now}
	_, err := a.reader.Read(b, func(t *columns.Table) error {
		a.s.store.table(b.ID, t, func(c *car, t *columns.Table, row int) (int64, bool) { return c.clock.at(t.Boot[row], now) }, o)
		return nil
	})
	return err
}

// asWritten takes the times that stand in a table, and leaves the car's clock alone.
func asWritten(_ *car, t *columns.Table, row int) (int64, bool) { return t.UTC[row], t.Clock.Synced }

// Catalogue cache.
const (
	maxKnownCatalogues = 256
	// catalogueUnknown is how long a catalogue that could not be read is left alone.
	catalogueUnknown = time.Second
)

// KnownCatalogues remembers the catalogues that have been read, for one goroutine.
type KnownCatalogues struct {
	source  Catalogues
	known   map[wire.CatalogueHash]*wire.Catalogue
	kept    int // bytes of known
	unknown map[wire.CatalogueHash]time.Time
}

// NewKnownCatalogues returns a memory of what source has; source may be nil.
func NewKnownCatalogues(source Catalogues) *KnownCatalogues {
	return &KnownCatalogues{source: source, known: map[wire.CatalogueHash]*wire.Catalogue{}, unknown: map[wire.CatalogueHash]time.Time{}}
}

var errNoCatalogue = errors.New("live: no such catalogue")

// Of returns a catalogue, nil when it is not to be had now.
func (k *KnownCatalogues) Of(ctx context.Context, h wire.CatalogueHash) *wire.Catalogue {
	if c := k.known[h]; c != nil || k.source == nil {
		return c
	}
	if at, ok := k.unknown[h]; ok && time.Since(at) < catalogueUnknown {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, catalogueUnknown)
	defer cancel()
	c, err := read(ctx, k.source, h)
	if err != nil {
		if len(k.unknown) >= maxKnownCatalogues {
			clear(k.unknown)
		}
		k.unknown[h] = time.Now()
		return nil
	}
	n := c.Size()
	if len(k.known) >= maxKnownCatalogues || k.kept+n > wire.MaxKeptBytes {
		clear(k.known)
		k.kept = 0
	}
	k.known[h] = c
	k.kept += n
	delete(k.unknown, h)
	return c
}

// read reads one catalogue.
func read(ctx context.Context, source Catalogues, h wire.CatalogueHash) (*wire.Catalogue, error) {
	b, ok, err := source.Get(ctx, h)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, errNoCatalogue
	}
	return wire.ParseCatalogue(b)
}

// clockLine maps the boot clock to UTC between the first and the last instant of a
// batch.
type clockLine struct {
	firstNS, lastNS   int64 // since boot
	firstUTC, lastUTC int64
	synced            bool
}

func (l *clockLine) stamp(bootNS int64) (utcNS int64, synced bool) {
	utcNS = l.firstUTC + bootNS - l.firstNS
	if span := l.lastNS - l.firstNS; span > 0 {
		slew := (l.lastUTC - l.firstUTC) - span // small: a slewed clock's
		utcNS += int64(float64(slew) * float64(bootNS-l.firstNS) / float64(span))
	}
	return utcNS, l.synced
}
