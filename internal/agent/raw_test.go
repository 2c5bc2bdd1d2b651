package agent

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/wire"
)

// rowsOf catches what a recorder of raw frames gives.
type rowsOf struct{ give func(sensors.Rows) }

func (r rowsOf) Append(rows sensors.Rows) error { r.give(rows); return nil }
func (r rowsOf) Event(wire.Event) error         { return nil }

// busText makes candump text of a bus: classic and extended ids, CAN FD, error
// frames, remote requests, raw DLCs, empty frames, unknown ids now and then.
func busText(frames int) []string {
	r := rand.New(rand.NewPCG(11, 12))
	var out []string
	at, count := int64(1_700_000_000_000_000_000), 0
	for range frames {
		at += 1000 * int64(r.IntN(400))
		count++
		var f string
		switch k := r.IntN(60); {
		case k < 40:
			f = fmt.Sprintf("%03X#%02X%06X%08X", 0x100+k, count&0xff, k, r.Uint32()>>24)
		case k < 50:
			f = fmt.Sprintf("18FEF1%02X#%016X", k, r.Uint64()&0xf0ff)
		case k == 50:
			f = fmt.Sprintf("2AA##3%s", strings.Repeat(fmt.Sprintf("%02X", count&0xff), 64))
		case k == 51:
			f = "000002AB##0" + strings.Repeat("5A", 12)
		case k == 52:
			f = "123#R"
		case k == 53:
			f = "123#R4"
		case k == 54:
			f = "20000088#00080000000000" + fmt.Sprintf("%02X", r.IntN(256))
		case k == 55:
			f = "7FF#"
		case k == 56:
			f = "321#1122334455667788_D"
		case k == 57:
			f = "321#11 T"
		default:
			f = fmt.Sprintf("%08X#%02X", r.Uint32()&0x1fffffff, r.IntN(256))
		}
		out = append(out, fmt.Sprintf("(%010d.%09d) can0 %s", at/1e9, at%1e9, f))
	}
	return out
}

// Raw frames come out of sealed batches as the text they came from, at every
// speed, and whole: no block holds a part of a frame.
func TestRawFramesComeBackAsText(t *testing.T) {
	lines := busText(6000)
	sizes := map[string]int{}
	for _, speed := range []string{"full", "fast"} {
		t.Run(speed, func(t *testing.T) {
			p, err := newPlan("car-7", []namedSource{{name: "bus", source: &script{groups: []wire.Group{can.RawGroup("can0")}}}}, noLive)
			if err != nil {
				t.Fatal(err)
			}
			seal, sp := seals(), &memSpool{}
			seal.Speed = speed
			e := newEncoder(p, sp, seal, &Taken{}, silent())
			out := &sink{enc: e, routes: p.routes[0]}
			raw := can.NewRaw(0)
			for i, l := range lines {
				var f can.Frame
				if err := can.ParseLine([]byte(l), &f); err != nil {
					t.Fatalf("%s: %v", l, err)
				}
				raw.Add(&f, f.StampNS)
				if i%50 != 49 && i != len(lines)-1 {
					continue
				}
				if err := raw.Flush(rowsOf{func(r sensors.Rows) {
					if err := out.Append(r); err != nil {
						t.Fatal(err)
					}
					e.take(<-e.in)
				}}); err != nil {
					t.Fatal(err)
				}
				if i%1500 == 1499 {
					e.flushAll()
				}
			}
			e.flushAll()
			var got []string
			for _, b := range sp.bodies {
				sizes[speed] += len(b.Payload)
				if len(b.Payload) > wire.MaxFullBytes-headerRoom {
					t.Errorf("a payload of %d bytes", len(b.Payload))
				}
				got = append(got, rawText(t, b.Payload)...)
			}
			if !slices.Equal(got, lines) {
				for i := range min(len(got), len(lines)) {
					if got[i] != lines[i] {
						t.Fatalf("frame %d: got  %s\nwant %s", i, got[i], lines[i])
					}
				}
				t.Fatalf("%d frames of %d", len(got), len(lines))
			}
		})
	}
	if sizes["full"]*2 > sizes["fast"] {
		t.Errorf("bytes: %v", sizes)
	}
}

// rawText writes the frames of a payload as candump does.
func rawText(t *testing.T, payload []byte) (out []string) {
	t.Helper()
	for len(payload) > 0 {
		s, n, err := wire.NextSection(payload)
		if err != nil {
			t.Fatal(err)
		}
		payload = payload[n:]
		var b wire.Block
		if err := wire.ParseBlock(s.Body, &b); err != nil {
			t.Fatal(err)
		}
		next := make([]int, len(b.Columns))
		for i, tick := range b.Ticks {
			row := make([]int64, len(b.Columns))
			for c := range row {
				if sensors.Bit(b.Columns[c].Present, i) {
					row[c] = b.Columns[c].Values[next[c]]
					next[c]++
				}
			}
			f, err := can.RawFrame(row)
			if err != nil {
				t.Fatal(err)
			}
			f.Bus, f.StampNS = "can0", tick
			out = append(out, strings.TrimSuffix(string(can.AppendLine(nil, &f)), "\n"))
		}
	}
	return out
}
