package spool

import (
	"os"
	"reflect"
	"unsafe"

	"github.com/tidwall/wal"
)

// tidwall/wal keeps all of its open segment in memory, in a buffer that grows from
// nothing for every log: for a chunk of 1 MiB about 5 MiB are allocated and copied.
// The spool never reads through the library, so nobody needs that copy. walTail
// empties it after each commit and lends it a buffer that outlives the log. And the
// library syncs when it closes, which costs the card a flush for nothing: all that
// counts is synced by then. walTail has the file, to sync and to close it.
//
// The fields are not exported. They are found by name and type, once for each log;
// if a version of the library has others, walTail does nothing and the copy stays.
type walTail struct {
	buf  *[]byte  // segment.ebuf of the only segment; nil: not found
	zero func()   // empties segment.epos
	file *os.File // Log.sfile; nil: not found
}

func tailOf(w *wal.Log) (t walTail) {
	if f := reflect.ValueOf(w).Elem().FieldByName("sfile"); f.IsValid() && f.Type() == reflect.TypeFor[*os.File]() {
		t.file = *(**os.File)(unsafe.Pointer(f.UnsafeAddr()))
	}
	segments := reflect.ValueOf(w).Elem().FieldByName("segments")
	if segments.Kind() != reflect.Slice || segments.Len() != 1 || segments.Index(0).Kind() != reflect.Pointer {
		return t
	}
	s := segments.Index(0).Elem()
	if s.Kind() != reflect.Struct {
		return t
	}
	ebuf, epos := s.FieldByName("ebuf"), s.FieldByName("epos")
	if !ebuf.IsValid() || ebuf.Type() != reflect.TypeFor[[]byte]() || epos.Kind() != reflect.Slice || epos.Type().Elem().NumField() != 2 {
		return t
	}
	// Both are addressable: the walk went through pointers.
	t.buf = (*[]byte)(unsafe.Pointer(ebuf.UnsafeAddr()))
	p := reflect.NewAt(epos.Type(), unsafe.Pointer(epos.UnsafeAddr())).Elem()
	t.zero = func() { p.SetLen(0) }
	return t
}

// lend gives the log an empty buffer to grow in.
func (t walTail) lend(b []byte) {
	if t.buf != nil && len(*t.buf) == 0 {
		*t.buf = b[:0]
	}
}

// clear forgets what was written and returns the buffer.
func (t walTail) clear() []byte {
	if t.buf == nil {
		return nil
	}
	*t.buf = (*t.buf)[:0]
	t.zero()
	return *t.buf
}
