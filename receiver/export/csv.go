package export

import (
	"io"
	"math"
	"strconv"
	"strings"

	"telemetry/internal/physical"
	"telemetry/receiver/sequence/columns"
)

// csvFile is a table as text: commas, a head of names, a line feed after each row.
type csvFile struct {
	w     io.Writer
	units bool
	buf   []byte
	of    [][]int // fields of each column: two kinds of one channel share one
}

// csvBuffer is how much text is gathered before it is written.
const csvBuffer = 64 << 10

func newCSV(w io.Writer, opt Options) sheet { return &csvFile{w: w, units: opt.Units} }

func (f *csvFile) write(g *group) error {
	if f.of == nil {
		f.head(g)
	}
	for row := range g.utc {
		f.buf = strconv.AppendInt(f.buf, g.utc[row], 10)
		f.buf = strconv.AppendInt(append(f.buf, ','), g.boot[row], 10)
		f.buf = strconv.AppendUint(append(f.buf, ','), uint64(g.epoch[row]), 10)
		f.buf = append(f.buf, ',', '0')
		if g.synced[row] {
			f.buf[len(f.buf)-1] = '1'
		}
		for _, fields := range f.of {
			f.buf = append(f.buf, ',')
			for _, k := range fields {
				c := &g.cols[k]
				if !c.has(row) {
					continue
				}
				if g.fields[k].kind == kindText {
					f.buf = appendCell(f.buf, c.texts[c.bits[row]])
				} else {
					f.buf = AppendValue(f.buf, g.fields[k].kind, c.bits[row])
				}
				break
			}
		}
		f.buf = append(f.buf, '\n')
		if len(f.buf) > csvBuffer {
			if err := f.spill(); err != nil {
				return err
			}
		}
	}
	return f.spill()
}

// head writes the names and settles which fields a column has.
func (f *csvFile) head(g *group) {
	f.of = [][]int{}
	at := map[string]int{}
	f.buf = append(f.buf, FieldTS+","+FieldBoot+","+FieldEpoch+","+FieldSynced...)
	for i := range g.fields {
		d := &g.fields[i]
		if k, ok := at[d.channel.Name]; ok {
			f.of[k] = append(f.of[k], i)
			continue
		}
		at[d.channel.Name] = len(f.of)
		f.of = append(f.of, []int{i})
		name := d.name
		if f.units && d.channel.Unit != "" {
			name += " [" + columns.Text(d.channel.Unit) + "]"
		}
		f.buf = appendCell(append(f.buf, ','), name)
	}
	f.buf = append(f.buf, '\n')
}

func (f *csvFile) spill() error {
	_, err := f.w.Write(f.buf)
	f.buf = f.buf[:0]
	return err
}

func (f *csvFile) close() error { return nil }

// appendCell appends a text, in quotes where RFC 4180 wants them.
func appendCell(dst []byte, s string) []byte {
	if !strings.ContainsAny(s, ",\"\r\n") {
		return append(dst, s...)
	}
	dst = append(dst, '"')
	dst = append(dst, strings.ReplaceAll(s, `"`, `""`)...)
	return append(dst, '"')
}

// AppendValue appends a value as the shortest text that reads back as it. An integer
// has neither point nor exponent, every other number has: see [physical.AppendFloat].
// A float32 is written as the double that it is.
func AppendValue(dst []byte, k columns.Kind, bits uint64) []byte {
	switch k {
	case columns.Int:
		return strconv.AppendInt(dst, int64(bits), 10)
	case columns.Uint:
		return strconv.AppendUint(dst, bits, 10)
	}
	return physical.AppendFloat(dst, float(k, bits))
}

// float returns a value that is no integer.
func float(k columns.Kind, bits uint64) float64 {
	if k == columns.Float32 {
		return float64(math.Float32frombits(uint32(bits)))
	}
	return math.Float64frombits(bits)
}
