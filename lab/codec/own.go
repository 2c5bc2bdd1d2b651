package codec

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"telemetry/wire"
)

// errLossy says that a decoded block is not what was encoded.
var errLossy = errors.New("decoded values are not those that were encoded")

// own measures one speed of wire's codec.
func own(set *Set, n int, speed wire.Speed, subject string, tile int) (Result, error) {
	c := count{result: Result{File: set.File, N: n, Subject: subject}}
	m := measured{encoder: wire.BlockEncoder{Speed: speed}, ticks: ticks(n)}
	err := set.cuts(n, func(chs []*Channel, s int) error {
		c.cuts++
		c.samples += n * len(chs)
		// A block holds so many columns that it surely fits a batch.
		most := max(1, min(len(chs), wire.MaxPayload/(8*n+64)*4))
		for i := 0; i < len(chs); i += most {
			columns, batch, err := m.block(chs[i:min(i+most, len(chs))], i, s, n)
			if err != nil {
				return err
			}
			c.columns += columns
			c.batches += batch
		}
		return nil
	})
	if err != nil && !errors.Is(err, errLossy) {
		return c.result, fmt.Errorf("%s, n %d, %s: %w", set.File, n, subject, err)
	}
	lossless := err == nil
	r := c.finish()
	if c.cuts == 0 {
		return r, nil
	}
	if r.Lossless = &lossless; !lossless {
		return r, nil
	}
	encode, decode, err := speeds(set, n, &m.encoder, tile)
	r.EncodeMSps, r.DecodeMSps = &encode, &decode
	return r, err
}

// measured encodes blocks and compares them.
type measured struct {
	encoder wire.BlockEncoder
	sealer  wire.Sealer
	ticks   []int64
	buf     []byte
	got     wire.Block
	seq     uint64
}

// ticks returns those of n rows at 1 kHz.
func ticks(n int) []int64 {
	t := make([]int64, n)
	for i := range t {
		t[i] = int64(i) * 1_000_000
	}
	return t
}

// block encodes, decodes and seals n samples of some channels, the number of the
// first of which is given, and returns the
// bytes of the columns and of the batch.
func (m *measured) block(chs []*Channel, first, s, n int) (columns, batch int, err error) {
	block := wire.Block{FirstColumn: uint32(first), Ticks: m.ticks}
	for _, c := range chs {
		block.Columns = append(block.Columns, wire.Column{Type: c.valueType(), Values: c.Values[s : s+n]})
	}
	if m.buf, err = m.encoder.Append(m.buf[:0], &block); err != nil {
		return 0, 0, err
	}
	sec, _, err := wire.NextSection(m.buf)
	if err != nil {
		return 0, 0, err
	}
	if err := wire.ParseBlock(sec.Body, &m.got); err != nil {
		return 0, 0, err
	}
	if !equal(&block, &m.got) {
		return 0, 0, errLossy
	}
	m.seq++
	id := wire.ID{Stream: wire.Stream{Car: "car", Epoch: wire.Epoch{Counter: 9, Nonce: 1 << 60}, Lane: wire.LaneFull}, Seq: m.seq}
	sealed, err := m.sealer.Seal(nil, id, wire.Body{
		Lane: wire.LaneFull, Catalogue: wire.CatalogueHash{1}, FirstNS: m.ticks[0], LastNS: m.ticks[n-1],
		Samples: uint32(block.Samples()), Payload: m.buf,
	})
	return len(sec.Body) - headLen(sec.Body), len(sealed), err
}

func equal(a, b *wire.Block) bool {
	if !slices.Equal(a.Ticks, b.Ticks) || len(a.Columns) != len(b.Columns) {
		return false
	}
	for i := range a.Columns {
		if a.Columns[i].Type != b.Columns[i].Type || !slices.Equal(a.Columns[i].Values, b.Columns[i].Values) {
			return false
		}
	}
	return true
}

