package export

import (
	"encoding/binary"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"telemetry/receiver/sequence/columns"
)

func bitsOf(x float64) uint64 { return math.Float64bits(x) }

// arrowFile is an Arrow IPC file, which is Feather version 2 too.
type arrowFile struct {
	schema *arrow.Schema
	fields int
	w      *ipc.FileWriter
}

func newArrow(w io.Writer, g *group, opt Options) (sheet, error) {
	f := &arrowFile{schema: schemaOf(g, opt), fields: len(g.fields)}
	var err error
	f.w, err = ipc.NewFileWriter(w, ipc.WithSchema(f.schema))
	return f, err
}

// schemaOf describes a group's columns.
func schemaOf(g *group, opt Options) *arrow.Schema {
	fields := []arrow.Field{
		{Name: FieldTime, Type: &arrow.TimestampType{Unit: arrow.Nanosecond, TimeZone: "UTC"}},
		{Name: FieldBoot, Type: arrow.PrimitiveTypes.Int64},
		{Name: FieldEpoch, Type: arrow.PrimitiveTypes.Uint32},
		{Name: FieldSynced, Type: arrow.FixedWidthTypes.Boolean},
	}
	for i := range g.fields {
		f := &g.fields[i]
		fields = append(fields, arrow.Field{Name: f.name, Type: arrowType(f.kind), Nullable: true, Metadata: describe(f)})
	}
	meta := arrow.NewMetadata([]string{"car", "group"}, []string{columns.Text(opt.Car), columns.Text(g.name)})
	return arrow.NewSchema(fields, &meta)
}

func arrowType(k columns.Kind) arrow.DataType {
	switch k {
	case columns.Int:
		return arrow.PrimitiveTypes.Int64
	case columns.Uint:
		return arrow.PrimitiveTypes.Uint64
	case columns.Float32:
		return arrow.PrimitiveTypes.Float32
	case kindText:
		return arrow.BinaryTypes.String
	default:
		return arrow.PrimitiveTypes.Float64
	}
}

// describe is a column's metadata.
func describe(f *field) arrow.Metadata {
	keys, values := []string{"channel"}, []string{columns.Text(f.channel.Name)}
	add := func(k, v string) {
		if v != "" {
			keys, values = append(keys, k), append(values, v)
		}
	}
	add("unit", columns.Text(f.channel.Unit))
	add("description", columns.Text(f.channel.Description))
	enums(f, func(v, name string) { add("enum."+v, name) })
	return arrow.NewMetadata(keys, values)
}

func (f *arrowFile) write(g *group) error {
	b := f.batch(g)
	defer b.Release()
	return f.w.Write(b)
}

func (f *arrowFile) close() error { return f.w.Close() }

// batch makes a record batch that refers to the group's memory.
func (f *arrowFile) batch(g *group) arrow.RecordBatch {
	n := g.rows()
	synced := make([]byte, (n+7)/8)
	for i, is := range g.synced {
		if is {
			synced[i/8] |= 1 << (i % 8)
		}
	}
	data := []arrow.Array{
		wrap(f.schema.Field(0).Type, arrow.Int64Traits.CastToBytes(g.utc), nil, n, 0),
		wrap(f.schema.Field(1).Type, arrow.Int64Traits.CastToBytes(g.boot), nil, n, 0),
		wrap(f.schema.Field(2).Type, arrow.Uint32Traits.CastToBytes(g.epoch), nil, n, 0),
		wrap(f.schema.Field(3).Type, synced, nil, n, 0),
	}
	for i := range f.fields {
		c := &g.cols[i]
		if g.fields[i].kind == kindText {
			data = append(data, wrapTexts(c))
			continue
		}
		values := arrow.Uint64Traits.CastToBytes(c.bits)
		if g.fields[i].kind == columns.Float32 {
			values = arrow.Uint32Traits.CastToBytes(halves(c.bits))
		}
		data = append(data, wrap(arrowType(g.fields[i].kind), values, validBytes(c.valid), n, n-c.n))
	}
	b := array.NewRecordBatch(f.schema, data, int64(n))
	for _, a := range data {
		a.Release()
	}
	return b
}

// halves returns the lower halves.
func halves(v []uint64) []uint32 {
	out := make([]uint32, len(v))
	for i, x := range v {
		out[i] = uint32(x)
	}
	return out
}

// validBytes returns a bitmap least significant bit first, as Arrow has it.
func validBytes(v []uint64) []byte {
	out := make([]byte, 0, 8*len(v))
	for _, x := range v {
		out = binary.LittleEndian.AppendUint64(out, x)
	}
	return out
}

// wrap makes an array of memory that stays the caller's.
func wrap(kind arrow.DataType, values, valid []byte, n, nulls int) arrow.Array {
	buffers := []*memory.Buffer{nil, memory.NewBufferBytes(values)}
	if nulls > 0 {
		buffers[0] = memory.NewBufferBytes(valid)
	}
	d := array.NewData(kind, n, buffers, nil, nulls, 0)
	defer d.Release()
	return array.MakeFromData(d)
}

// wrapTexts makes an array of texts, of which every row has one.
func wrapTexts(c *cells) arrow.Array {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	defer b.Release()
	for _, at := range c.bits {
		b.Append(c.texts[at])
	}
	return b.NewArray()
}
