package ubx

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"
)

func TestNext(t *testing.T) {
	// The poll of CFG-PRT as it stands in u-blox's protocol description.
	poll, err := hex.DecodeString("b56206000000" + "0618")
	if err != nil {
		t.Fatal(err)
	}
	if got := Append(nil, 0x0600, nil); !bytes.Equal(got, poll) {
		t.Errorf("got %x, want %x", got, poll)
	}
	frame := Append(nil, NavPVT, []byte("payload"))
	bad := bytes.Clone(frame)
	bad[8] ^= 1
	for _, c := range []struct {
		name string
		in   []byte
		tok  Token
		n    int
	}{
		{"whole", frame, Good, len(frame)},
		{"whole and more", append(bytes.Clone(frame), 1, 2), Good, len(frame)},
		{"one byte short", frame[:len(frame)-1], NeedMore, 0},
		{"head alone", frame[:5], NeedMore, 0},
		{"first byte", frame[:1], NeedMore, 0},
		{"other second byte", []byte{Sync1, 'x', 0}, Bad, 1},
		{"damaged", bad, Bad, 1},
		{"length that none has", []byte{Sync1, Sync2, 1, 7, 0xff, 0xff}, Bad, 1},
	} {
		tok, id, payload, n := Next(c.in)
		if tok != c.tok || n != c.n || tok == Good && (id != NavPVT || string(payload) != "payload") {
			t.Errorf("%s: %d %04x %q %d, want %d %d", c.name, tok, id, payload, n, c.tok, c.n)
		}
	}
}

func samplePVT() PVT {
	return PVT{
		TowMS: 450402000, Valid: 7, Time: time.Date(2025, 4, 11, 5, 6, 23, 999_999_875, time.UTC), AccuracyNS: 21,
		FixType: 3, Flags: 1, Satellites: 19, Lon: 1385961479, Lat: -349082196, MSLMM: 64005, HeightMM: 62310, HAccMM: 1058, VAccMM: 748,
		NorthMMS: -1200, EastMMS: 3400, DownMMS: 50, SpeedMMS: 3605, CourseE5: 10944000, SAccMMS: 55, PDOPCenti: 121,
	}
}

func TestPVT(t *testing.T) {
	want := samplePVT() // nano is negative: its second is the next one
	got, err := ParsePVT(AppendPVT(nil, &want))
	if err != nil || got != want {
		t.Errorf("got %+v %v\nwant %+v", got, err, want)
	}
	if !got.OK() || !got.Located() || !got.Resolved() {
		t.Errorf("not trusted: %+v", got)
	}
	for _, c := range []struct {
		name                   string
		change                 func(p *PVT)
		ok, located, resolved_ bool
	}{
		{"outside the limits", func(p *PVT) { p.Flags = 0 }, false, true, true},
		{"no fix", func(p *PVT) { p.FixType = 0 }, false, false, true},
		{"time alone", func(p *PVT) { p.FixType = 5 }, false, false, true},
		{"dead reckoning", func(p *PVT) { p.FixType = 1 }, false, true, true},
		{"coordinates not valid", func(p *PVT) { p.NoPosition = true }, false, false, true},
		{"beyond the pole", func(p *PVT) { p.Lat = 900_000_001 }, false, false, true},
		{"seconds not resolved", func(p *PVT) { p.Valid = 3 }, true, true, false},
	} {
		p := samplePVT()
		c.change(&p)
		got, err := ParsePVT(AppendPVT(nil, &p))
		if err != nil || got.OK() != c.ok || got.Located() != c.located || got.Resolved() != c.resolved_ {
			t.Errorf("%s: ok %t, located %t, resolved %t, %v", c.name, got.OK(), got.Located(), got.Resolved(), err)
		}
	}
	b := AppendPVT(nil, &want)
	b[6] = 13
	if got, err := ParsePVT(b); err != nil || !got.Time.IsZero() || got.Resolved() {
		t.Errorf("month 13: %v %v", got.Time, err)
	}
	if _, err := ParsePVT(b[:83]); err == nil {
		t.Error("83 bytes were taken")
	}
	if _, err := ParsePVT(b[:84]); err != nil {
		t.Errorf("84 bytes of an old receiver: %v", err)
	}
}

