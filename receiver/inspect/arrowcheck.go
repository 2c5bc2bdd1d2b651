package inspect

import (
	"encoding/binary"
	"errors"
)

// The Arrow library takes memory for as many things as the metadata says before it
// looks for them, so that one damaged or foreign record could end the process. The
// checks here bound every such number by the record's length. They follow the
// tables of Arrow's Message.fbs and Schema.fbs, by the numbers of their fields.

var errArrowTables = errors.New("is no Arrow stream: its metadata is damaged")

// Kinds of messages, and the fields of tables that are looked at.
const (
	arrowSchema      = 1
	arrowRecordBatch = 3

	messageKind, messageHeader, messageBody = 1, 2, 3
	schemaFields, schemaMetadata            = 1, 2
	schemaFeatures                          = 3
	fieldChildren, fieldMetadata            = 5, 6
	batchLength                             = 0
)

// maxArrowDepth bounds how deep columns stand in columns.
const maxArrowDepth = 8

// checkArrow checks the messages of a stream.
func checkArrow(b []byte) error {
	for whole := b; len(b) >= 8; {
		n := int64(int32(binary.LittleEndian.Uint32(b[4:])))
		if binary.LittleEndian.Uint32(b) != 0xffffffff || n < 0 || n > int64(len(b)-8) {
			return errArrowTables
		}
		if n == 0 {
			return nil // the end of the stream
		}
		f := flat{b: b[8 : 8+n]}
		body := f.message(int64(len(whole)))
		if f.bad || body < 0 || body > int64(len(b))-8-n {
			return errArrowTables
		}
		b = b[8+n+body:]
	}
	return nil
}

// flat reads the tables of a flat buffer; bad stays once something lies outside.
type flat struct {
	b   []byte
	bad bool
}

func (f *flat) u32(at int64) int64 {
	if at < 0 || at+4 > int64(len(f.b)) {
		f.bad = true
		return 0
	}
	return int64(binary.LittleEndian.Uint32(f.b[at:]))
}

func (f *flat) u16(at int64) int64 {
	if at < 0 || at+2 > int64(len(f.b)) {
		f.bad = true
		return 0
	}
	return int64(binary.LittleEndian.Uint16(f.b[at:]))
}

func (f *flat) i64(at int64) int64 {
	if at < 0 || at+8 > int64(len(f.b)) {
		f.bad = true
		return 0
	}
	return int64(binary.LittleEndian.Uint64(f.b[at:]))
}

// field returns where a field of a table is; 0 when it is not there.
func (f *flat) field(table int64, n int64) int64 {
	vtable := table - int64(int32(f.u32(table)))
	if f.bad || 4+2*n >= f.u16(vtable) {
		return 0
	}
	if o := f.u16(vtable + 4 + 2*n); o != 0 {
		return table + o
	}
	return 0
}

// vector returns where the elements of a field are and how many, which are four
// bytes or more each.
func (f *flat) vector(table, n int64) (at, count int64) {
	p := f.field(table, n)
	if p == 0 {
		return 0, 0
	}
	v := p + f.u32(p)
	count = f.u32(v)
	if count > int64(len(f.b))/4 {
		f.bad = true
		return 0, 0
	}
	return v + 4, count
}

// message checks one message of a stream of size bytes and returns its body's
// length.
func (f *flat) message(size int64) (body int64) {
	root := f.u32(0)
	kind, header := f.field(root, messageKind), f.field(root, messageHeader)
	if p := f.field(root, messageBody); p != 0 {
		body = f.i64(p)
	}
	if f.bad || kind == 0 || header == 0 || kind >= int64(len(f.b)) {
		f.bad = true
		return 0
	}
	table := header + f.u32(header)
	switch f.b[kind] {
	case arrowSchema:
		f.vector(table, schemaMetadata)
		f.vector(table, schemaFeatures)
		f.fields(table, schemaFields, 0)
	case arrowRecordBatch:
		if p := f.field(table, batchLength); p != 0 {
			if rows := f.i64(p); rows < 0 || rows > 8*size { // a bit each at least
				f.bad = true
			}
		}
	}
	return body
}

// fields checks a vector of columns and what is in them.
func (f *flat) fields(table, n int64, depth int) {
	at, count := f.vector(table, n)
	if depth > maxArrowDepth {
		f.bad = true
	}
	for ; count > 0 && !f.bad; count, at = count-1, at+4 {
		one := at + f.u32(at)
		f.vector(one, fieldMetadata)
		f.fields(one, fieldChildren, depth+1)
	}
}
