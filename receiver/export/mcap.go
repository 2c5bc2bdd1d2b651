package export

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/foxglove/mcap/go/mcap"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"telemetry/receiver/sequence/columns"
)

// mcapFile is an MCAP file: a topic per group, a message per row, in Protobuf with
// its schema in the file. JSON has no NaN, and its readers round integers.
type mcapFile struct {
	out      io.WriteCloser
	w        *mcap.Writer
	car      string
	channels int
}

// mcapGroup is a topic. A group whose columns change gets another channel of the
// same topic.
type mcapGroup struct {
	f   *mcapFile
	id  uint16
	seq uint32
	n   int // fields
	buf []byte
}

func newMCAP(out io.WriteCloser, opt Options) (*mcapFile, error) {
	w, err := mcap.NewWriter(out, &mcap.WriterOptions{Chunked: true, ChunkSize: 1 << 20, Compression: mcap.CompressionZSTD, IncludeCRC: true})
	if err != nil {
		return nil, err
	}
	return &mcapFile{out: out, w: w, car: columns.Text(opt.Car)}, w.WriteHeader(&mcap.Header{Library: "telemetry receiver"})
}

func (f *mcapFile) close() error {
	if err := f.w.Close(); err != nil {
		return fmt.Errorf("export: %w", err)
	}
	return f.out.Close()
}

// Numbers of the fields that are no channels; those of channels follow.
const (
	numberBoot = 1 + iota
	numberEpoch
	numberSynced
	numberFirst
)

// group writes schema and channel of a group as it is now.
func (f *mcapFile) group(g *group) (sheet, error) {
	if f.channels++; f.channels > math.MaxUint16 {
		return nil, fmt.Errorf("%w: more than %d", ErrTooWide, math.MaxUint16)
	}
	id, message := uint16(f.channels), identifier(g.name)
	meta := map[string]string{"car": f.car, "group": columns.Text(g.name)}
	set, err := descriptors(g, message, meta)
	if err != nil {
		return nil, err
	}
	if err := f.w.WriteSchema(&mcap.Schema{ID: id, Name: "telemetry." + message, Encoding: "protobuf", Data: set}); err != nil {
		return nil, err
	}
	err = f.w.WriteChannel(&mcap.Channel{ID: id, SchemaID: id, Topic: columns.Text(g.name), MessageEncoding: "protobuf", Metadata: meta})
	return &mcapGroup{f: f, id: id, n: len(g.fields)}, err
}

// meaning is what a channel's metadata says of one field.
type meaning struct {
	Channel     string            `json:"channel"`
	Unit        string            `json:"unit,omitempty"`
	Description string            `json:"description,omitempty"`
	Enum        map[string]string `json:"enum,omitempty"`
}

// descriptors describes a group's rows as a message, and puts what its fields mean
// into meta as field.<name>.
func descriptors(g *group, message string, meta map[string]string) ([]byte, error) {
	m := &descriptorpb.DescriptorProto{Name: &message}
	taken := map[string]bool{}
	add := func(name string, number int32, t descriptorpb.FieldDescriptorProto_Type) string {
		for taken[strings.ToLower(name)] {
			name += "_"
		}
		taken[strings.ToLower(name)] = true
		m.Field = append(m.Field, &descriptorpb.FieldDescriptorProto{
			Name: &name, Number: &number, Type: &t, Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
		})
		return name
	}
	add(FieldBoot, numberBoot, descriptorpb.FieldDescriptorProto_TYPE_INT64)
	add(FieldEpoch, numberEpoch, descriptorpb.FieldDescriptorProto_TYPE_UINT32)
	add(FieldSynced, numberSynced, descriptorpb.FieldDescriptorProto_TYPE_BOOL)
	for i := range g.fields {
		d := &g.fields[i]
		name := add(identifier(d.name), fieldNumber(i), protoType(d.kind))
		says := meaning{Channel: columns.Text(d.channel.Name), Unit: columns.Text(d.channel.Unit), Description: columns.Text(d.channel.Description)}
		enums(d, func(v, name string) {
			if says.Enum == nil {
				says.Enum = map[string]string{}
			}
			says.Enum[v] = name
		})
		text, err := json.Marshal(says)
		if err != nil {
			return nil, err
		}
		meta["field."+name] = string(text)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("telemetry/" + message + ".proto"), Package: proto.String("telemetry"), Syntax: proto.String("proto2"),
		MessageType: []*descriptorpb.DescriptorProto{m},
	}}})
}

// fieldNumber returns the number of the i-th channel: 19000 to 19999 are Protobuf's own.
func fieldNumber(i int) int32 {
	n := int32(numberFirst + i)
	if n >= 19_000 {
		n += 1000
	}
	return n
}

func protoType(k columns.Kind) descriptorpb.FieldDescriptorProto_Type {
	switch k {
	case columns.Int:
		return descriptorpb.FieldDescriptorProto_TYPE_SINT64
	case columns.Uint:
		return descriptorpb.FieldDescriptorProto_TYPE_UINT64
	case columns.Float32:
		return descriptorpb.FieldDescriptorProto_TYPE_FLOAT
	case kindText:
		return descriptorpb.FieldDescriptorProto_TYPE_STRING
	default:
		return descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
	}
}

// identifier makes a name that Protobuf takes of any.
func identifier(s string) string {
	b := []byte{}
	for _, r := range s {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '_':
			b = append(b, byte(r))
		case r >= '0' && r <= '9':
			if len(b) == 0 {
				b = append(b, '_')
			}
			b = append(b, byte(r))
		case r < 0x80:
			b = append(b, '_')
		default:
			b = strconv.AppendInt(append(b, 'u'), int64(r), 16)
		}
	}
	if len(b) == 0 {
		b = append(b, '_')
	}
	return string(b)
}

func (m *mcapGroup) write(g *group) error {
	for row := range g.utc {
		b := protowire.AppendTag(m.buf[:0], numberBoot, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(g.boot[row]))
		b = protowire.AppendTag(b, numberEpoch, protowire.VarintType)
		b = protowire.AppendVarint(b, uint64(g.epoch[row]))
		b = protowire.AppendTag(b, numberSynced, protowire.VarintType)
		b = protowire.AppendVarint(b, protowire.EncodeBool(g.synced[row]))
		for i := range m.n {
			if c := &g.cols[i]; c.has(row) {
				b = appendField(b, protowire.Number(fieldNumber(i)), g.fields[i].kind, c, row)
			}
		}
		m.buf = b
		m.seq++
		at := uint64(max(0, g.utc[row]))
		if err := m.f.w.WriteMessage(&mcap.Message{ChannelID: m.id, Sequence: m.seq, LogTime: at, PublishTime: at, Data: b}); err != nil {
			return err
		}
	}
	return nil
}

func appendField(b []byte, n protowire.Number, k columns.Kind, c *cells, row int) []byte {
	switch k {
	case columns.Int:
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), protowire.EncodeZigZag(int64(c.bits[row])))
	case columns.Uint:
		return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), c.bits[row])
	case columns.Float32:
		return protowire.AppendFixed32(protowire.AppendTag(b, n, protowire.Fixed32Type), uint32(c.bits[row]))
	case kindText:
		return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), c.texts[c.bits[row]])
	default:
		return protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), c.bits[row])
	}
}

func (m *mcapGroup) close() error { return nil }
