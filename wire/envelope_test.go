package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestSealRoundTrip(t *testing.T) {
	cases := []struct {
		name  string
		id    ID
		body  Body
		codec Codec
	}{
		{"block", sampleID(LaneFull, 1), sampleBody(), CodecNone},
		{"control", sampleID(LaneCritical, MaxSeq), sampleControlBody(), CodecNone},
		{"text", sampleID(LaneCritical, 2), sampleTextBody(), CodecZstd},
		{
			"extremes",
			ID{Stream{Car: strings.Repeat("Z", MaxCarLen), Epoch: Epoch{math.MaxUint32, math.MaxUint64}, Lane: LaneLive, Shard: math.MaxUint16}, MaxSeq},
			Body{Lane: LaneLive, Catalogue: sampleHash, FirstNS: math.MinInt64, LastNS: math.MaxInt64, Samples: math.MaxUint32, Payload: []byte{9}},
			CodecNone,
		},
		{
			"largest raw", sampleID(LaneFull, 3),
			Body{Lane: LaneFull, Payload: make([]byte, MaxRawBytes)},
			CodecZstd,
		},
	}
	var s Sealer
	var o Opener
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s.skip, s.wait = 0, 0
			b, err := s.Seal([]byte("before"), c.id, c.body)
			if err != nil {
				t.Fatal(err)
			}
			b = append(b, "after"...)[len("before"):]
			got, n, err := Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			h := got.Header
			if string(b[n:]) != "after" || h.Size() != n || len(got.Raw) != n || len(b)-n != len("after") {
				t.Errorf("%d bytes, header says %d", n, h.Size())
			}
			back := Body{h.Stream.Lane, h.Catalogue, h.FirstNS, h.LastNS, h.Samples, h.Control, nil}
			want := c.body
			want.Payload = nil
			if h.ID() != c.id || h.Codec != c.codec || !sameBody(back, want) || int(h.RawLen) != len(c.body.Payload) {
				t.Errorf("got %+v", h)
			}
			p, err := o.Payload(got)
			if err != nil || !bytes.Equal(p, c.body.Payload) {
				t.Errorf("payload of %d bytes, %v", len(p), err)
			}
			if h2, err := ParseHeader(b[:h.HeaderLen]); err != nil || h2 != h {
				t.Errorf("header alone: %+v, %v", h2, err)
			}
		})
	}
}

func sameBody(a, b Body) bool {
	return a.Lane == b.Lane && a.Catalogue == b.Catalogue && a.FirstNS == b.FirstNS && a.LastNS == b.LastNS &&
		a.Samples == b.Samples && a.Control == b.Control
}

func TestSealRefuses(t *testing.T) {
	ok := Body{Lane: LaneFull, Payload: []byte{1}}
	with := func(fn func(id *ID, b *Body)) (ID, Body) {
		id, b := sampleID(LaneFull, 1), ok
		fn(&id, &b)
		return id, b
	}
	noise := make([]byte, MaxPayload+1)
	rng := rand.New(rand.NewPCG(1, 5))
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	cases := []struct {
		name string
		fn   func(id *ID, b *Body)
	}{
		{"no car", func(id *ID, _ *Body) { id.Stream.Car = "" }},
		{"long car", func(id *ID, _ *Body) { id.Stream.Car = strings.Repeat("a", MaxCarLen+1) }},
		{"a car with a slash", func(id *ID, _ *Body) { id.Stream.Car = "a/b" }},
		{"no lane", func(id *ID, b *Body) { id.Stream.Lane, b.Lane = 0, 0 }},
		{"another lane", func(_ *ID, b *Body) { b.Lane = LaneLive }},
		{"number 0", func(id *ID, _ *Body) { id.Seq = 0 }},
		{"number too high", func(id *ID, _ *Body) { id.Seq = MaxSeq + 1 }},
		{"time runs back", func(_ *ID, b *Body) { b.FirstNS = 1 }},
		{"no payload", func(_ *ID, b *Body) { b.Payload = nil }},
		{"payload too large", func(_ *ID, b *Body) { b.Payload = make([]byte, MaxRawBytes+1) }},
		{"payload too large as stored", func(_ *ID, b *Body) { b.Payload = noise }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var s Sealer
			id, b := with(c.fn)
			if out, err := s.Seal([]byte("x"), id, b); err == nil || string(out) != "x" {
				t.Fatalf("got %d bytes, %v", len(out), err)
			}
		})
	}
}

