package cobs

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestKnownPackets has the examples of the paper on COBS and of RFC 1055.
func TestKnownPackets(t *testing.T) {
	seq := func(from, to int) (b []byte) {
		for c := from; c <= to; c++ {
			b = append(b, byte(c))
		}
		return b
	}
	for _, c := range []struct {
		name          string
		framing       Framing
		plain, framed []byte
	}{
		{"zero", COBS, []byte{0}, []byte{1, 1, 0}},
		{"two zeros", COBS, []byte{0, 0}, []byte{1, 1, 1, 0}},
		{"zero inside", COBS, []byte{0x11, 0x22, 0, 0x33}, []byte{3, 0x11, 0x22, 2, 0x33, 0}},
		{"no zero", COBS, []byte{0x11, 0x22, 0x33, 0x44}, []byte{5, 0x11, 0x22, 0x33, 0x44, 0}},
		{"zeros behind", COBS, []byte{0x11, 0, 0, 0}, []byte{2, 0x11, 1, 1, 1, 0}},
		{"254 bytes", COBS, seq(1, 254), append(append([]byte{0xff}, seq(1, 254)...), 0)},
		{"255 bytes", COBS, seq(1, 255), append(append([]byte{0xff}, seq(1, 254)...), 2, 0xff, 0)},
		{"zero and 254 bytes", COBS, seq(0, 254), append(append([]byte{1, 0xff}, seq(1, 254)...), 0)},
		{"SLIP", SLIP, []byte{1, slipEnd, slipEsc, 2}, []byte{slipEnd, 1, slipEsc, slipEscEnd, slipEsc, slipEscEsc, 2, slipEnd}},
	} {
		framed := c.framing.Encode(nil, c.plain)
		if !bytes.Equal(framed, c.framed) {
			t.Errorf("%s: got %x, want %x", c.name, framed, c.framed)
		}
		s := Splitter{Framing: c.framing}
		stuffed, n, ok, _ := s.Next(c.framed)
		plain, err := c.framing.Decode(nil, stuffed)
		if !ok || n != len(c.framed) || err != nil || !bytes.Equal(plain, c.plain) {
			t.Errorf("%s: %x comes back as %x, %v", c.name, c.plain, plain, err)
		}
	}
}

func TestDamage(t *testing.T) {
	for _, c := range []struct {
		name    string
		framing Framing
		stuffed []byte
	}{
		{"run beyond the end", COBS, []byte{5, 1, 2}},
		{"zero as a run", COBS, []byte{0, 1}},
		{"zero inside a run", COBS, []byte{4, 1, 0, 2}},
		{"escape at the end", SLIP, []byte{1, slipEsc}},
		{"escape of nothing", SLIP, []byte{slipEsc, 1}},
	} {
		if got, err := c.framing.Decode(nil, c.stuffed); err == nil {
			t.Errorf("%s: taken as %x", c.name, got)
		}
	}
	s := Splitter{Framing: COBS}
	long := append(bytes.Repeat([]byte{1}, MaxPacket+1), 0, 2, 7, 0)
	_, n, ok, tooLong := s.Next(long)
	if ok || !tooLong || n != MaxPacket+2 {
		t.Errorf("a long packet: %d %t %t", n, ok, tooLong)
	}
	if stuffed, _, ok, _ := s.Next(long[n:]); !ok || !bytes.Equal(stuffed, []byte{2, 7}) {
		t.Errorf("the packet behind a long one: %x %t", stuffed, ok)
	}
}

func TestCRC(t *testing.T) {
	// Check values of the catalogue of parametrised CRC algorithms.
	for name, want := range map[string]uint16{
		"ccitt-false": 0x29b1, "xmodem": 0x31c3, "x25": 0x906e, "kermit": 0x2189, "modbus": 0x4b37, "arc": 0xbb3d,
	} {
		c, err := NewCRC(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Sum([]byte("123456789")); got != want {
			t.Errorf("%s: got %04x, want %04x", name, got, want)
		}
	}
	if _, err := NewCRC("crc32"); err == nil {
		t.Error("an unknown checksum was made")
	}
	if len(CRCNames()) != 6 {
		t.Errorf("names %v", CRCNames())
	}
}

func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte{0, 1, 2, slipEnd, slipEsc}, uint8(3))
	f.Add(bytes.Repeat([]byte{7}, 600), uint8(200))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		for _, framing := range []Framing{COBS, SLIP} {
			// Foreign bytes never break the next packet once an end has passed.
			s := Splitter{Framing: framing}
			for rest := b; len(rest) > 0; {
				stuffed, n, ok, _ := s.Next(rest)
				if ok {
					_, _ = framing.Decode(nil, stuffed)
				}
				rest = rest[n:]
			}
			s.Reset()
			if len(b) == 0 || len(b) > MaxPacket/3 {
				return
			}
			framed := framing.Encode(nil, b)
			var got []byte
			for len(framed) > 0 {
				step := framed[:min(len(framed), int(cut)+1)]
				framed = framed[len(step):]
				for len(step) > 0 {
					stuffed, n, ok, _ := s.Next(step)
					step = step[n:]
					if ok {
						var err error
						if got, err = framing.Decode(nil, stuffed); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if !bytes.Equal(got, b) {
				t.Fatalf("framing %d: %s became %s", framing, hex.EncodeToString(b), hex.EncodeToString(got))
			}
		}
	})
}
