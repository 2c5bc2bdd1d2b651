package spool

import (
	"bytes"
	"testing"
)

// A writer that is killed between writing a shorter value and cutting the file
// leaves the end of the longer one behind it: the value counts all the same.
func TestSlotBeforeTheEndOfALongerOne(t *testing.T) {
	d, dir := osDisk{}, t.TempDir()
	s := slots{disk: d, dir: dir, name: "x", magic: "TEST"}
	if err := s.store(bytes.Repeat([]byte("long "), 100)); err != nil {
		t.Fatal(err)
	}
	long, err := readAll(d, s.file(s.slot), maxSlotBytes)
	if err != nil {
		t.Fatal(err)
	}
	slot := s.file(s.slot)
	s.slot = 1 - s.slot // into the same file
	if err := s.store([]byte("short")); err != nil {
		t.Fatal(err)
	}
	short, err := readAll(d, slot, maxSlotBytes)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Write(slot, append(short, long[len(short):]...)); err != nil {
		t.Fatal(err)
	}
	fresh := slots{disk: d, dir: dir, name: "x", magic: "TEST"}
	if v, st := fresh.load(); string(v) != "short" || !st.found || st.damaged != 0 || fresh.gen != 2 {
		t.Errorf("got %q, %+v, generation %d", v, st, fresh.gen)
	}
	if err := d.Write(slot, short[:len(short)-1]); err != nil {
		t.Fatal(err)
	}
	if v, st := (&slots{disk: d, dir: dir, name: "x", magic: "TEST"}).load(); st.found || st.damaged != 1 {
		t.Errorf("torn: got %q, %+v", v, st)
	}
}
