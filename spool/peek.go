package spool

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"path/filepath"
)

// peekWorkers is how many chunks are read at once at a start: a cold card answers
// eight questions almost as fast as one.
const peekWorkers = 8

// peeked is what one chunk's directory and file hold. Nothing was changed.
type peeked struct {
	foreign []string // names that are no segment file
	size    int64
	scan    scanned
	vouched *vouched // not nil: the table's word is good, and nothing else was read
	err     error
}

// newest is how many chunks of a lane are read whole at a start although the table
// vouches for them, so that most damage has a name at once.
const newest = 5

// peekAll reads chunks, several at a time, and yields them in order. Those that the
// table vouches for are hardly looked at, but for the last ones.
func (s *Spool) peekAll(cs []*chunk, table map[chunkKey]vouched) iter.Seq2[*chunk, peeked] {
	return func(yield func(*chunk, peeked) bool) {
		results := make([]chan peeked, len(cs))
		next := 0
		launch := func() {
			if next == len(cs) {
				return
			}
			i := next
			next++
			results[i] = make(chan peeked, 1)
			go func() { results[i] <- s.glance(cs[i], table, len(cs)-i <= newest) }() // ends by itself, received below
		}
		for range min(peekWorkers, len(cs)) {
			launch()
		}
		for i, c := range cs {
			p := <-results[i]
			results[i] = nil
			launch()
			if !yield(c, p) { // recovery always goes to the end
				for ; i+1 < next; i++ {
					<-results[i+1]
				}
				return
			}
		}
	}
}

// glance asks the table about a chunk, and reads it if that says nothing: a chunk
// enters the table when all of it is durable, so any other may be unfinished, however
// many empty ones stand behind it.
func (s *Spool) glance(c *chunk, table map[chunkKey]vouched, last bool) peeked {
	if v, ok := table[chunkKey{c.lane, c.no}]; ok && !last && s.vouch(c, &v) {
		return peeked{vouched: &v}
	}
	return s.peek(c)
}

// peek reads what a chunk holds, payloads included. A card that refuses something is
// asked again: what it does not give counts as damaged, and what a start calls lost is
// not sent any more once the cloud knows.
func (s *Spool) peek(c *chunk) (p peeked) {
	for again, n := true, 0; again && n < readTries; n++ {
		p, again = s.peekOnce(c)
	}
	return p
}

// peekOnce is peek without patience; again reports that the card refused something.
func (s *Spool) peekOnce(c *chunk) (p peeked, again bool) {
	es, err := s.disk.ReadDir(c.path)
	if err != nil {
		p.err = err
		return p, true
	}
	for _, e := range es {
		if e.Name == SegmentName && !e.IsDir {
			p.size = e.Size
			continue
		}
		p.foreign = append(p.foreign, e.Name)
	}
	f, err := s.disk.Open(filepath.Join(c.path, SegmentName))
	if errors.Is(err, fs.ErrNotExist) {
		return p, false
	}
	if err != nil {
		p.err = err
		return p, true
	}
	defer f.Close()
	if p.size == 0 { // or the directory could not tell
		if p.size, p.err = f.Size(); p.err != nil || p.size == 0 {
			return p, p.err != nil
		}
	}
	w := &watched{File: f}
	p.scan = scan(w, p.size, true)
	return p, w.err != nil
}

// take judges what peek found. ok is false when nothing of the chunk can be used;
// then it is gone or in quarantine.
func (s *Spool) take(c *chunk, p peeked) (sc scanned, ok bool) {
	for _, name := range p.foreign {
		_ = s.quarantine(filepath.Join(c.path, name), fmt.Sprintf("%s-%s-%s", c.lane, chunkName(c.no), name)) // logged there
	}
	if p.err != nil {
		s.blind = true
		s.log.Warn("chunk not readable", "chunk", c.path, "err", p.err)
		return sc, false
	}
	if p.size == 0 { // opened and never written
		s.remove(c.path)
		return sc, false
	}
	return p.scan, true
}
