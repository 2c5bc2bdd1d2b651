package spool_test

import (
	"encoding/binary"
	"hash/crc32"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/spool"
	"telemetry/spool/spooltest"
	"telemetry/wire"
)

const tableFile = "spool/chunks"

// many fills some fifteen chunks of the full lane, settles a few batches, and ends.
func (r *rig) many() (ids []wire.ID, settled map[wire.ID]bool) {
	r.t.Helper()
	r.boot()
	ids, settled = r.fill(120), map[wire.ID]bool{}
	for i, id := range ids {
		if i < 17 || i%31 == 30 {
			r.mustSettle(id)
			settled[id] = true
		}
	}
	r.close()
	return ids, settled
}

// judge reads everything: each batch that is not settled is there as it was put, or
// named by a loss record with reason corrupt, never both and never neither.
func (r *rig) judge(what string, ids []wire.ID, settled map[wire.ID]bool) (lost int) {
	r.t.Helper()
	have := map[wire.ID]bool{}
	for _, it := range all(r.sp, wire.LaneFull) {
		if it.ID.Stream.Epoch != ids[0].Stream.Epoch {
			continue
		}
		i := int(it.ID.Seq - 1)
		if i >= len(ids) || settled[it.ID] || have[it.ID] {
			r.t.Errorf("%s: %s shows again or never was", what, it.ID)
			continue
		}
		if b, err := r.sp.Read(it.ID, nil); err == nil {
			have[it.ID] = true
			if p, _, err := wire.Parse(b); err != nil || !slices.Equal(p.Payload, noise(uint64(i), 1000)) {
				r.t.Errorf("%s: %s is not what was put: %v", what, it.ID, err)
			}
		}
	}
	r.sync()
	losses, _ := r.losses()
	for _, id := range ids {
		said := named(losses, id, wire.ReasonCorrupt)
		if settled[id] && said || !settled[id] && said == have[id] {
			r.t.Errorf("%s: %s: settled %v, there %v, reported %v", what, id, settled[id], have[id], said)
		}
		if said {
			lost++
		}
	}
	return lost
}

// TestTableSavesReading: a start looks at the beginning of a chunk that the table
// vouches for, and no more; what it shows is what a scan shows.
func TestTableSavesReading(t *testing.T) {
	var want []wire.Item
	for _, with := range []bool{false, true} {
		r := newRig(t)
		ids, settled := r.many()
		if !with {
			if err := r.m.Boot().RemoveAll(tableFile); err != nil {
				t.Fatal(err)
			}
		}
		segments := r.segments(wire.LaneFull)
		reads := map[string]int{}
		r.m.SetFault(func(op spooltest.Op) error {
			if op.Kind == "read" || op.Kind == "readat" {
				reads[op.Name]++
			}
			return nil
		})
		r.boot()
		r.m.SetFault(nil)
		if len(segments) < 12 {
			t.Fatalf("%d chunks", len(segments))
		}
		for i, s := range segments[:len(segments)-5] {
			if listed := reads[filepath.Dir(s)] > 0; listed == with || reads[s] != 1 {
				t.Errorf("table %v: chunk %d was listed %v and read %d times", with, i+1, listed, reads[s])
			}
		}
		st := r.sp.Stats().Lanes[wire.LaneFull]
		got := all(r.sp, wire.LaneFull)
		if now := r.sp.Stats().Lanes[wire.LaneFull]; now.Pending != st.Pending || now.Pending != len(got) {
			t.Errorf("table %v: %d pending, then %d, and %d show", with, st.Pending, now.Pending, len(got))
		}
		if with && !slices.Equal(got, want) {
			t.Errorf("%d batches with the table, %d without, or not the same", len(got), len(want))
		}
		want = got
		if lost := r.judge("nothing damaged", ids, settled); lost != 0 {
			t.Errorf("%d lost", lost)
		}
		for _, it := range got {
			r.mustSettle(it.ID)
		}
		if st := r.sp.Stats().Lanes[wire.LaneFull]; st.PendingBytes != 0 || st.Pending != 0 {
			t.Errorf("table %v: %+v left", with, st)
		}
		r.close()
	}
}

