package gnss

import (
	"bytes"
	"testing"
	"time"

	"telemetry/sensors"
	"telemetry/sensors/ubx"
	"telemetry/wire"
)

// rowBook keeps the rows of a run.
type rowBook struct{ rows [][]int64 }

func (b *rowBook) Append(r sensors.Rows) error {
	b.rows = append(b.rows, append([]int64(nil), r.Values...))
	return nil
}

func (b *rowBook) Event(wire.Event) error { return nil }

// TestHighPrecisionIsJoined: a receiver gives NAV-HPPOSLLH, or not, or begins to, in
// an order of its own; there is one row an instant, and none is held up for long.
func TestHighPrecisionIsJoined(t *testing.T) {
	begin := time.Date(2026, 7, 17, 12, 0, 0, 0, time.UTC)
	pvt := func(i int) []byte {
		return ubx.Append(nil, ubx.NavPVT, ubx.AppendPVT(nil, &ubx.PVT{
			TowMS: uint32(1000 * i), Valid: 7, Time: begin.Add(time.Duration(i) * time.Second), FixType: 3, Flags: 1, Lat: 500_000_000, Lon: -60_000_000, MSLMM: 100,
		}))
	}
	hp := func(i int, valid bool) []byte {
		return ubx.Append(nil, ubx.NavHP, ubx.AppendHP(nil, &ubx.HP{TowMS: uint32(1000 * i), Valid: valid, Lat: 50_000_000_013, Lon: -6_000_000_027, MSL: 1006, HAcc: 144}))
	}
	other, eoe := ubx.Append(nil, 0x0104, make([]byte, 18)), ubx.Append(nil, ubx.NavEOE, make([]byte, 4))
	const plain, fine = 50_000_000_000, 50_000_000_013
	for _, c := range []struct {
		name   string
		stream [][]byte
		want   []int64 // latitudes
		before int     // rows before the stream pauses
	}{
		{"never", [][]byte{pvt(0), other, pvt(1), other, pvt(2), other}, []int64{plain, plain, plain}, 3},
		{"never, and the end of an instant is told", [][]byte{pvt(0), other, eoe}, []int64{plain}, 1},
		{"always", [][]byte{pvt(0), other, hp(0, true), pvt(1), other, hp(1, true)}, []int64{fine, fine}, 2},
		{"alone", [][]byte{pvt(0)}, []int64{plain}, 0},
		{"begins later", [][]byte{pvt(0), pvt(1), hp(1, true), pvt(2), hp(2, true)}, []int64{plain, plain, fine}, 3},
		{"ends", [][]byte{pvt(0), hp(0, true), pvt(1), pvt(2), pvt(3)}, []int64{fine, plain, plain, plain}, 4},
		{"not valid", [][]byte{pvt(0), hp(0, false), pvt(1), hp(1, true)}, []int64{plain, fine}, 2},
		{"of another instant", [][]byte{pvt(0), hp(7, true), pvt(1)}, []int64{plain, plain}, 2},
	} {
		src, err := New(Config{File: "none", Unpaced: true, Clock: &pulseClock{boot: 5}})
		if err != nil {
			t.Fatal(err)
		}
		b := &rowBook{}
		r := src.newRun(b)
		r.scan.feed(bytes.Join(c.stream, nil), 77)
		if len(b.rows) != c.before {
			t.Errorf("%s: %d rows before the pause, want %d", c.name, len(b.rows), c.before)
		}
		if err := r.end(); err != nil {
			t.Fatal(err)
		}
		for i, want := range c.want {
			if i >= len(b.rows) || b.rows[i][colLat] != want {
				t.Fatalf("%s: rows %v, want latitudes %v", c.name, b.rows, c.want)
			}
			if want == fine && (b.rows[i][colLon] != -6_000_000_027 || b.rows[i][colAlt] != 101 || b.rows[i][colHAcc] != 14) {
				t.Errorf("%s: row %v", c.name, b.rows[i])
			}
		}
		if len(b.rows) != len(c.want) {
			t.Errorf("%s: %d rows, want %d", c.name, len(b.rows), len(c.want))
		}
	}
}
