package export

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	pqschema "github.com/apache/arrow-go/v18/parquet/schema"

	"telemetry/receiver/sequence/columns"
)

// parquetFile is a Parquet file with a row group per write. It uses the module's
// own writer: the one for Arrow tables links gRPC.
type parquetFile struct {
	w      *file.Writer
	kinds  []columns.Kind
	levels []int16
	dense  []uint64
}

func newParquet(w io.Writer, g *group, opt Options) (_ sheet, err error) {
	s := schemaOf(g, opt)
	root, err := parquetSchema(s)
	if err != nil {
		return nil, err
	}
	props := []parquet.WriterProperty{
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithCreatedBy("telemetry receiver"), parquet.WithRootName("schema"), parquet.WithRootRepetition(parquet.Repetitions.Required),
	}
	for i, f := range s.Fields() {
		switch {
		case i < 2:
			props = append(props, parquet.WithDictionaryFor(f.Name, false), parquet.WithEncodingFor(f.Name, parquet.Encodings.DeltaBinaryPacked))
		case f.Type.ID() == arrow.FLOAT32 || f.Type.ID() == arrow.FLOAT64:
			props = append(props, parquet.WithDictionaryFor(f.Name, false)) // a dictionary has one NaN only
		}
	}
	described, err := arrowMetadata(s)
	if err != nil {
		return nil, err
	}
	meta := metadata.KeyValueMetadata{}
	for i, k := range s.Metadata().Keys() {
		if err := meta.Append(k, s.Metadata().Values()[i]); err != nil {
			return nil, err
		}
	}
	if err := meta.Append("ARROW:schema", described); err != nil {
		return nil, err
	}
	f := &parquetFile{}
	for i := range g.fields {
		f.kinds = append(f.kinds, g.fields[i].kind)
	}
	// The module closes what it writes to if it can.
	f.w, err = file.NewParquetWriterWithError(struct{ io.Writer }{w}, root, file.WithWriterProps(parquet.NewWriterProperties(props...)), file.WithWriteMetadata(meta))
	return f, err
}

// arrowMetadata is where Arrow's readers look for what Parquet has no place for:
// units, and what unit of time and zone the times are in.
func arrowMetadata(s *arrow.Schema) (string, error) {
	var b bytes.Buffer
	w := ipc.NewWriter(&b, ipc.WithSchema(s))
	if err := w.Close(); err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(b.Bytes()), nil
}

// parquetSchema returns the columns of s as Parquet has them.
func parquetSchema(s *arrow.Schema) (*pqschema.GroupNode, error) {
	var nodes pqschema.FieldList
	for i, f := range s.Fields() {
		logical, physical := pqschema.LogicalType(pqschema.NoLogicalType{}), parquet.Types.Double
		switch f.Type.ID() {
		case arrow.TIMESTAMP:
			logical, physical = pqschema.NewTimestampLogicalType(true, pqschema.TimeUnitNanos), parquet.Types.Int64
		case arrow.INT64:
			logical, physical = pqschema.NewIntLogicalType(64, true), parquet.Types.Int64
		case arrow.UINT64:
			logical, physical = pqschema.NewIntLogicalType(64, false), parquet.Types.Int64
		case arrow.UINT32:
			logical, physical = pqschema.NewIntLogicalType(32, false), parquet.Types.Int32
		case arrow.BOOL:
			physical = parquet.Types.Boolean
		case arrow.FLOAT32:
			physical = parquet.Types.Float
		case arrow.STRING:
			logical, physical = pqschema.StringLogicalType{}, parquet.Types.ByteArray
		}
		repetition := parquet.Repetitions.Required
		if f.Nullable {
			repetition = parquet.Repetitions.Optional
		}
		n, err := pqschema.NewPrimitiveNodeLogical(f.Name, repetition, logical, physical, 0, int32(i+1))
		if err != nil {
			return nil, fmt.Errorf("column %q: %w", f.Name, err)
		}
		nodes = append(nodes, n)
	}
	return pqschema.NewGroupNode("schema", parquet.Repetitions.Required, nodes, -1)
}

func (f *parquetFile) write(g *group) error {
	rg, err := f.w.AppendRowGroupChecked()
	if err != nil {
		return err
	}
	for i := range 4 + len(f.kinds) {
		c, err := rg.NextColumn()
		if err != nil {
			return err
		}
		if err := f.column(c, g, i); err != nil {
			return err
		}
	}
	return rg.Close()
}

// column writes one column of a row group.
func (f *parquetFile) column(c file.ColumnChunkWriter, g *group, i int) error {
	var err error
	switch i {
	case 0:
		err = put(c, func(w *file.Int64ColumnChunkWriter) (int64, error) { return w.WriteBatch(g.utc, nil, nil) })
	case 1:
		err = put(c, func(w *file.Int64ColumnChunkWriter) (int64, error) { return w.WriteBatch(g.boot, nil, nil) })
	case 2:
		epochs := make([]int32, len(g.epoch))
		for k, e := range g.epoch {
			epochs[k] = int32(e)
		}
		err = put(c, func(w *file.Int32ColumnChunkWriter) (int64, error) { return w.WriteBatch(epochs, nil, nil) })
	case 3:
		err = put(c, func(w *file.BooleanColumnChunkWriter) (int64, error) { return w.WriteBatch(g.synced, nil, nil) })
	default:
		err = f.values(c, g, i-4)
	}
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	return err
}

// values writes the values of one channel: a level for each row says whether there
// is one.
func (f *parquetFile) values(c file.ColumnChunkWriter, g *group, i int) error {
	in := &g.cols[i]
	f.levels, f.dense = f.levels[:0], f.dense[:0]
	for row := range g.utc {
		level := int16(0)
		if in.has(row) {
			level = 1
			f.dense = append(f.dense, in.bits[row])
		}
		f.levels = append(f.levels, level)
	}
	if f.kinds[i] == kindText {
		values := make([]parquet.ByteArray, len(f.dense))
		for k, at := range f.dense {
			values[k] = parquet.ByteArray(in.texts[at])
		}
		return put(c, func(w *file.ByteArrayColumnChunkWriter) (int64, error) { return w.WriteBatch(values, f.levels, nil) })
	}
	raw := arrow.Uint64Traits.CastToBytes(f.dense)
	switch f.kinds[i] {
	case columns.Float32:
		values := make([]float32, len(f.dense))
		for k, v := range f.dense {
			values[k] = math.Float32frombits(uint32(v))
		}
		return put(c, func(w *file.Float32ColumnChunkWriter) (int64, error) { return w.WriteBatch(values, f.levels, nil) })
	case columns.Float64:
		return put(c, func(w *file.Float64ColumnChunkWriter) (int64, error) {
			return w.WriteBatch(arrow.Float64Traits.CastFromBytes(raw), f.levels, nil)
		})
	default:
		return put(c, func(w *file.Int64ColumnChunkWriter) (int64, error) {
			return w.WriteBatch(arrow.Int64Traits.CastFromBytes(raw), f.levels, nil)
		})
	}
}

// put writes to a column of the type that the schema has there.
func put[W file.ColumnChunkWriter](c file.ColumnChunkWriter, write func(w W) (int64, error)) error {
	w, ok := c.(W)
	if !ok {
		return fmt.Errorf("column %s is a %T", c.Descr().Name(), c)
	}
	_, err := write(w)
	return err
}

func (f *parquetFile) close() error { return f.w.Close() }
