package spool_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"filippo.io/age"

	"telemetry/spool"
	"telemetry/spool/atrest"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

// person is somebody with an identity.
type person struct{ identity, recipient string }

func newPerson(t *testing.T) person {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return person{id.String(), id.Recipient().String()}
}

// box is what opens and wraps for p and others.
func (p person) box(t *testing.T, others ...string) spool.KeyBox {
	t.Helper()
	b, err := atrest.Parse(strings.NewReader(p.identity), others)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// secretly is newRig with encryption at rest.
func secretly(t *testing.T) (r *rig, car, pit person) {
	t.Helper()
	r, car, pit = newRig(t), newPerson(t), newPerson(t)
	r.cfg.Keys = car.box(t, pit.recipient)
	return r, car, pit
}

// text is a payload that is easy to find.
func text(i int) []byte { return fmt.Appendf(nil, "brake bias %04d, brake bias %04d", i, i) }

func (r *rig) say(n int) (ids []wire.ID) {
	r.t.Helper()
	for i := range n {
		id, err := r.sp.Append(wire.Body{Lane: wire.LaneFull, FirstNS: int64(i), LastNS: int64(i), Samples: 1, Payload: text(i)})
		if err != nil {
			r.t.Fatal(err)
		}
		ids = append(ids, id)
	}
	r.sync()
	return ids
}

func (r *rig) mustHear(ids []wire.ID) {
	r.t.Helper()
	for i, id := range ids {
		sealed, err := r.sp.Read(id, []byte("head"))
		if err != nil {
			r.t.Fatalf("read %s: %v", id, err)
		}
		b, n, err := wire.Parse(sealed[4:])
		if err != nil || n != len(sealed)-4 || string(sealed[:4]) != "head" || !bytes.Equal(b.Payload, text(i)) {
			r.t.Fatalf("%s: %d bytes, %q, %v", id, n, b.Payload, err)
		}
	}
}

// walk calls f with every file of the disk.
func (r *rig) walk(f func(name string, b []byte)) {
	r.t.Helper()
	d := r.m.Boot()
	var down func(dir string)
	down = func(dir string) {
		es, err := d.ReadDir(dir)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, e := range es {
			name := filepath.Join(dir, e.Name)
			if e.IsDir {
				down(name)
			} else if err := r.m.Change(name, func(b []byte) []byte { f(name, b); return b }); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	down("spool")
}

// TestNothingIsInTheClear: neither data nor the names of channels stand on the card, over
// restarts and power cuts everything reads back, and the sizes that the uplink hears of
// are those of what it reads.
func TestNothingIsInTheClear(t *testing.T) {
	r, _, _ := secretly(t)
	r.boot()
	catalogue := []byte("brake bias is the name of a channel")
	hash, err := r.sp.PutCatalogue(catalogue)
	if err != nil {
		t.Fatal(err)
	}
	ids := r.say(60)
	for range 3 {
		r.walk(func(name string, b []byte) {
			if bytes.Contains(b, []byte("brake bias")) {
				t.Errorf("%s shows what it holds", name)
			}
		})
		r.mustHear(ids)
		if got, err := r.sp.Catalogue(hash); err != nil || !bytes.Equal(got, catalogue) {
			t.Errorf("catalogue: %q, %v", got, err)
		}
		for _, it := range all(r.sp, wire.LaneFull) {
			if b, err := r.sp.Read(it.ID, nil); err != nil || len(b) != it.Size {
				t.Errorf("%s: %d bytes told, %d read, %v", it.ID, it.Size, len(b), err)
			}
		}
		r.m.Cut(nil)
		r.boot()
		if r.rep.LostBatches+r.rep.LockedBatches != 0 || r.rep.Batches < len(ids) {
			t.Fatalf("report %+v", r.rep)
		}
	}
}

// TestLostKeyLosesNothing: without its key a car starts, sends what is new and holds what
// it cannot open; with the key, or with the one of the pit, all of it is there again.
func TestLostKeyLosesNothing(t *testing.T) {
	for _, tc := range []struct {
		name string
		keys func(car, pit person) spool.KeyBox
		hurt func(r *rig) // between the two starts
		lock bool
	}{
		{"no key configured", func(person, person) spool.KeyBox { return nil }, nil, true},
		{"a stranger's key", func(person, person) spool.KeyBox { return newPerson(t).box(t) }, nil, true},
		{"the pit's key", func(_, pit person) spool.KeyBox { return pit.box(t) }, nil, false},
		{"one key file rotten", func(car, _ person) spool.KeyBox { return car.box(t) }, func(r *rig) { r.keyFiles(".0", flipFirst) }, false},
		{"the other key file gone", func(car, _ person) spool.KeyBox { return car.box(t) }, func(r *rig) { r.keyFiles(".1", func([]byte) []byte { return nil }) }, false},
		{"both key files rotten", func(car, _ person) spool.KeyBox { return car.box(t) }, func(r *rig) { r.keyFiles("", flipFirst) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, car, pit := secretly(t)
			r.boot()
			ids := r.say(60)
			st := ids[0].Stream
			r.mustSettle(ids[:30]...)
			r.close()
			kept := map[string][]byte{}
			r.walk(func(name string, b []byte) { kept[name] = slices.Clone(b) })
			if tc.hurt != nil {
				tc.hurt(r)
			}
			r.cfg.Keys = tc.keys(car, pit)
			r.boot()
			if locked := r.rep.LockedBatches == 30 && r.sp.Stats().Locked == 30; locked != tc.lock {
				t.Fatalf("%d locked, %d in the counts", r.rep.LockedBatches, r.sp.Stats().Locked)
			}
			if !tc.lock {
				if _, err := r.sp.Read(ids[30], nil); err != nil {
					t.Error(err)
				}
				return
			}
			if got := data(r.sp, wire.LaneFull); len(got) != 0 || r.rep.LostBatches != 0 {
				t.Errorf("%v show, %d lost", got, r.rep.LostBatches)
			}
			if o, _ := r.open(); !slices.Equal(heldOf(o, st), wire.Ranges{{First: 31, Last: 60}}) || r.sp.Base(st) != 31 {
				t.Errorf("held %v, base %d", heldOf(o, st), r.sp.Base(st))
			}
			if losses, _ := r.losses(); len(losses) != 0 {
				t.Errorf("lost: %+v", losses[0])
			}
			fresh := r.put(wire.LaneFull, 5, 100, 1)
			r.sync()
			r.mustRead(fresh, 5, 100)
			r.mustSettle(fresh)
			r.close()
			for name, b := range kept { // as the box had them, before its key was lost
				if strings.Contains(name, "keys/") {
					_ = r.m.Change(name, func([]byte) []byte { return b })
				}
			}
			r.cfg.Keys = car.box(t)
			r.boot()
			if got := data(r.sp, wire.LaneFull); len(got) != 30 {
				t.Errorf("with the key %v show", got)
			}
		})
	}
}

// keyFiles changes the key files with a suffix.
func (r *rig) keyFiles(suffix string, f func([]byte) []byte) {
	r.t.Helper()
	es, err := r.m.Boot().ReadDir("spool/keys")
	if err != nil {
		r.t.Fatal(err)
	}
	for _, e := range es {
		if strings.HasSuffix(e.Name, suffix) {
			if err := r.m.Change("spool/keys/"+e.Name, f); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func heldOf(o *wire.EpochOpen, st wire.Stream) wire.Ranges {
	rs, _ := held(o, st)
	return rs
}

// TestQuotaTakesLockedChunks: what no key opens must not fill the card for ever.
func TestQuotaTakesLockedChunks(t *testing.T) {
	r, _, _ := secretly(t)
	r.cfg.QuotaBytes = 6 * r.cfg.ChunkBytes
	r.boot()
	old := r.fill(20)
	r.m.Cut(nil)
	r.cfg.Keys = nil
	r.boot()
	if r.rep.LockedBatches != 20 {
		t.Fatalf("report %+v", r.rep)
	}
	r.fill(40)
	losses, _ := r.losses()
	if !named(losses, old[0], wire.ReasonQuota) || r.sp.Stats().Locked >= 20 {
		t.Errorf("losses %v, %d locked", losses, r.sp.Stats().Locked)
	}
}

// recut gives a record other bytes and right checksums.
func recut(t *testing.T, b []byte, at int, f func(header, payload []byte)) {
	t.Helper()
	h, err := wire.ParseHeader(b[at:])
	if err != nil {
		t.Fatal(err)
	}
	header, payload := b[at:at+h.HeaderLen], b[at+h.HeaderLen:at+h.Size()]
	f(header, payload)
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(header[12:], crc32.Checksum(payload, table))
	binary.LittleEndian.PutUint32(header[len(header)-4:], crc32.Checksum(header[:len(header)-4], table))
	if _, _, err := wire.Parse(b[at:]); err != nil {
		t.Fatalf("the forgery is no batch: %v", err)
	}
}

// TestForgedRecords: whoever can write to the card can make checksums right. What was
// changed is never taken for data; it becomes a loss. Records that only moved are whole.
func TestForgedRecords(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(t *testing.T, b []byte, at []int)
		lost   []int // indexes of the batches
	}{
		{"a byte of the ciphertext", func(t *testing.T, b []byte, at []int) {
			recut(t, b, at[1], func(_, p []byte) { p[40] ^= 1 })
		}, []int{1}},
		{"the tag", func(t *testing.T, b []byte, at []int) {
			recut(t, b, at[1], func(_, p []byte) { p[len(p)-1] ^= 1 })
		}, []int{1}},
		{"the algorithm", func(t *testing.T, b []byte, at []int) {
			recut(t, b, at[1], func(_, p []byte) { p[2] ^= 3 }) // behind the section's type and length: one becomes the other
		}, []int{1}},
		{"an algorithm that nobody knows", func(t *testing.T, b []byte, at []int) {
			recut(t, b, at[1], func(_, p []byte) { p[2] = 77 })
		}, []int{1}},
		{"the chunk's number", func(t *testing.T, b []byte, at []int) {
			recut(t, b, at[1], func(_, p []byte) { p[3]++ })
		}, []int{1}},
		{"the event time in the clear", func(t *testing.T, b []byte, at []int) {
			recut(t, b, at[1], func(h, _ []byte) { h[len(h)-5-len("car-7")-2] ^= 2 })
		}, []int{1}},
		{"the flag of control records", func(t *testing.T, b []byte, at []int) {
			recut(t, b, at[1], func(h, _ []byte) { h[6] |= 4 })
		}, nil},
		{"two payloads change places", func(t *testing.T, b []byte, at []int) {
			var first []byte
			recut(t, b, at[1], func(_, p []byte) { first = slices.Clone(p) })
			recut(t, b, at[2], func(_, p []byte) { first, _ = slices.Clone(p), copy(p, first) })
			recut(t, b, at[1], func(_, p []byte) { copy(p, first) })
		}, []int{1, 2}},
		{"two records change places", func(t *testing.T, b []byte, at []int) {
			one, two := slices.Clone(b[at[1]-1:at[2]-1]), slices.Clone(b[at[2]-1:at[3]-1])
			copy(b[at[1]-1:], append(two, one...))
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, _, _ := secretly(t)
			r.boot()
			ids := r.say(6)
			r.close()
			seg := r.segments(wire.LaneFull)[0]
			if err := r.m.Change(seg, func(b []byte) []byte { tc.change(t, b, offsets(b)); return b }); err != nil {
				t.Fatal(err)
			}
			r.boot()
			for i, id := range ids {
				sealed, err := r.sp.Read(id, nil)
				if lost := errors.Is(err, spool.ErrGone); lost != slices.Contains(tc.lost, i) {
					t.Errorf("%s: %v", id, err)
					continue
				}
				if b, _, perr := wire.Parse(sealed); err == nil && (perr != nil || !bytes.Equal(b.Payload, text(i))) {
					t.Errorf("%s reads %q, %v", id, b.Payload, perr)
				}
			}
			r.sync()
			losses, _ := r.losses()
			for _, i := range tc.lost {
				if !named(losses, ids[i], wire.ReasonCorrupt) {
					t.Errorf("%s has no loss record", ids[i])
				}
			}
		})
	}
}

// TestSwappedChunksAreWhole: two chunk directories change their names. The numbers of
// batches are under the seal, so that nothing can be taken for something else.
func TestSwappedChunksAreWhole(t *testing.T) {
	r, _, _ := secretly(t)
	r.boot()
	ids := r.say(160)
	r.close()
	segs := r.segments(wire.LaneFull)
	a, b := filepath.Dir(segs[0]), filepath.Dir(segs[1])
	d := r.m.Boot()
	for _, m := range [][2]string{{a, "spool/aside"}, {b, a}, {"spool/aside", b}} {
		if err := errors.Join(d.Rename(m[0], m[1]), d.SyncDir("spool"), d.SyncDir("spool/full")); err != nil {
			t.Fatal(err)
		}
	}
	r.boot()
	r.mustHear(ids)
	if r.rep.LostBatches != 0 || r.rep.LockedBatches != 0 {
		t.Errorf("report %+v", r.rep)
	}
}

// TestPlainBatchesWhereOnlyEncryptedCount: a batch in the clear under the name of an
// encrypted one is no data where the configuration says so, and is where it does not:
// then it may be from before encryption was wanted.
func TestPlainBatchesWhereOnlyEncryptedCount(t *testing.T) {
	for _, only := range []bool{false, true} {
		r := newRig(t)
		r.boot()
		ids := r.say(6)
		r.close()
		r.cfg.Keys, r.cfg.EncryptedOnly = newPerson(t).box(t), only
		r.boot()
		for _, id := range ids {
			if _, err := r.sp.Read(id, nil); errors.Is(err, spool.ErrGone) != only {
				t.Errorf("only %v: %v", only, err)
			}
		}
		r.sync()
		if losses, _ := r.losses(); named(losses, ids[3], wire.ReasonCorrupt) != only {
			t.Errorf("only %v: %v", only, losses)
		}
	}
}

// ears is a disk that remembers every record that was ever written.
type ears struct {
	spool.Disk
	mu   *sync.Mutex
	seen map[string]string // chunk and number of a batch to its bytes
	dup  *int              // how often a batch came again to the same chunk
	t    *testing.T
}

func (d ears) OpenLog(dir string, n int) (spool.Log, error) {
	l, err := d.Disk.OpenLog(dir, n)
	return earLog{l, d, dir}, err
}

type earLog struct {
	spool.Log
	d   ears
	dir string
}

func (l earLog) Append(records [][]byte) error {
	l.d.mu.Lock()
	for _, r := range records {
		h, err := wire.ParseHeader(r)
		if err != nil {
			l.d.t.Error(err)
		}
		if h.Control {
			continue
		}
		key := fmt.Sprint(l.dir, h.ID())
		if old, ok := l.d.seen[key]; ok {
			*l.d.dup++
			if old != string(r) {
				l.d.t.Errorf("%s: another text under the same key and nonce", key)
			}
		}
		l.d.seen[key] = string(r)
	}
	l.d.mu.Unlock()
	return l.Log.Append(records)
}

// TestNoNonceTwice: over errors of the disk, power cuts, torn tails and restarts no two
// different texts are ever encrypted with the key and the nonce of one another: the same
// batch in the same chunk is the same bytes, and its bytes differ from chunk to chunk.
func TestNoNonceTwice(t *testing.T) {
	r, _, _ := secretly(t)
	d := ears{mu: &sync.Mutex{}, seen: map[string]string{}, dup: new(int), t: t}
	bodies := map[string][]string{}
	for life := range 12 {
		d.Disk = r.m.Boot()
		r.cfg.Disk = d
		sp, _, err := spool.Open(r.cfg)
		if err != nil {
			t.Fatal(err)
		}
		r.sp = sp
		n := 0
		r.m.SetFault(func(op spooltest.Op) error {
			if op.Kind == "append" || op.Kind == "sync" || op.Kind == "truncate" {
				if n++; n%5 == life%5 {
					return errInjected
				}
			}
			return nil
		})
		for i := range 30 {
			if _, err := sp.Append(wire.Body{Lane: wire.LaneFull, Samples: 1, Payload: noise(uint64(life*100+i), 500)}); err != nil {
				t.Fatal(err)
			}
			if i%3 == 2 {
				_ = sp.Sync(t.Context()) // may fail where two faults meet
			}
		}
		r.m.SetFault(nil)
		r.m.Cut(nil)
	}
	for key, b := range d.seen {
		id := key[strings.Index(key, "car-7"):]
		h, err := wire.ParseHeader([]byte(b))
		if err != nil {
			t.Fatal(err)
		}
		bodies[id] = append(bodies[id], b[h.HeaderLen+12:]) // behind type, length, algorithm and chunk
	}
	again := 0
	for id, bs := range bodies {
		slices.Sort(bs)
		again += len(bs) - 1
		if len(slices.Compact(bs)) != len(bs) {
			t.Errorf("%s has the same ciphertext in two chunks", id)
		}
	}
	if again < 20 {
		t.Errorf("only %d batches were written a second time", again)
	}
}

// TestEncryptedViews: a view without keys sees names and checksums, and counts what it
// cannot read; with them it reads, and finds what was forged.
func TestEncryptedViews(t *testing.T) {
	r, car, pit := secretly(t)
	r.boot()
	ids := r.say(6)
	r.close()
	seg := r.segments(wire.LaneFull)[0]
	if err := r.m.Change(seg, func(b []byte) []byte {
		recut(t, b, offsets(b)[1], func(_, p []byte) { p[40] ^= 1 })
		return b
	}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name                  string
		keys                  spool.KeyBox
		read, locked, damaged int
	}{
		{"none", nil, 0, 6, 0},
		{"a stranger's", newPerson(t).box(t), 0, 6, 0},
		{"the car's", car.box(t), 5, 0, 1},
		{"the pit's", pit.box(t), 5, 0, 1},
	} {
		v, err := spool.OpenView("spool", r.m.Boot())
		if err != nil {
			t.Fatal(err)
		}
		v.Use(tc.keys)
		got := 0
		if err := v.Each(wire.LaneFull, func(b wire.Batch) error {
			if !bytes.HasPrefix(b.Payload, []byte("brake bias")) {
				t.Errorf("%s keys: %s reads %q", tc.name, b.Header.ID(), b.Payload)
			}
			got++
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		cs, err := v.Chunks(wire.LaneFull)
		if err != nil {
			t.Fatal(err)
		}
		rep, err := v.Report(cs[0], true)
		if err != nil {
			t.Fatal(err)
		}
		if got != tc.read || v.Locked != tc.locked || len(rep.Damaged) != tc.damaged || rep.AtRest != len(ids) || rep.Locked != tc.locked {
			t.Errorf("%s keys: %d read, %d locked; report %d damaged, %d encrypted, %d locked", tc.name, got, v.Locked, len(rep.Damaged), rep.AtRest, rep.Locked)
		}
	}
}

// TestEncryptedSpoolsAreOfVersion2: a program that knows version 1 only must not take
// noise for batches. When nothing is encrypted any more, it may come back.
func TestEncryptedSpoolsAreOfVersion2(t *testing.T) {
	r, _, _ := secretly(t)
	version := func() (out []byte) {
		for _, slot := range []string{"spool/epoch.0", "spool/epoch.1"} {
			if err := r.m.Change(slot, func(b []byte) []byte { out = append(out, b[4]); return b }); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	r.boot()
	ids := r.say(3)
	if v := version(); !bytes.Equal(v, []byte{2, 2}) {
		t.Errorf("encrypted: versions %v", v)
	}
	r.close()
	r.cfg.Keys = nil
	r.boot() // locked batches are there still
	if v := version(); !bytes.Equal(v, []byte{2, 2}) {
		t.Errorf("locked: versions %v", v)
	}
	r.sp.Settle(ids[0].Stream, wire.Ranges{{First: 1, Last: 3}}) // the cloud had them
	r.close()
	r.boot()
	if v := version(); !bytes.Equal(v, []byte{1, 1}) || r.rep.LockedBatches != 0 {
		t.Errorf("nothing encrypted is left: versions %v, %d locked", v, r.rep.LockedBatches)
	}
}

// TestKeyFilesDoNotPileUp: a thousand starts leave as many key files as may be needed.
func TestKeyFilesDoNotPileUp(t *testing.T) {
	r, _, _ := secretly(t)
	r.boot()
	ids := r.say(2)
	r.close()
	for range 80 {
		r.boot()
		r.close()
	}
	r.boot()
	es, err := r.m.Boot().ReadDir("spool/keys")
	if err != nil {
		t.Fatal(err)
	}
	r.mustHear(ids)
	if len(es) > 2*66+2 {
		t.Errorf("%d key files", len(es))
	}
}

// What looks like an encrypted batch would be locked at the next start.
func TestPayloadThatLooksEncryptedIsRefused(t *testing.T) {
	r := newRig(t)
	r.boot()
	for _, lane := range []wire.Lane{wire.LaneLive, wire.LaneCritical, wire.LaneFull} {
		body := wire.Body{Lane: lane, LastNS: 1, Samples: 1, Payload: append([]byte{byte(wire.SectionAtRest), 98}, noise(1, 98)...)}
		if id, err := r.sp.Append(body); err == nil {
			t.Errorf("%s: taken as %s", lane, id)
		}
	}
	id := r.put(wire.LaneFull, 1, 100, 1)
	if id.Seq != 1 {
		t.Errorf("the next batch is %s: a refused one took a number", id)
	}
}