func sealedSamples() map[string][]byte {
	return map[string][]byte{
		"block":   seal(sampleID(LaneFull, 1), sampleBody()),
		"control": seal(sampleID(LaneCritical, 9), sampleControlBody()),
		"zstd":    seal(sampleID(LaneCritical, 2), sampleTextBody()),
	}
}

// TestFlippedBits damages every byte of sealed batches in every bit.
func TestFlippedBits(t *testing.T) {
	for name, sealed := range sealedSamples() {
		t.Run(name, func(t *testing.T) {
			b := append(slices.Clone(sealed), make([]byte, 256)...) // a longer header would find bytes
			for i := range sealed {
				for flip := 1; flip < 256; flip++ {
					b[i] = sealed[i] ^ byte(flip)
					if got, _, err := Parse(b); err == nil {
						t.Fatalf("byte %d with %#x parsed as %v", i, flip, got.Header)
					}
				}
				b[i] = sealed[i]
			}
		})
	}
}

func TestTruncatedBatch(t *testing.T) {
	for name, sealed := range sealedSamples() {
		t.Run(name, func(t *testing.T) {
			h, err := ParseHeader(sealed)
			if err != nil {
				t.Fatal(err)
			}
			for n := range sealed {
				if _, _, err := Parse(sealed[:n]); !errors.Is(err, ErrShort) {
					t.Fatalf("%d of %d bytes: %v", n, len(sealed), err)
				}
				if _, err := ParseHeader(sealed[:n]); (err == nil) != (n >= h.HeaderLen) {
					t.Fatalf("header of %d bytes: %v", n, err)
				}
			}
		})
	}
}

// rehash sets both checksums of what may be a batch, so that tests reach what
// lies behind them.
func rehash(b []byte) []byte {
	if len(b) < fixedHeader || int(b[5]) < fixedHeader+4 || len(b) < int(b[5]) {
		return b
	}
	n := int(b[5])
	size := binary.LittleEndian.Uint32(b[8:])
	if end := uint64(n) + uint64(size); end <= uint64(len(b)) {
		binary.LittleEndian.PutUint32(b[12:], checksum(b[n:end]))
	}
	binary.LittleEndian.PutUint32(b[n-4:], checksum(b[:n-4]))
	return b
}

func TestParseHeaderRefuses(t *testing.T) {
	cases := []struct {
		name string
		fn   func(b []byte)
		want error
	}{
		{"no magic", func(b []byte) { b[0]++ }, ErrMagic},
		{"a later version", func(b []byte) { b[4]++ }, ErrVersion},
		{"lane 0", func(b []byte) { b[6] &^= flagLane }, nil},
		{"unknown flag", func(b []byte) { b[6] |= 0x80 }, nil},
		{"unknown codec", func(b []byte) { b[7] = 2 }, nil},
		{"no payload", func(b []byte) { copy(b[8:12], make([]byte, 4)) }, nil},
		{"payload too large", func(b []byte) { binary.LittleEndian.PutUint32(b[8:], MaxPayload+1) }, nil},
		{"header too short", func(b []byte) { b[5] = fixedHeader }, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b := slices.Clone(seal(sampleID(LaneFull, 1), sampleBody()))
			c.fn(b)
			_, err := ParseHeader(rehash(b))
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("got %v, want %v", err, c.want)
			}
		})
	}
}

// TestHeaderOfALaterMinor appends a field that this build does not know.
func TestHeaderOfALaterMinor(t *testing.T) {
	b := seal(sampleID(LaneFull, 1), sampleBody())
	want, err := ParseHeader(b)
	if err != nil {
		t.Fatal(err)
	}
	n := want.HeaderLen
	b = slices.Insert(b, n-4, 1, 2, 3)
	b[5] += 3
	got, _, err := Parse(rehash(b))
	want.HeaderLen += 3
	if err != nil || got.Header != want {
		t.Fatalf("got %+v, %v", got.Header, err)
	}
}