// TestTableIsOnlyAHint: whatever stands in the table, nothing is missing.
func TestTableIsOnlyAHint(t *testing.T) {
	entry := func(b []byte, i int) []byte { return b[80*i : 80*i+80] }
	seal := func(e []byte) {
		binary.LittleEndian.PutUint32(e[76:], crc32.Checksum(e[:76], crc32.MakeTable(crc32.Castagnoli)))
	}
	for _, tc := range []struct {
		name string
		f    func([]byte) []byte
	}{
		{"emptied", func([]byte) []byte { return nil }},
		{"zeroed", func(b []byte) []byte { clear(b); return b }},
		{"cut inside an entry", func(b []byte) []byte { return b[:80*7+11] }},
		{"shifted", func(b []byte) []byte { return b[1:] }},
		{"entries for each other's chunks", func(b []byte) []byte {
			for i := range 4 { // numbers of chunks, with good checksums
				b[80*i+20], b[80*(i+5)+20] = b[80*(i+5)+20], b[80*i+20]
				seal(entry(b, i))
				seal(entry(b, i+5))
			}
			return b
		}},
		{"another epoch", func(b []byte) []byte { e := entry(b, 3); e[8]++; seal(e); return b }},
		{"another start in the chunk", func(b []byte) []byte { e := entry(b, 3); e[36]++; seal(e); return b }},
		{"another size", func(b []byte) []byte { e := entry(b, 3); e[28]--; seal(e); return b }},
		{"a lane that is none", func(b []byte) []byte { e := entry(b, 3); e[5] = 9; seal(e); return b }},
		{"no batches", func(b []byte) []byte { e := entry(b, 3); clear(e[32:36]); seal(e); return b }},
		{"a version to come", func(b []byte) []byte { e := entry(b, 3); e[4]++; seal(e); return b }},
		{"twice", func(b []byte) []byte { return append(b, b...) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			ids, settled := r.many()
			if err := r.m.Change(tableFile, tc.f); err != nil {
				t.Fatal(err)
			}
			r.boot()
			if lost := r.judge(tc.name, ids, settled); lost != 0 || r.rep.Salvaged+r.rep.TornTails+r.rep.Quarantined != 0 {
				t.Errorf("%d lost, %+v", lost, r.rep)
			}
			r.close()
			r.boot() // and the table is mended
			if lost := r.judge("second start", ids, settled); lost != 0 {
				t.Errorf("second start: %d lost", lost)
			}
			r.close()
		})
	}
	t.Run("every byte flipped", func(t *testing.T) {
		r := newRig(t)
		ids, settled := r.many()
		for at := range 80 {
			if err := r.m.Change(tableFile, func(b []byte) []byte { b[at] ^= 1 << (at % 8); return b }); err != nil {
				t.Fatal(err)
			}
			r.boot()
			if lost := r.judge("flip", ids, settled); lost != 0 {
				t.Fatalf("byte %d: %d lost", at, lost)
			}
			r.close()
		}
	})
}

// TestTableOfAnEarlierLife: chunk numbers begin anew when a lane is empty. What an old
// table says of a number must not be believed of the chunk that has it now.
func TestTableOfAnEarlierLife(t *testing.T) {
	r := newRig(t)
	r.boot()
	ids := r.fill(120)
	var old []byte
	r.close()
	if err := r.m.Change(tableFile, func(b []byte) []byte { old = slices.Clone(b); return b }); err != nil {
		t.Fatal(err)
	}
	r.boot()
	r.mustSettle(ids...)
	r.close()
	r.boot()
	ids = r.fill(120)
	r.close()
	if err := r.m.Change(tableFile, func([]byte) []byte { return old }); err != nil {
		t.Fatal(err)
	}
	r.boot()
	if lost := r.judge("old table", ids, nil); lost != 0 {
		t.Errorf("%d lost", lost)
	}
	r.close()
}

// TestRotBehindTheTable: damage in a chunk that the table vouches for is found when the
// batch is wanted: each batch of it is there or reported, also when another start
// comes in between, and all other chunks are whole.
func TestRotBehindTheTable(t *testing.T) {
	type damage struct {
		name string
		f    func([]byte) []byte
		lost int // -1: some
	}
	cases := []damage{
		{"payload flipped", func(b []byte) []byte { b[offsets(b)[3]+500] ^= 4; return b }, 1},
		{"sector zeroed", func(b []byte) []byte { clear(b[1024:1536]); return b }, -1},
		{"tail zeroed", func(b []byte) []byte { clear(b[offsets(b)[2]:]); return b }, -1},
		{"last byte", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, 1},
		{"all but the first envelope zeroed", func(b []byte) []byte { clear(b[200:]); return b }, -1},
		{"whole file zeroed", func(b []byte) []byte { clear(b); return b }, -1},
		{"emptied", func([]byte) []byte { return nil }, -1},
		{"cut", func(b []byte) []byte { return b[:offsets(b)[3]+20] }, -1},
		{"garbage behind", func(b []byte) []byte { return append(b, "garbage"...) }, 0},
		{"a record twice in the place of another", func(b []byte) []byte {
			o := offsets(b)
			copy(b[o[3]:o[4]-2], b[o[2]:o[3]-2])
			return b
		}, 1},
	}
	for at := range 60 { // the second record's length and envelope, byte by byte
		cases = append(cases, damage{sprint("envelope byte ", at), func(b []byte) []byte { b[offsets(b)[1]-2+at] ^= 1 << (at % 8); return b }, -2})
	}
	for _, tc := range cases {
		for _, again := range []bool{false, true} {
			if again && tc.lost == -2 {
				continue
			}
			r := newRig(t)
			ids, settled := r.many()
			if err := r.m.Change(r.segments(wire.LaneFull)[5], tc.f); err != nil {
				t.Fatal(err)
			}
			r.boot()
			if (tc.name == "cut" || tc.name == "garbage behind") && r.rep.TornTails != 1 {
				t.Errorf("%s: the size is wrong, and the start has not seen it: %+v", tc.name, r.rep)
			}
			if again {
				r.m.Kill()
				r.boot()
			}
			lost := r.judge(tc.name, ids, settled)
			if tc.lost >= 0 && lost != tc.lost || tc.lost == -1 && (lost == 0 || lost > 8) || tc.lost == -2 && lost > 1 {
				t.Errorf("%s: %d lost, want %d", tc.name, lost, tc.lost)
			}
			r.close()
			if tc.lost == -2 {
				continue
			}
			r.boot()
			if now := r.judge(tc.name+", once more", ids, settled); now != lost {
				t.Errorf("%s: %d reported, after another start %d", tc.name, lost, now)
			}
			r.close()
		}
	}
}

