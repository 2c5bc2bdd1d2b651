package framed_test

import (
	"fmt"
	"testing"
	"time"

	"telemetry/sensors/cobs"
	"telemetry/sensors/framed"
	"telemetry/sensors/packed"
)

// TestEveryFramingAndChecksum sends good packets, each behind a damaged copy of
// itself, in every framing with every checksum in both byte orders, and without one.
func TestEveryFramingAndChecksum(t *testing.T) {
	for _, f := range []cobs.Framing{cobs.COBS, cobs.SLIP} {
		for _, name := range append(cobs.CRCNames(), "none") {
			for _, big := range []bool{false, true} {
				t.Run(fmt.Sprintf("framing %d, %s, big endian %t", f, name, big), func(t *testing.T) {
					t.Parallel()
					var crc *cobs.CRC
					if name != "none" {
						var err error
						if crc, err = cobs.NewCRC(name); err != nil {
							t.Fatal(err)
						}
					}
					p := openPTY(t, "")
					defer p.Close()
					src, b := startWith(t, framed.Config{Port: p.Path, Baud: 115200, Framing: f, CRC: crc, CRCBig: big})
					eventually(t, "the port is open", func() bool { return counter(src, "opens") > 0 })
					const n = 30
					for i := range n {
						plain := seal(packetOf(t, i), crc, big)
						out := f.Encode(nil, plain)
						if crc != nil {
							bad := append([]byte{}, plain...)
							bad[i%len(bad)] ^= 1 << (i % 8)
							out = append(f.Encode(nil, bad), out...)
						}
						if _, err := p.Write(out); err != nil {
							t.Fatal(err)
						}
					}
					eventually(t, "all rows", func() bool { return b.count() == n*rowsOfPacket })
					if bad := counter(src, "packets_checksum"); crc != nil && bad != n || crc == nil && bad != 0 {
						t.Errorf("%d wrong checksums", bad)
					}
					if counter(src, "packets") != n || counter(src, "packets_lost") != 0 || len(b.events) != 0 {
						t.Errorf("%+v %v", src.Counters(), b.events)
					}
				})
			}
		}
	}
}

// packetOf makes packet number n without checksum.
func packetOf(t *testing.T, n int) []byte {
	t.Helper()
	var words []int64
	for i := range rowsOfPacket {
		words = append(words, int64(n*rowsOfPacket+i), int64(i-5))
	}
	return packet(t).Append(nil, uint64(n), uint64(n)*rowsOfPacket*1_000_000/1500, words)
}

// seal appends a checksum, if there is one.
func seal(b []byte, crc *cobs.CRC, big bool) []byte {
	if crc == nil {
		return b
	}
	x := crc.Sum(b)
	if big {
		return append(b, byte(x>>8), byte(x))
	}
	return append(b, byte(x), byte(x>>8))
}

// startWith completes cfg with the board's packets and runs a source until the test
// ends.
func startWith(t *testing.T, cfg framed.Config) (*framed.Source, *book) {
	t.Helper()
	st, err := packed.NewStream(packed.StreamConfig{Name: "board", Packet: packet(t), RateMilliHz: 1_500_000, TickNS: 1000})
	if err != nil {
		t.Fatal(err)
	}
	cfg.Streams, cfg.Clock = []*packed.Stream{st}, bootClock{time.Now()}
	src, err := framed.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return src, run(t, src)
}
