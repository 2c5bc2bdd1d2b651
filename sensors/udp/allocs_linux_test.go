package udp

import (
	"net/netip"
	"testing"

	"telemetry/sensors"
	"telemetry/wire"
)

// deaf takes everything and keeps nothing.
type deaf struct{}

func (deaf) Append(sensors.Rows) error { return nil }
func (deaf) Event(wire.Event) error    { return nil }

func TestDatagramsDoNotAllocate(t *testing.T) {
	src, err := New(Config{Listen: netip.MustParseAddrPort("127.0.0.1:5600"), Streams: []Stream{newStream(t, 1, 700)}, Clock: bootClock{}})
	if err != nil {
		t.Fatal(err)
	}
	r := &run{Source: src, out: deaf{}, untold: map[string]uint64{}, anew: map[string]*sensors.Burst{}}
	b := makeDatagram(t, 1, 700, 10, 0)
	seq, now := uint32(0), int64(1e9)
	take := func() {
		b[8], b[9], b[10], b[11] = byte(seq), byte(seq>>8), byte(seq>>16), byte(seq>>24)
		seq++
		now += 6_666_667
		r.take(b, now)
		if err := r.flush(now, false); err != nil {
			t.Fatal(err)
		}
	}
	take()
	if n := testing.AllocsPerRun(200, take); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
	if counter(src, "datagrams_lost") != 0 || counter(src, "rows") == 0 {
		t.Errorf("%+v", src.Counters())
	}
}