func TestFindMagic(t *testing.T) {
	b := seal(sampleID(LaneFull, 1), sampleBody())
	if n := FindMagic(append([]byte{0xA7, 0xA7, 0x54}, b...)); n != 3 {
		t.Errorf("found at %d", n)
	}
	if n := FindMagic(b[1:]); n != -1 {
		t.Errorf("found at %d where none is", n)
	}
}

// TestOpenerRefuses sends frames that do not hold what the header says.
func TestOpenerRefuses(t *testing.T) {
	batch, _, err := Parse(seal(sampleID(LaneCritical, 2), sampleTextBody()))
	if err != nil {
		t.Fatal(err)
	}
	cases := []struct {
		name string
		fn   func(b *Batch)
	}{
		{"longer than said", func(b *Batch) { b.Header.RawLen-- }},
		{"shorter than said", func(b *Batch) { b.Header.RawLen++ }},
		{"no frame", func(b *Batch) { b.Payload = []byte("not zstd") }},
		{"cut off", func(b *Batch) { b.Payload = b.Payload[:len(b.Payload)-1] }},
		{"a bomb", func(b *Batch) { b.Payload = bomb(t) }},
	}
	var o Opener
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			bad := batch
			c.fn(&bad)
			if p, err := o.Payload(bad); err == nil {
				t.Fatalf("opened to %d bytes", len(p))
			}
			if p, err := o.Payload(batch); err != nil || len(p) != int(batch.Header.RawLen) {
				t.Fatalf("after it: %d bytes, %v", len(p), err)
			}
			if cap(o.buf) > 2*MaxRawBytes {
				t.Fatalf("kept %d bytes", cap(o.buf))
			}
		})
	}
}

// bomb is a frame of 64 MiB of zeros.
func bomb(t *testing.T) []byte {
	t.Helper()
	var s Sealer
	s.compress(make([]byte, minCompress)) // makes the encoder
	return s.enc.EncodeAll(make([]byte, 64<<20), nil)
}

// TestSealBacksOff counts how often zstd is tried while it loses.
func TestSealBacksOff(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 6))
	noise := make([]byte, 1000)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	var s Sealer
	tried := 0
	for range 1000 {
		if s.skip == 0 {
			tried++
		}
		if _, codec := s.compress(noise); codec != CodecNone {
			t.Fatal("noise was compressed")
		}
	}
	if tried > 25 {
		t.Errorf("tried %d times in 1000", tried)
	}
	s.skip = 0
	if _, codec := s.compress(make([]byte, 1000)); codec != CodecZstd || s.skip != 0 {
		t.Errorf("codec %d, then %d skipped", codec, s.skip)
	}
}

func TestEnvelopeAllocs(t *testing.T) {
	var s Sealer
	var o Opener
	id, body, text := sampleID(LaneFull, 1), sampleBody(), sampleTextBody()
	var buf []byte
	sealOne := func() { buf, _ = s.Seal(buf[:0], id, body) }
	sealOne()
	if n := testing.AllocsPerRun(100, sealOne); n != 0 {
		t.Errorf("Seal: %v allocations", n)
	}
	packed := seal(sampleID(LaneCritical, 1), text)
	open := func() {
		b, _, err := Parse(packed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := o.Payload(b); err != nil {
			t.Fatal(err)
		}
	}
	open()
	// One for the car's name.
	if n := testing.AllocsPerRun(100, open); n > 2 {
		t.Errorf("Parse and Payload: %v allocations", n)
	}
}

func BenchmarkSeal(b *testing.B) {
	var s Sealer
	id, body := sampleID(LaneFull, 1), sampleBody()
	p, err := AppendBlock(nil, benchBlock(150))
	if err != nil {
		b.Fatal(err)
	}
	body.Payload = p
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	var buf []byte
	for b.Loop() {
		buf, _ = s.Seal(buf[:0], id, body)
	}
}

func BenchmarkParse(b *testing.B) {
	body := sampleBody()
	body.Payload = make([]byte, 8000)
	for i := range body.Payload {
		body.Payload[i] = byte(i * i * 31)
	}
	sealed := seal(sampleID(LaneFull, 1), body)
	b.ReportAllocs()
	b.SetBytes(int64(len(sealed)))
	for b.Loop() {
		if _, _, err := Parse(sealed); err != nil {
			b.Fatal(err)
		}
	}
}
