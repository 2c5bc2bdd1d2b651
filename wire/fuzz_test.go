package wire

import (
	"bytes"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// Fuzz targets of every decoder but the block's. What is behind a checksum is
// fuzzed with the checksum set right. Since parsers skip fields of later
// versions, the property is that what was parsed survives another round trip.

// seeds adds all golden vectors, without their last cut bytes.
func seeds(f *testing.F, cut int) {
	f.Helper()
	names, err := filepath.Glob("testdata/*.hex")
	if err != nil || len(names) == 0 {
		f.Fatalf("no golden vectors: %v", err)
	}
	for _, n := range names {
		b := readHex(f, strings.TrimSuffix(filepath.Base(n), ".hex"))
		f.Add(b[:max(0, len(b)-cut)])
	}
}

// again fails unless v comes back from its own bytes.
func again[T any](t *testing.T, v T, b []byte, parse func([]byte) (T, error)) {
	t.Helper()
	got, err := parse(b)
	if err != nil {
		t.Fatalf("%+v does not come back: %v", v, err)
	}
	if !reflect.DeepEqual(got, v) {
		t.Fatalf("got %+v\nwant %+v", got, v)
	}
}

func FuzzParse(f *testing.F) {
	seeds(f, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		b = rehash(bytes.Clone(b))
		batch, n, err := Parse(b)
		if err != nil {
			return
		}
		h := batch.Header
		if n > len(b) || n != h.Size() || len(batch.Payload) != int(h.PayloadLen) {
			t.Fatalf("%d of %d bytes: %+v", n, len(b), h)
		}
		if h.Codec != CodecNone {
			return // its payload cannot be sealed again as it is
		}
		s := Sealer{skip: 1}
		out, err := s.Seal(nil, h.ID(), Body{h.Stream.Lane, h.Catalogue, h.FirstNS, h.LastNS, h.Samples, h.Control, batch.Payload})
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := Parse(out)
		h.HeaderLen = got.Header.HeaderLen // fields of later versions are not kept
		if err != nil || got.Header != h || !bytes.Equal(got.Payload, batch.Payload) {
			t.Fatalf("got %+v, %v\nwant %+v", got.Header, err, h)
		}
	})
}

func FuzzOpener(f *testing.F) {
	b, _, err := Parse(readHex(f, "batch_zstd"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b.Payload, b.Header.RawLen)
	f.Add([]byte{}, uint32(0))
	var o Opener
	f.Fuzz(func(t *testing.T, payload []byte, rawLen uint32) {
		p, err := o.Payload(Batch{Header: Header{Codec: CodecZstd, RawLen: rawLen}, Payload: payload})
		if err == nil && (len(p) != int(rawLen) || len(p) > MaxRawBytes) {
			t.Fatalf("%d bytes, the header says %d", len(p), rawLen)
		}
	})
}

func FuzzControls(f *testing.F) {
	seeds(f, 0)
	f.Fuzz(func(t *testing.T, p []byte) {
		cs, err := Controls(p)
		if err != nil {
			return
		}
		var out []byte
		for _, c := range cs {
			switch {
			case c.EpochOpen != nil:
				out = AppendEpochOpen(out, c.EpochOpen)
			case c.Loss != nil:
				out = AppendLoss(out, c.Loss)
			case c.Base != nil:
				out = AppendBase(out, c.Base)
			case c.Anchor != nil:
				out = AppendAnchor(out, c.Anchor)
			case c.Event != nil:
				out = AppendEvent(out, c.Event)
			}
		}
		again(t, cs, out, Controls)
	})
}

func FuzzParseSend(f *testing.F) {
	seeds(f, 4)
	parse := func(b []byte) (Send, error) { s, _, err := ParseSend(b); return s, err }
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 2 {
			b = bytes.Clone(b[:min(len(b), 200)])
			b[1] = byte(len(b) + 4)
		}
		if s, err := parse(appendChecksum(b, 0)); err == nil {
			again(t, s, AppendSend(nil, s), parse)
		}
	})
}

func FuzzParseCtl(f *testing.F) {
	seeds(f, 4)
	f.Fuzz(func(t *testing.T, b []byte) {
		a, c, err := ParseCtl(appendChecksum(bytes.Clone(b), 0))
		switch {
		case err != nil:
		case a != nil:
			again(t, a, AppendAck(nil, a), ParseAck)
		default:
			again(t, c, AppendCommand(nil, c), ParseCommand)
		}
	})
}

func FuzzParseAnswer(f *testing.F) {
	seeds(f, 4)
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := ParseAnswer(appendChecksum(bytes.Clone(b), 0)); err == nil {
			again(t, a, AppendAnswer(nil, a), ParseAnswer)
		}
	})
}

func FuzzParseCataloguePart(f *testing.F) {
	seeds(f, 4)
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseCataloguePart(appendChecksum(bytes.Clone(b), 0))
		if err != nil {
			return
		}
		again(t, p, AppendCataloguePart(nil, p), ParseCataloguePart)
		var j CatalogueJoiner
		if _, done, err := j.Add(p); done && err == nil && p.Count != 1 {
			t.Fatalf("joined from one part of %d", p.Count)
		}
	})
}

func FuzzParseCatalogue(f *testing.F) {
	seeds(f, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCatalogue(b)
		if err != nil {
			return
		}
		// Bytes are compared, since scales may be NaN.
		out := c.Append(nil)
		got, err := ParseCatalogue(out)
		if err != nil || !bytes.Equal(got.Append(nil), out) || !bytes.HasPrefix(b, out) {
			t.Fatalf("got %+v, %v\nwant %+v", got, err, c)
		}
	})
}

func FuzzParseRanges(f *testing.F) {
	seeds(f, 0)
	f.Fuzz(func(t *testing.T, b []byte) {
		rs, n, err := ParseRanges(b, MaxRanges)
		if err != nil {
			return
		}
		if out := AppendRanges(nil, rs); !bytes.Equal(out, b[:n]) {
			t.Fatalf("%v gives %x, came from %x", rs, out, b[:n])
		}
		var set Ranges
		for _, r := range rs {
			set = set.Add(r.First, r.Last)
		}
		if len(set) != len(rs) || set.Count() != rs.Count() {
			t.Fatalf("%v is not a set: %v", rs, set)
		}
	})
}
