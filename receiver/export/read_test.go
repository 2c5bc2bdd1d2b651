package export_test

import (
	"archive/zip"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/foxglove/mcap/go/mcap"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"telemetry/receiver/export"
	"telemetry/receiver/sequence/columns/columnstest"
)

// found is what a reader found: points by "group.channel", and events as "name=detail".
type found struct {
	series columnstest.Series
	events []string
}

// channelOf takes off what tells a channel's second column.
func channelOf(meta arrow.Metadata, field string) string {
	if v, ok := meta.GetValue("channel"); ok {
		return v
	}
	return field
}

func unzip(t testing.TB, b []byte) map[string][]byte {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if out[f.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// readArrow reads a file's record batches, in its own format or Parquet's.
func readArrow(t testing.TB, name string, b []byte, into *found) {
	t.Helper()
	r, err := ipc.NewFileReader(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer r.Close()
	group, _ := r.Schema().Metadata().GetValue("group")
	for i := range r.NumRecords() {
		rec, err := r.RecordBatch(i)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		utc, boot := rec.Column(0).(*array.Timestamp), rec.Column(1).(*array.Int64)
		for row := range int(rec.NumRows()) {
			for c := 4; c < int(rec.NumCols()); c++ {
				f, a := rec.Schema().Field(c), rec.Column(c)
				if a.IsNull(row) {
					continue
				}
				v, ok := columnstest.Cell(a, row)
				if !ok {
					if f.Name == "event" {
						into.events = append(into.events, a.(*array.String).Value(row)+"="+rec.Column(c+1).(*array.String).Value(row))
					}
					continue
				}
				key := group + "." + channelOf(f.Metadata, f.Name)
				into.series[key] = append(into.series[key], columnstest.Point{Boot: boot.Value(row), UTC: int64(utc.Value(row)), Value: v})
			}
		}
	}
}

// parquetColumn reads a whole column: values, and whether each row has one.
func parquetColumn(t testing.TB, rg *file.RowGroupReader, i, rows int) (values []any, has []bool) {
	t.Helper()
	c, err := rg.Column(i)
	if err != nil {
		t.Fatal(err)
	}
	levels := make([]int16, rows)
	uns := c.Descriptor().LogicalType().String() == "Int(bitWidth=64, isSigned=false)"
	dense := func() (out []any) {
		switch c := c.(type) {
		case *file.Int64ColumnChunkReader:
			v := make([]int64, rows)
			_, n, err := c.ReadBatch(int64(rows), v, levels, nil)
			check(t, err)
			for _, x := range v[:n] {
				if uns {
					out = append(out, uint64(x))
				} else {
					out = append(out, x)
				}
			}
		case *file.Float32ColumnChunkReader:
			v := make([]float32, rows)
			_, n, err := c.ReadBatch(int64(rows), v, levels, nil)
			check(t, err)
			for _, x := range v[:n] {
				out = append(out, x)
			}
		case *file.Float64ColumnChunkReader:
			v := make([]float64, rows)
			_, n, err := c.ReadBatch(int64(rows), v, levels, nil)
			check(t, err)
			for _, x := range v[:n] {
				out = append(out, x)
			}
		}
		return out
	}()
	optional := c.Descriptor().MaxDefinitionLevel() > 0
	for row := range rows {
		is := !optional || levels[row] == 1
		has = append(has, is)
		if is && len(dense) > 0 {
			values, dense = append(values, dense[0]), dense[1:]
		} else {
			values = append(values, nil)
		}
	}
	return values, has
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readParquet(t testing.TB, name string, b []byte, into *found) {
	t.Helper()
	r, err := file.NewParquetReader(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	defer r.Close()
	group := *r.MetaData().KeyValueMetadata().FindValue("group")
	if group == export.EventsName {
		return
	}
	for k := range r.NumRowGroups() {
		rg := r.RowGroup(k)
		rows := int(rg.NumRows())
		utc, _ := parquetColumn(t, rg, 0, rows)
		boot, _ := parquetColumn(t, rg, 1, rows)
		for i := 4; i < rg.NumColumns(); i++ {
			field := r.MetaData().Schema.Column(i).Name()
			values, has := parquetColumn(t, rg, i, rows)
			for row := range rows {
				if has[row] {
					key := group + "." + strings.TrimSuffix(field, "_double")
					into.series[key] = append(into.series[key], columnstest.Point{Boot: boot[row].(int64), UTC: utc[row].(int64), Value: values[row]})
				}
			}
		}
	}
}

// readCSV reads rows as text; values are what the text says: see asText.
func readCSV(t testing.TB, name string, b []byte, into *found) {
	t.Helper()
	r := csv.NewReader(bytes.NewReader(b))
	lines, err := r.ReadAll()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	group, _, _ := strings.Cut(name, ".")
	head := lines[0]
	if strings.Join(head[:4], ",") != "ts_ns,boot_ns,epoch,synced" {
		t.Fatalf("%s: head %q", name, head)
	}
	for _, l := range lines[1:] {
		utc, err1 := strconv.ParseInt(l[0], 10, 64)
		boot, err2 := strconv.ParseInt(l[1], 10, 64)
		check(t, errors.Join(err1, err2))
		if group == export.EventsName {
			into.events = append(into.events, l[4]+"="+l[5])
			continue
		}
		for i := 4; i < len(l); i++ {
			if l[i] != "" {
				key := group + "." + head[i]
				into.series[key] = append(into.series[key], columnstest.Point{Boot: boot, UTC: utc, Value: l[i]})
			}
		}
	}
}

// asText compares a text with a value: integers by their digits, all else by the bits
// of what the text reads back as, NaN without its payload.
func asText(got, want any) bool {
	text, ok := got.(string)
	if !ok {
		return false
	}
	switch w := want.(type) {
	case int64:
		return text == strconv.FormatInt(w, 10)
	case uint64:
		return text == strconv.FormatUint(w, 10)
	case float32:
		return sameFloat(text, float64(w))
	case float64:
		return sameFloat(text, w)
	}
	return false
}

func sameFloat(text string, want float64) bool {
	x, err := strconv.ParseFloat(text, 64)
	if math.IsNaN(want) {
		return text == "NaN"
	}
	return err == nil && math.Float64bits(x) == math.Float64bits(want) && strings.ContainsAny(text, ".ei")
}

func readMCAP(t testing.TB, b []byte, into *found) {
	t.Helper()
	r, err := mcap.NewReader(bytes.NewReader(b))
	check(t, err)
	defer r.Close()
	it, err := r.Messages(mcap.InOrder(mcap.FileOrder))
	check(t, err)
	types := map[uint16]protoreflect.MessageDescriptor{}
	for {
		schema, channel, m, err := it.NextInto(nil)
		if errors.Is(err, io.EOF) {
			return
		}
		check(t, err)
		d := types[schema.ID]
		if d == nil {
			var set descriptorpb.FileDescriptorSet
			check(t, proto.Unmarshal(schema.Data, &set))
			files, err := protodesc.NewFiles(&set)
			check(t, err)
			found, err := files.FindDescriptorByName(protoreflect.FullName(schema.Name))
			check(t, err)
			d = found.(protoreflect.MessageDescriptor)
			types[schema.ID] = d
		}
		readMessage(t, d, channel, m, into)
	}
}

func readMessage(t testing.TB, d protoreflect.MessageDescriptor, channel *mcap.Channel, m *mcap.Message, into *found) {
	t.Helper()
	msg := dynamicpb.NewMessage(d)
	check(t, proto.Unmarshal(m.Data, msg))
	if len(msg.GetUnknown()) > 0 || m.PublishTime != m.LogTime {
		t.Fatalf("message of %s: %d bytes that its schema does not know", channel.Topic, len(msg.GetUnknown()))
	}
	field := func(name protoreflect.Name) protoreflect.Value { return msg.Get(d.Fields().ByName(name)) }
	if channel.Topic == export.EventsName {
		into.events = append(into.events, field("event").String()+"="+field("detail").String())
		return
	}
	for i := 3; i < d.Fields().Len(); i++ {
		f := d.Fields().Get(i)
		if !msg.Has(f) {
			continue
		}
		var says struct{ Channel string }
		check(t, json.Unmarshal([]byte(channel.Metadata["field."+string(f.Name())]), &says))
		key := channel.Topic + "." + says.Channel
		into.series[key] = append(into.series[key], columnstest.Point{Boot: field("boot_ns").Int(), UTC: int64(m.LogTime), Value: msg.Get(f).Interface()})
	}
}
