package spool

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"
	"unsafe"

	"telemetry/wire"
)

// bigStream has n pending batches in chunks of 64, event time 10·seq.
func bigStream(n int) *stream {
	st := &stream{ours: true}
	var c *chunk
	for i := range n {
		if i%64 == 0 {
			c = &chunk{lane: wire.LaneFull, no: uint64(i / 64)}
		}
		st.add(c, entry{seq: uint64(i + 1), first: int64(i) * 10, last: int64(i)*10 + 9, size: 16 << 10})
	}
	return st
}

func TestEntryIsSmall(t *testing.T) {
	if got := unsafe.Sizeof(entry{}); got > 64 {
		t.Errorf("a pending batch takes %d bytes, want at most 64", got)
	}
}

// TestIndexAgainstModel compares the index with a plain map under random calls.
func TestIndexAgainstModel(t *testing.T) {
	for seed := range 200 {
		rnd := rand.New(rand.NewPCG(uint64(seed), 4))
		st := &stream{}
		model := map[uint64]entry{}
		var c *chunk
		top := uint64(0)
		for range 300 {
			switch rnd.IntN(4) {
			case 0, 1:
				if c == nil || rnd.IntN(9) == 0 {
					c = &chunk{}
				}
				top += 1 + uint64(rnd.IntN(8)/7)
				at := int64(top)*10 - int64(rnd.IntN(40))
				e := entry{seq: top, first: at, last: at + int64(rnd.IntN(30))}
				st.add(c, e)
				model[top] = e
			case 2:
				first := uint64(rnd.IntN(int(top + 2)))
				last := first + uint64(rnd.IntN(6))
				st.take(first, last, false, func(_ *chunk, e entry) {
					if model[e.seq] != e {
						t.Fatalf("seed %d: took %+v", seed, e)
					}
					delete(model, e.seq)
				})
				for seq := first; seq <= last; seq++ {
					if _, ok := model[seq]; ok {
						t.Fatalf("seed %d: %d was not taken", seed, seq)
					}
				}
			case 3:
				from := uint64(rnd.IntN(int(top + 2)))
				lo := int64(rnd.IntN(int(top*10 + 1)))
				hi := lo + int64(rnd.IntN(100))
				checkNext(t, st, model, top, from, lo, hi)
			}
		}
		if got := st.held().Count(); got != uint64(len(model)) || st.pending != len(model) {
			t.Fatalf("seed %d: holds %d, pending %d, want %d", seed, got, st.pending, len(model))
		}
	}
}

func checkNext(t *testing.T, st *stream, model map[uint64]entry, top, from uint64, lo, hi int64) {
	t.Helper()
	var want, wantIn uint64
	for seq := from; seq <= top; seq++ {
		e, ok := model[seq]
		if ok && want == 0 {
			want = seq
		}
		if ok && wantIn == 0 && e.last >= lo && e.first <= hi {
			wantIn = seq
		}
	}
	if e, _ := st.nextFrom(from); e.seq != want {
		t.Fatalf("next from %d: %d, want %d", from, e.seq, want)
	}
	if e, _, _ := st.nextInTime(from, lo, hi); e.seq != wantIn {
		t.Fatalf("next from %d in %d..%d: %d, want %d", from, lo, hi, e.seq, wantIn)
	}
}

func BenchmarkNextAtOneMillion(b *testing.B) {
	st := bigStream(1 << 20)
	b.ReportAllocs()
	seq := uint64(0)
	for b.Loop() {
		e, ok := st.nextFrom(seq + 1)
		if seq = e.seq; !ok {
			seq = 0
		}
	}
}

func BenchmarkNextInAtOneMillion(b *testing.B) {
	st := bigStream(1 << 20)
	b.ReportAllocs()
	at := int64(0)
	for b.Loop() {
		at = (at + 7919*10) % (10 << 20)
		if _, _, ok := st.nextInTime(1, at, at); !ok {
			b.Fatal("not found")
		}
		if _, _, ok := st.nextInTime(uint64(at/10)+2, at, at); ok {
			b.Fatal("found what is not there")
		}
	}
}

func BenchmarkSettleAtOneMillion(b *testing.B) {
	st := bigStream(1 << 20)
	b.ReportAllocs()
	seq := uint64(1)
	for b.Loop() {
		st.take(seq, seq+9, false, func(*chunk, entry) {})
		seq += 10
	}
}

type bytesFile struct{ *bytes.Reader }

func (f bytesFile) Close() error         { return nil }
func (f bytesFile) Size() (int64, error) { return f.Reader.Size(), nil }