// headLen returns the bytes of a block's body before the columns, for periodic
// ticks or one: group, column, rows, columns, tick mode, ticks.
func headLen(body []byte) int {
	n := 0
	varint := func() {
		for body[n] >= 0x80 {
			n++
		}
		n++
	}
	for range 4 {
		varint()
	}
	single := body[n]&0x0f == 0
	n++
	varint()
	if !single {
		varint()
	}
	return n
}

// blockColumns is how many columns stand in one block when speed is measured.
func blockColumns(n int) int { return max(1, 16<<10/n) }

// Speeds are measured on so many channels, the recording's ones repeated, and
// at the most on so many values in a window: 64 MiB.
const (
	tileChannels = 50_000
	tileValues   = 8 << 20
)

// windows are how many blocks of each channel follow on each other in time when
// speed is measured, over and over.
const windows = 3

// tiled returns blocks of all channels with n samples for each window. A channel
// stands at the same place in all of them; repeated ones come from another part
// of the recording.
func tiled(set *Set, n, tile int) (blocks [windows][]wire.Block, samples int) {
	most := min(tile, max(1, tileValues/n))
	channels := 0
	for w := range blocks {
		block := wire.Block{Ticks: ticks(n)}
		var values []int64 // of one block, side by side as a transposer leaves them
		channels = 0
		for round := 0; channels < most; round++ {
			before := channels
			for i := range set.Channels {
				c := &set.Channels[i]
				if len(c.Values) < n || channels >= most {
					continue
				}
				s := (round*7 + w) * n % (len(c.Values) - n + 1)
				if len(block.Columns) == 0 {
					values = make([]int64, 0, blockColumns(n)*n)
				}
				at := len(values)
				values = append(values, c.Values[s:s+n]...)
				block.Columns = append(block.Columns, wire.Column{Type: c.valueType(), Values: values[at:len(values):len(values)]})
				channels++
				if len(block.Columns) == blockColumns(n) {
					blocks[w] = append(blocks[w], block)
					block.Columns, block.FirstColumn = nil, uint32(channels)
				}
			}
			if channels == before {
				break
			}
		}
		if len(block.Columns) > 0 {
			blocks[w] = append(blocks[w], block)
		}
	}
	return blocks, channels * n
}

// passes is how many windows the encoder is given before it is measured, and in
// each measurement: what it knows of a column it finds anew once in as many.
const passes = 12

// speeds encodes and decodes tiled columns until either took measureFor of CPU.
func speeds(set *Set, n int, e *wire.BlockEncoder, tile int) (encode, decode float64, err error) {
	blocks, samples := tiled(set, n, tile)
	var buf []byte
	encode, err = perSecond(passes*samples, func() error {
		for w := range passes {
			for i := range blocks[w%windows] {
				if buf, err = e.Append(buf[:0], &blocks[w%windows][i]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return 0, 0, err
	}
	var encoded [][]byte
	for w := range blocks {
		for i := range blocks[w] {
			if buf, err = e.Append(nil, &blocks[w][i]); err != nil {
				return 0, 0, err
			}
			encoded = append(encoded, buf)
		}
	}
	decode, err = perSecond(windows*samples, func() error {
		return decodeAll(encoded)
	})
	return encode, decode, err
}

func decodeAll(sections [][]byte) error {
	var got wire.Block
	for _, s := range sections {
		sec, _, err := wire.NextSection(s)
		if err != nil {
			return err
		}
		if err := wire.ParseBlock(sec.Body, &got); err != nil {
			return err
		}
	}
	return nil
}

const measureFor = 400 * time.Millisecond

// perSecond returns millions of samples per second of CPU, the best of runs of
// fn that last measureFor together; the first run is not counted.
func perSecond(samples int, fn func() error) (float64, error) {
	if err := fn(); err != nil {
		return 0, err
	}
	best := 0.0
	for spent := time.Duration(0); spent < measureFor; {
		took, err := cpuTime(fn)
		if err != nil {
			return 0, err
		}
		took = max(took, time.Microsecond)
		spent += took
		best = max(best, float64(samples)/1e6/took.Seconds())
	}
	return best, nil
}