// TestTableNamesABatchTwice: two chunks hold the same batches, as after an error whose
// cut failed, and the table vouches for both. Each shows once.
func TestTableNamesABatchTwice(t *testing.T) {
	r := newRig(t)
	ids, settled := r.many()
	segments := r.segments(wire.LaneFull)
	var twice []byte
	if err := r.m.Change(segments[4], func(b []byte) []byte { twice = slices.Clone(b); return b }); err != nil {
		t.Fatal(err)
	}
	replaced := 0
	if err := r.m.Change(segments[5], func(b []byte) []byte { replaced = len(offsets(b)); return twice }); err != nil {
		t.Fatal(err)
	}
	err := r.m.Change(tableFile, func(b []byte) []byte {
		h, _ := wire.ParseHeader(twice[offsets(twice)[0]:])
		for i := 0; i+160 <= len(b); i += 80 {
			if first := binary.LittleEndian.Uint64(b[i+36:]); first == h.Seq && b[i+5] == byte(wire.LaneFull) {
				no := binary.LittleEndian.Uint64(b[i+20:])
				copy(b[i+80:i+160], b[i:i+80])
				binary.LittleEndian.PutUint64(b[i+100:], no+1)
				binary.LittleEndian.PutUint32(b[i+156:], crc32.Checksum(b[i+80:i+156], crc32.MakeTable(crc32.Castagnoli)))
				break
			}
		}
		return b
	})
	if err != nil {
		t.Fatal(err)
	}
	r.boot()
	if lost := r.judge("twice", ids, settled); lost == 0 || lost > replaced {
		t.Errorf("%d lost, %d were replaced", lost, replaced)
	}
	if st := r.sp.Stats().Lanes[wire.LaneFull]; st.Pending != len(all(r.sp, wire.LaneFull)) {
		t.Errorf("%d pending, %d show", st.Pending, len(all(r.sp, wire.LaneFull)))
	}
	r.close()
}

// TestRepairReadsEverything: repair does not believe the table.
func TestRepairReadsEverything(t *testing.T) {
	r := newRig(t)
	ids, settled := r.many()
	if err := r.m.Change(r.segments(wire.LaneFull)[5], func(b []byte) []byte { b[offsets(b)[1]+9] ^= 1; return b }); err != nil {
		t.Fatal(err)
	}
	rep, err := spool.Repair(r.offline())
	if err != nil || rep.Salvaged != 1 || rep.LostBatches != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
	r.boot()
	if lost := r.judge("after repair", ids, settled); lost != 1 {
		t.Errorf("%d lost", lost)
	}
	r.close()
}

// TestTableStaysSmall: a car that is online for long does not grow its table.
func TestTableStaysSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.cfg.ChunkBytes, r.cfg.CommitBytes = 4<<10, 4<<10
		r.boot()
		stop := r.run()
		most := 0
		for n := range 900 { // a chunk a round
			var ids []wire.ID
			for i := range 5 {
				ids = append(ids, r.put(wire.LaneFull, uint64(n*5+i), 1000, int64(n)))
			}
			r.sync()
			time.Sleep(300 * time.Millisecond)
			r.mustSettle(ids...)
			if err := r.m.Change(tableFile, func(b []byte) []byte { most = max(most, len(b)); return b }); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		r.close()
		if most < 80*400 || most > 80*700 {
			t.Errorf("the table had %d entries at most", most/80)
		}
	})
}
