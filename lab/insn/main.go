// Command insn runs one path of the codec a given number of times over columns
// that are always the same, so that an instruction counter around it tells what
// a sample costs: twice with different numbers, and the difference.
//
//	insn samples [CASE]          how many samples, or frames, one round has
//	insn fast-encode ROUNDS      likewise full-encode, fast-decode, full-decode, fast-rows
//	insn can-kernel ROUNDS       CAN frames from the kernel's form to rows; can-text from candump text, can-raw to a raw block
//
// It reads no clock and no file.
package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"telemetry/wire"
)

// The columns: shapes of a car's channels at two lengths of batch.
const (
	channels = 96
	longRows = 150
	tickRows = 15
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "insn:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) > 0 && args[0] == "samples" {
		if len(args) == 2 && strings.HasPrefix(args[1], "can-") {
			fmt.Println(canFrames)
		} else {
			fmt.Println(channels * longRows)
		}
		return nil
	}
	if len(args) != 2 {
		return errors.New("want a case and a number of rounds")
	}
	rounds, err := strconv.Atoi(args[1])
	if err != nil {
		return err
	}
	fn, err := prepareCAN(args[0])
	if err == nil && fn == nil {
		fn, err = prepare(args[0])
	}
	if err != nil {
		return err
	}
	for range rounds {
		if err := fn(); err != nil {
			return err
		}
	}
	return nil
}

// prepare returns one round of a case.
func prepare(name string) (func() error, error) {
	block := columns()
	var e wire.BlockEncoder
	var buf []byte
	switch name {
	case "full-encode", "full-decode":
		e.Speed = wire.Full
	case "fast-encode", "fast-decode", "fast-rows":
	default:
		return nil, fmt.Errorf("unknown case %q", name)
	}
	switch name {
	case "fast-rows":
		rows := rowsOf(block)
		return func() error {
			for i := range rows {
				var err error
				if buf, _, err = e.AppendRows(buf[:0], &rows[i], 0, wire.MaxPayload); err != nil {
					return err
				}
			}
			return nil
		}, nil
	case "full-decode", "fast-decode":
		out, err := e.Append(nil, block)
		if err != nil {
			return nil, err
		}
		section, _, err := wire.NextSection(out)
		var got wire.Block
		return func() error { return wire.ParseBlock(section.Body, &got) }, err
	}
	return func() (err error) {
		buf, err = e.Append(buf[:0], block)
		return err
	}, nil
}

// noise is a hash of channel and row.
func noise(c, r int) int64 {
	x := uint64(c)<<32 ^ uint64(r)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return int64(x >> 40) // 24 bits
}

// triangle is a smooth wave of some period and height.
func triangle(r, period, height int) int64 {
	at := r % period
	if at > period/2 {
		at = period - at
	}
	return int64(at * height / period)
}

// columns returns 16-bit waves with noise of different sizes, slow and constant
// channels, switches, and one float in eight.
func columns() *wire.Block {
	b := &wire.Block{Ticks: make([]int64, longRows)}
	for r := range b.Ticks {
		b.Ticks[r] = int64(r) * 1_000_000
	}
	for c := range channels {
		col := wire.Column{Type: wire.TypeInt}
		for r := range longRows {
			var v int64
			switch c % 8 {
			case 0, 1, 2: // pressures, accelerations
				v = 2000 + triangle(r+c, 60+c, 4000) + noise(c, r)>>(24-uint(c%5)-2)
			case 3: // vibration
				v = noise(c, r)>>14 - 512
			case 4: // a temperature
				v = 900 + int64(r/(20+c)) + noise(c, r)>>23
			case 5: // a switch
				v = int64(r / (40 + c) % 2)
			case 6:
				v = int64(c)
			case 7:
				col.Type = wire.TypeF32
				v = int64(math.Float32bits(float32(20+triangle(r, 90, 300)) / 16))
			}
			col.Values = append(col.Values, v)
		}
		b.Columns = append(b.Columns, col)
	}
	return b
}

// rowsOf cuts the block into runs of rows as a source delivers them; floats
// stand among integers there too.
func rowsOf(b *wire.Block) []wire.RowBlock {
	types := make([]wire.ValueType, len(b.Columns))
	for c := range b.Columns {
		types[c] = b.Columns[c].Type
	}
	var out []wire.RowBlock
	for first := 0; first < longRows; first += tickRows {
		r := wire.RowBlock{Types: types, Ticks: b.Ticks[first : first+tickRows]}
		for row := first; row < first+tickRows; row++ {
			for c := range b.Columns {
				r.Values = append(r.Values, b.Columns[c].Values[row])
			}
		}
		out = append(out, r)
	}
	return out
}
