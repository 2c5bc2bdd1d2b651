package wire

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write testdata anew; only ever to add vectors")

// A vector fixes the bytes of one value. Its files in testdata are NAME.hex and
// NAME.json: the bytes, and what they say.
type vector struct {
	name   string
	encode func() []byte
	decode func(b []byte) (any, error)
	// foreign says that the bytes depend on the compressor, or were written by
	// an earlier version that chose other ways, so that only decoding is tested.
	foreign bool
}

func blockVector(name string, b *Block, speed Speed) vector {
	return vector{
		name:   name,
		encode: func() []byte { e := BlockEncoder{Speed: speed}; out, _ := e.Append(nil, b); return out },
		decode: func(b []byte) (any, error) {
			s, _, err := NextSection(b)
			if err != nil {
				return nil, err
			}
			var out Block
			err = ParseBlock(s.Body, &out)
			return out, err
		},
	}
}

func controlVector(name string, encode func() []byte) vector {
	return vector{name: name, encode: encode, decode: func(b []byte) (any, error) { return Controls(b) }}
}

func batchVector(name string, id ID, body Body) vector {
	return vector{name: name, encode: func() []byte { return seal(id, body) }, decode: decodeBatch}
}

// decodeBatch gives header and sections of a sealed batch.
func decodeBatch(b []byte) (any, error) {
	batch, n, err := Parse(b)
	if err != nil {
		return nil, err
	}
	if n != len(b) {
		return nil, errors.New("bytes left over")
	}
	var o Opener
	p, err := o.Payload(batch)
	if err != nil {
		return nil, err
	}
	out := struct {
		Header   Header
		Blocks   []Block
		Controls []Control
	}{Header: batch.Header}
	if out.Controls, err = Controls(p); err != nil {
		return nil, err
	}
	for len(p) > 0 {
		s, n, err := NextSection(p)
		if err != nil {
			return nil, err
		}
		p = p[n:]
		if s.Type == SectionBlock {
			out.Blocks = append(out.Blocks, Block{})
			if err := ParseBlock(s.Body, &out.Blocks[len(out.Blocks)-1]); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

func decodeSend(b []byte) (any, error) {
	s, n, err := ParseSend(b)
	if err == nil && n != len(b) {
		err = errors.New("bytes left over")
	}
	return s, err
}

func decodeRanges(b []byte) (any, error) {
	rs, n, err := ParseRanges(b, MaxRanges)
	if err == nil && n != len(b) {
		err = errors.New("bytes left over")
	}
	return rs, err
}

func vectors() []vector {
	zstd := batchVector("batch_zstd", sampleID(LaneCritical, 2), sampleTextBody())
	zstd.foreign = true
	vs := vectorsOfToday()
	// Layouts 1 to 5 are no longer written.
	for _, v := range []vector{
		blockVector("block_stream", sampleBlock(), Full),
		blockVector("block_stream_predictions", samplePredictions(), Full),
		blockVector("block_stream_special", sampleSpecial(), Full),
		blockVector("block_stream_decimals", sampleDecimals(), Full),
	} {
		v.foreign = true
		vs = append(vs, v)
	}
	return append(vs, zstd)
}

func vectorsOfToday() []vector {
	return []vector{
		blockVector("block", sampleBlock(), Fast),
		blockVector("block_dense", sampleBlock(), Full),
		blockVector("block_dense_predictions", samplePredictions(), Full),
		blockVector("block_dense_special", sampleSpecial(), Full),
		blockVector("block_dense_decimals", sampleDecimals(), Full),
		blockVector("block_dense_table", sampleTable(), Full),
		blockVector("block_dense_grid", sampleGrid(), Full),
		blockVector("block_ticks_single", tickBlock(-5), Fast),
		blockVector("block_ticks_delta", tickBlock(0, 1_000_003, 2_000_001, 2_999_999, 4_000_007), Fast),
		blockVector("block_ticks_delta2", sampleDrift(), Fast),
		keyedVector("block_keyed", sampleKeyed(), 3),
		controlVector("epoch_open", func() []byte { return AppendEpochOpen(nil, sampleEpochOpen()) }),
		controlVector("loss", func() []byte { return AppendLoss(nil, sampleLoss()) }),
		controlVector("base", func() []byte { return AppendBase(nil, sampleBase()) }),
		controlVector("anchor", func() []byte { return AppendAnchor(nil, sampleAnchor()) }),
		controlVector("event", func() []byte { return AppendEvent(nil, sampleEvent()) }),
		batchVector("batch", sampleID(LaneFull, 1), sampleBody()),
		batchVector("batch_control", sampleID(LaneCritical, MaxSeq), sampleControlBody()),
		{name: "send", encode: func() []byte { return AppendSend(nil, sampleSend()) }, decode: decodeSend},
		{name: "send-sampled", encode: func() []byte { return AppendSend(nil, sampledSend()) }, decode: decodeSend},
		{name: "ack", encode: func() []byte { return AppendAck(nil, sampleAck()) }, decode: func(b []byte) (any, error) { return ParseAck(b) }},
		{name: "command", encode: func() []byte { return AppendCommand(nil, sampleCommand()) }, decode: func(b []byte) (any, error) { return ParseCommand(b) }},
		{name: "answer", encode: func() []byte { return AppendAnswer(nil, sampleAnswer()) }, decode: func(b []byte) (any, error) { return ParseAnswer(b) }},
		{name: "catalogue", encode: func() []byte { return sampleCatalogue().Append(nil) }, decode: func(b []byte) (any, error) { return ParseCatalogue(b) }},
		{name: "catalogue_part", encode: func() []byte { return AppendCataloguePart(nil, samplePart()) }, decode: func(b []byte) (any, error) { return ParseCataloguePart(b) }},
		{name: "ranges", encode: func() []byte { return AppendRanges(nil, Ranges{{1, 1}, {3, 1000}, {1 << 47, MaxSeq}}) }, decode: decodeRanges},
	}
}

// readHex reads a vector's bytes; space and line ends do not matter.
func readHex(t testing.TB, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".hex"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeVector(t *testing.T, v vector) {
	t.Helper()
	b := v.encode()
	var text strings.Builder
	for rest := b; len(rest) > 0; {
		n := min(32, len(rest))
		text.WriteString(hex.EncodeToString(rest[:n]) + "\n")
		rest = rest[n:]
	}
	said, err := v.decode(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll("testdata", 0o755); err != nil {
		t.Fatal(err)
	}
	for ext, data := range map[string][]byte{".hex": []byte(text.String()), ".json": describe(t, said)} {
		if err := os.WriteFile(filepath.Join("testdata", v.name+ext), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// numberLine is a line of JSON that holds a number only: columns go on one line.
var numberLine = regexp.MustCompile(`(?m)\n\s+(-?\d+,?)$`)

func describe(t *testing.T, v any) []byte {
	t.Helper()
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return append(numberLine.ReplaceAll(text, []byte(" $1")), '\n')
}

func TestGoldenEncode(t *testing.T) {
	for _, v := range vectors() {
		t.Run(v.name, func(t *testing.T) {
			if *update {
				writeVector(t, v)
			}
			if want := readHex(t, v.name); !v.foreign && !bytes.Equal(v.encode(), want) {
				t.Fatalf("got %x\nwant %x", v.encode(), want)
			}
		})
	}
}

func TestGoldenDecode(t *testing.T) {
	for _, v := range vectors() {
		t.Run(v.name, func(t *testing.T) {
			said, err := v.decode(readHex(t, v.name))
			if err != nil {
				t.Fatal(err)
			}
			want, err := os.ReadFile(filepath.Join("testdata", v.name+".json"))
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(t, said); !bytes.Equal(got, want) {
				t.Fatalf("got %s\nwant %s", got, want)
			}
		})
	}
}

// TestGoldenFiles keeps testdata and the table of vectors together.
func TestGoldenFiles(t *testing.T) {
	known := map[string]bool{}
	for _, v := range vectors() {
		known[v.name] = true
	}
	files, err := filepath.Glob("testdata/*.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := filepath.Base(f)
		if !known[strings.TrimSuffix(name, filepath.Ext(name))] {
			t.Errorf("%s belongs to no vector", f)
		}
	}
}
