package mqtt

import (
	"errors"
	"testing"
)

func TestInboundPackets(t *testing.T) {
	big := []byte{0x30, 0x80, 0x80, 0x04} // 64 KiB
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, nil},
		{"ping response and a publish", append([]byte{0xd0, 0, 0x30, 3}, "abc"...), nil},
		{"64 KiB announced", big, nil},
		{"64 KiB and one announced", []byte{0x30, 0x81, 0x80, 0x04}, errPacketSize},
		{"length without an end", []byte{0x30, 0x80, 0x80, 0x80, 0x80, 0x80}, errPacketSize},
		{"a body that looks like a long packet", []byte{0x30, 4, 0x30, 0xff, 0xff, 0x7f, 0xd0, 0}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var whole, pieces inbound
			if err := whole.scan(tt.in); !errors.Is(err, tt.want) {
				t.Errorf("scan: %v, want %v", err, tt.want)
			}
			var err error
			for i := range tt.in {
				if err == nil {
					err = pieces.scan(tt.in[i : i+1])
				}
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("scan byte by byte: %v, want %v", err, tt.want)
			}
		})
	}
}

// FuzzInbound: any bytes, cut anywhere, give the same verdict as in one piece.
func FuzzInbound(f *testing.F) {
	f.Add([]byte{0xd0, 0, 0x30, 3, 1, 2, 3}, 2)
	f.Add([]byte{0x30, 0x81, 0x80, 0x04}, 1)
	f.Fuzz(func(t *testing.T, b []byte, cut int) {
		if cut < 0 || cut > len(b) {
			return
		}
		var whole, two inbound
		want := whole.scan(b)
		got := two.scan(b[:cut])
		if got == nil {
			got = two.scan(b[cut:])
		}
		if !errors.Is(got, want) {
			t.Errorf("cut at %d: %v, whole: %v", cut, got, want)
		}
	})
}