func TestHighPrecision(t *testing.T) {
	for _, want := range []HP{
		{TowMS: 450402000, Valid: true, Lon: 170_500_142_487, Lat: -45_877_513_612, MSL: 335_812, HAcc: 142, VAcc: 201},
		{Valid: false, Lon: -1, Lat: 99, MSL: -9},
	} {
		if got, err := ParseHP(AppendHP(nil, &want)); err != nil || got != want {
			t.Errorf("got %+v %v\nwant %+v", got, err, want)
		}
	}
	if p, err := ParseHP(AppendHP(nil, &HP{Valid: true, Lat: 90_000_000_001})); err != nil || p.Valid {
		t.Errorf("beyond the pole: %+v %v", p, err)
	}
	// As a ZED-F9P has sent it: the bytes beside the coordinates are signed.
	p, err := ParseHP([]byte{0, 0, 0, 0, 1, 0, 0, 0, 100, 0, 0, 0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xf3, 13, 0, 0xff, 0, 0, 0, 0, 0, 0, 0, 0})
	if err != nil || p.Lon != 10_000-13 || p.Lat != 10_013 || p.MSL != -1 || !p.Valid {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := ParseHP(make([]byte, hpBytes-1)); err == nil {
		t.Error("35 bytes were taken")
	}
}

func TestCommands(t *testing.T) {
	// Bytes as u-center sends them.
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"rate of 25 Hz, generation 8", AppendRate(nil, 40), "b562060806002800010001003eaa"},
		{"PVT with each solution", AppendMessage(nil, NavPVT, 1), "b5620601030001070113" + "51"},
		{"rate of 25 Hz, generation 9", AppendValset(nil, Setting{KeyRateMeas, 40}), "b562068a0a00" + "00010000" + "01002130" + "2800" + "1541"},
	} {
		if hex.EncodeToString(c.got) != c.want {
			t.Errorf("%s: got %x, want %s", c.name, c.got, c.want)
		}
		if tok, _, _, n := Next(c.got); tok != Good || n != len(c.got) {
			t.Errorf("%s: no whole frame", c.name)
		}
	}
}

func TestTimePulseAndAck(t *testing.T) {
	p, err := ParseTP([]byte{0x10, 0x27, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x2a, 9, 1, 0})
	if err != nil || p != (TimePulse{TowMS: 10_000, Week: 2346, UTC: true, ErrorPS: -2, ErrorSet: true}) {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := ParseTP(make([]byte, 15)); err == nil {
		t.Error("15 bytes were taken")
	}
	if id, ok := ParseAck([]byte{0x06, 0x8a}); id != CfgValset || !ok {
		t.Errorf("%04x %t", id, ok)
	}
	if _, ok := ParseAck([]byte{6}); ok {
		t.Error("one byte was taken")
	}
}

func FuzzFrame(f *testing.F) {
	p := samplePVT()
	f.Add(Append(nil, NavPVT, AppendPVT(nil, &p)))
	f.Add(Append(nil, NavHP, AppendHP(nil, &HP{Valid: true, Lat: 1, Lon: -1})))
	f.Add(AppendValset(nil, Setting{KeyRateMeas, 40}, Setting{KeyPVTUSB, 1}))
	f.Add([]byte{Sync1, Sync2, 1, 7, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			if b[0] != Sync1 {
				b = b[1:]
				continue
			}
			tok, id, payload, n := Next(b)
			if tok == NeedMore {
				return
			}
			if n < 1 || n > len(b) {
				t.Fatalf("took %d of %d bytes", n, len(b))
			}
			if tok == Good {
				if again := Append(nil, id, payload); !bytes.Equal(again, b[:n]) {
					t.Fatalf("%x became %x", b[:n], again)
				}
				if p, err := ParsePVT(payload); err == nil && p.Located() && (p.Lat > 90e7 || p.Lat < -90e7) {
					t.Fatalf("a position beyond the globe: %+v", p)
				}
				if p, err := ParseHP(payload); err == nil && p.Valid && (p.Lat > 90e9 || p.Lat < -90e9) {
					t.Fatalf("a position beyond the globe: %+v", p)
				}
				_, _ = ParseTP(payload)
			}
			b = b[n:]
		}
	})
}
