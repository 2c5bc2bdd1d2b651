package uplink

import (
	"encoding/binary"
	"errors"
	"slices"
	"sort"

	"telemetry/wire"
)

// simStore is a spool that holds everything in memory.
type simStore struct {
	items     [wire.LaneFull + 1][]wire.Item
	settled   map[wire.ID]bool
	refused   map[wire.ID]bool
	bad       map[wire.ID]int // reads that still fail
	catalogue map[wire.CatalogueHash][]byte
	wake      chan struct{}
	base      map[wire.Stream]uint64 // answer of Base, when set
}

func newSimStore() *simStore {
	return &simStore{settled: map[wire.ID]bool{}, refused: map[wire.ID]bool{}, bad: map[wire.ID]int{}, catalogue: map[wire.CatalogueHash][]byte{}, base: map[wire.Stream]uint64{}, wake: make(chan struct{}, 1)}
}

func idLess(a, b wire.ID) bool {
	if a.Stream.Epoch.Counter != b.Stream.Epoch.Counter {
		return a.Stream.Epoch.Counter < b.Stream.Epoch.Counter
	}
	return a.Seq < b.Seq
}

func (s *simStore) add(it wire.Item) { l := it.ID.Stream.Lane; s.items[l] = append(s.items[l], it) }

func (s *simStore) Next(l wire.Lane, after wire.ID) (wire.Item, bool) {
	return s.NextIn(l, after, -1<<62, 1<<62)
}

func (s *simStore) NextIn(l wire.Lane, after wire.ID, from, to int64) (wire.Item, bool) {
	items := s.items[l]
	i := sort.Search(len(items), func(i int) bool { return idLess(after, items[i].ID) })
	for ; i < len(items); i++ {
		if items[i].FirstNS <= to && from <= items[i].LastNS {
			return items[i], true
		}
	}
	return wire.Item{}, false
}

func (s *simStore) drop(id wire.ID) bool {
	items := s.items[id.Stream.Lane]
	i := slices.IndexFunc(items, func(it wire.Item) bool { return it.ID == id })
	if i < 0 {
		return false
	}
	s.items[id.Stream.Lane] = slices.Delete(items, i, i+1)
	return true
}

var errSimGone = errors.New("sim: gone")

// Read gives bytes that start with the identity, so that the simulated ingest
// knows what it got.
func (s *simStore) Read(id wire.ID, dst []byte) ([]byte, error) {
	items := s.items[id.Stream.Lane]
	i, _ := slices.BinarySearchFunc(items, id, func(it wire.Item, id wire.ID) int {
		switch {
		case idLess(it.ID, id):
			return -1
		case idLess(id, it.ID):
			return 1
		}
		return 0
	})
	if i == len(items) || items[i].ID != id {
		return dst, errSimGone
	}
	if s.bad[id] > 0 {
		s.bad[id]--
		return dst, errors.New("sim: read error")
	}
	start := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, id.Stream.Epoch.Counter)
	dst = binary.BigEndian.AppendUint64(dst, id.Stream.Epoch.Nonce)
	dst = append(dst, byte(id.Stream.Lane))
	dst = binary.BigEndian.AppendUint64(dst, id.Seq)
	return append(dst, make([]byte, max(0, items[i].Size-(len(dst)-start)))...), nil
}

func (s *simStore) Base(st wire.Stream) uint64 {
	if b, ok := s.base[st]; ok {
		return b
	}
	if it, ok := s.Next(st.Lane, wire.ID{Stream: st}); ok && it.ID.Stream == st {
		return it.ID.Seq
	}
	return 1 << 40
}

func (s *simStore) Settle(st wire.Stream, durable wire.Ranges) {
	for _, it := range slices.Clone(s.items[st.Lane]) {
		if it.ID.Stream == st && durable.Contains(it.ID.Seq) {
			s.drop(it.ID)
			s.settled[it.ID] = true
		}
	}
}

func (s *simStore) Refuse(id wire.ID, _ wire.Reason) { s.drop(id); s.refused[id] = true }
func (s *simStore) Wake() <-chan struct{}            { return s.wake }

func (s *simStore) Catalogue(h wire.CatalogueHash) ([]byte, error) {
	if c, ok := s.catalogue[h]; ok {
		return c, nil
	}
	return nil, errors.New("sim: unknown catalogue")
}

func simParse(payload []byte) (wire.Send, wire.ID) {
	hdr, n, err := wire.ParseSend(payload)
	if err != nil {
		panic(err)
	}
	b := payload[n:]
	return hdr, wire.ID{Stream: wire.Stream{Car: simCar, Lane: wire.Lane(b[12]), Epoch: wire.Epoch{Counter: binary.BigEndian.Uint32(b), Nonce: binary.BigEndian.Uint64(b[4:])}}, Seq: binary.BigEndian.Uint64(b[13:])}
}