// FuzzScan: whatever a segment file holds, the scan ends, names only valid
// batches, and finds all of them again in what a salvage writes.
func FuzzScan(f *testing.F) {
	var s wire.Sealer
	var seg []byte
	for i := range uint64(5) {
		id := wire.ID{Stream: wire.Stream{Car: "c", Epoch: wire.Epoch{Counter: 1, Nonce: 2}, Lane: wire.LaneFull}, Seq: i + 1}
		b, err := s.Seal(nil, id, wire.Body{Lane: wire.LaneFull, Samples: 1, Payload: bytes.Repeat([]byte{byte(i)}, 50)})
		if err != nil {
			f.Fatal(err)
		}
		seg = append(append(seg, byte(len(b))), b...)
	}
	f.Add(seg)
	f.Add(seg[:len(seg)-7])
	f.Add(append(bytes.Clone(seg), make([]byte, 300)...))
	f.Add(append(append(bytes.Clone(seg[:100]), 0xff, 0xff, 0xff), seg...))
	f.Fuzz(func(t *testing.T, b []byte) {
		file := bytesFile{bytes.NewReader(b)}
		for _, deep := range []bool{false, true} {
			sc := scan(file, int64(len(b)), deep)
			at := int64(-1)
			for _, r := range sc.records {
				if r.off <= at || r.off+int64(r.header.Size()) > int64(len(b)) {
					t.Fatalf("record at %d behind %d of %d", r.off, at, len(b))
				}
				at = r.off
				h, err := wire.ParseHeader(b[r.off:])
				if err != nil || h.ID() != r.header.ID() {
					t.Fatalf("record at %d: %v", r.off, err)
				}
			}
			if sc.end > int64(len(b)) || sc.tail() < 0 {
				t.Fatalf("end %d of %d", sc.end, len(b))
			}
		}
	})
}

// FuzzStateFiles: parse and encode again gives the same bytes.
func FuzzStateFiles(f *testing.F) {
	id := identity{car: "car-7", epoch: wire.Epoch{Counter: 9, Nonce: 8}, lineage: []wire.Epoch{{Counter: 1, Nonce: 2}, {Counter: 3, Nonce: 4}}}
	f.Add(id.encode())
	f.Add(encodeCursor([]cursorStream{{epoch: id.epoch, lane: wire.LaneFull, high: 900, settled: wire.Ranges{{First: 1, Last: 5}, {First: 9, Last: 700}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := parseIdentity(b); err == nil && !bytes.Equal(v.encode(), b) {
			t.Errorf("identity %x became %x", b, v.encode())
		}
		if v, err := parseCursor(b); err == nil {
			again, err := parseCursor(encodeCursor(v))
			if err != nil || len(again) != len(v) {
				t.Errorf("cursor %x: %v", b, err)
			}
		}
	})
}

// TestLineageCutIsSaid: beyond the limit those go first of which nothing is held, and
// the report counts them.
func TestLineageCutIsSaid(t *testing.T) {
	var five []wire.Epoch
	for i := range uint32(5) {
		five = append(five, wire.Epoch{Counter: i + 1, Nonce: 7})
	}
	for _, tc := range []struct {
		name  string
		held  []uint32
		limit int
		want  []uint32
	}{
		{"all fit", nil, 5, []uint32{1, 2, 3, 4, 5}},
		{"the oldest go", nil, 3, []uint32{3, 4, 5}},
		{"but not what is held", []uint32{1, 3}, 3, []uint32{1, 3, 5}},
		{"unless all is held", []uint32{1, 2, 3, 4}, 2, []uint32{3, 4}},
	} {
		kept, cut := cutLineage(five, func(e wire.Epoch) bool { return slices.Contains(tc.held, e.Counter) }, tc.limit)
		var got []uint32
		for _, e := range kept {
			got = append(got, e.Counter)
		}
		if !slices.Equal(got, tc.want) || cut != 5-len(tc.want) {
			t.Errorf("%s: kept %v, cut %d", tc.name, got, cut)
		}
	}
	dir := t.TempDir()
	id := identity{car: "car-7", epoch: wire.Epoch{Counter: maxLineage + 10, Nonce: 1}}
	for i := range uint32(maxLineage) {
		id.lineage = append(id.lineage, wire.Epoch{Counter: i + 1, Nonce: 1})
	}
	file := slots{disk: OS(), dir: dir, name: "epoch", magic: "TSPE"}
	if err := file.store(id.encode()); err != nil {
		t.Fatal(err)
	}
	sp, rep, err := Open(Config{Dir: dir, Car: "car-7", Clock: still{}})
	if err != nil {
		t.Fatal(err)
	}
	if rep.LineageCut != 1 || rep.Predecessors != maxLineage || rep.Epoch.Counter != maxLineage+11 {
		t.Errorf("%+v", rep)
	}
	if err := sp.Close(); err != nil {
		t.Error(err)
	}
}

type still struct{}

func (still) BootNS() int64 { return 1 }
