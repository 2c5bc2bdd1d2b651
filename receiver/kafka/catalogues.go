package kafka

import (
	"context"
	"fmt"
	"hash/crc32"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Catalogues reads the topic of catalogues, in which each stands in parts. It is
// safe for concurrent use and implements ingest.Catalogues.
type Catalogues struct {
	c *Cluster

	turn chan struct{} // holds one token; who has it owns the rest
	pos  int64         // read up to here
	book book
	keep []keptCatalogue // the newest complete ones
}

type keptCatalogue struct {
	hash      wire.CatalogueHash
	canonical []byte
}

// keptCatalogues is how many catalogues stay in memory; others are read again.
const keptCatalogues = 8

func newCatalogues(c *Cluster) *Catalogues {
	t := &Catalogues{c: c, turn: make(chan struct{}, 1), book: newBook()}
	t.turn <- struct{}{}
	return t
}

// Follow calls known for each whole catalogue in the topic and for each that is
// added until ctx ends, and caughtUp once, when everything that was there at the
// start has been told. It returns nil when ctx ends.
func (t *Catalogues) Follow(ctx context.Context, known func(h wire.CatalogueHash, canonical []byte), caughtUp func()) error {
	b := newBook()
	take := func(r topic.Record) error {
		if h, canonical, ok := b.add(r.Key, r.Value); ok {
			known(h, canonical)
		}
		return nil
	}
	ends, err := t.c.Read(ctx, t.c.names.Catalogues, nil, take)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	if caughtUp != nil {
		caughtUp()
	}
	return t.c.Follow(ctx, t.c.names.Catalogues, ends, take)
}

// Get returns the canonical bytes of a catalogue. When the hash is not known, it
// reads the topic up to an end taken after the call began; ok is false when it is
// not there either. The bytes must not be changed.
func (t *Catalogues) Get(ctx context.Context, h wire.CatalogueHash) (canonical []byte, ok bool, err error) {
	select {
	case <-t.turn:
		defer func() { t.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	if b := t.kept(h); b != nil {
		return b, true, nil
	}
	if t.book.done[h] { // read before, not kept
		found, _, err := t.scan(ctx, h, 0, newBook())
		return found, found != nil, err
	}
	found, end, err := t.scan(ctx, h, t.pos, t.book)
	if err == nil { // only what the book has taken counts as read
		t.pos = end
	}
	return found, found != nil, err
}

// scan reads the topic from an offset to its end into a book, and returns a
// catalogue, nil if it is not there, and the end.
func (t *Catalogues) scan(ctx context.Context, want wire.CatalogueHash, from int64, b book) (found []byte, end int64, err error) {
	r := t.c.reader(t.c.names.Catalogues, 0, from)
	if end, err = r.list(ctx, listEnd); err != nil {
		return nil, from, err
	}
	err = r.readTo(ctx, end, func(k *kgo.Record) error {
		if h, canonical, whole := b.add(k.Key, k.Value); whole {
			t.remember(h, canonical)
			if h == want {
				found = canonical
			}
		}
		return nil
	})
	if err != nil {
		return nil, from, fmt.Errorf("kafka: read catalogues: %w", err)
	}
	return found, max(from, end), nil
}

func (t *Catalogues) kept(h wire.CatalogueHash) []byte {
	for i := range t.keep {
		if t.keep[i].hash == h {
			return t.keep[i].canonical
		}
	}
	return nil
}

func (t *Catalogues) remember(h wire.CatalogueHash, canonical []byte) {
	if t.kept(h) != nil {
		return
	}
	if len(t.keep) >= keptCatalogues {
		t.keep = append(t.keep[:0], t.keep[1:]...)
	}
	t.keep = append(t.keep, keptCatalogue{h, canonical})
}

// book joins the parts of catalogues. Parts of one catalogue that were
// compressed differently are never mixed: the key names the compression.
type book struct {
	open map[string]*bookEntry
	done map[wire.CatalogueHash]bool
}

type bookEntry struct{ joiner wire.CatalogueJoiner }

func newBook() book {
	return book{open: map[string]*bookEntry{}, done: map[wire.CatalogueHash]bool{}}
}

// add takes a record; whole is true when it completes a catalogue that was not
// complete before. Records that are no parts are skipped.
func (b book) add(key, value []byte) (h wire.CatalogueHash, canonical []byte, whole bool) {
	p, set, err := parseCatalogueKey(string(key))
	if err != nil || len(value) == 0 || b.done[p.Hash] {
		return p.Hash, nil, false
	}
	p.Data = value
	e := b.open[set]
	if e == nil {
		e = &bookEntry{}
		b.open[set] = e
	}
	canonical, whole, err = e.joiner.Add(&p)
	if err != nil || !whole {
		return p.Hash, nil, false
	}
	delete(b.open, set)
	b.done[p.Hash] = true
	return p.Hash, canonical, true
}

// parseCatalogueKey reads "<hash>/<crc>/<index>/<count>"; set names the parts
// that belong together.
func parseCatalogueKey(key string) (p wire.CataloguePart, set string, err error) {
	fields := strings.Split(key, "/")
	if len(fields) != 4 {
		return p, "", fmt.Errorf("kafka: %q is not the key of a catalogue part", key)
	}
	if p.Hash, err = wire.ParseCatalogueHash(fields[0]); err != nil {
		return p, "", err
	}
	index, count := decimal(fields[2]), decimal(fields[3])
	if index < 0 || index >= count || count > 1<<15 {
		return p, "", fmt.Errorf("kafka: %q is not the key of a catalogue part", key)
	}
	p.Index, p.Count = uint16(index), uint16(count)
	return p, fields[0] + "/" + fields[1] + "/" + fields[3], nil
}

// decimal reads a number of at most five digits, -1 for anything else.
func decimal(s string) int {
	if s == "" || len(s) > 5 {
		return -1
	}
	n := 0
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return -1
		}
		n = 10*n + int(c-'0')
	}
	return n
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)
