package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/tidwall/wal"
)

// Disk is all that the spool does to storage, so that a model can stand in for
// it. Names are slash-separated paths below the spool's directory, which is part
// of them. Every method may be called concurrently; a Log belongs to one
// goroutine.
type Disk interface {
	MkdirAll(dir string) error
	// ReadDir lists a directory by name order.
	ReadDir(dir string) ([]DirEntry, error)
	// Open opens a file for reading; it stays readable after a rename or removal.
	Open(name string) (File, error)
	// Write makes name hold data and syncs the file, not its directory. After an
	// error or a power cut the file may hold anything.
	Write(name string, data []byte) error
	// Truncate cuts a file and syncs it.
	Truncate(name string, size int64) error
	// SyncFile makes durable what stands in a file, and forgets what memory holds of
	// it as far as it can, so that the next read asks the disk.
	SyncFile(name string) error
	Rename(from, to string) error
	// RemoveAll removes a file or a directory with its files; a missing one is
	// no error.
	RemoveAll(name string) error
	// SyncDir makes a directory's entries durable.
	SyncDir(dir string) error
	// OpenLog opens a new log in a directory that does not exist yet. Its records
	// stand in the file SegmentName as uvarint(length) ++ record.
	OpenLog(dir string, segmentBytes int) (Log, error)
	// OpenMark opens an existing file to be written in place, without a sync.
	OpenMark(name string) (MarkFile, error)
	// Lock takes the only lock on name or fails with the holder's hint; closing
	// releases it. hint is for people.
	Lock(name, hint string) (io.Closer, error)
}

// DirEntry is one name in a directory. Size is 0 for directories.
type DirEntry struct {
	Name  string
	IsDir bool
	Size  int64
}

// File is an open file, readable at any offset by several goroutines.
type File interface {
	io.ReaderAt
	io.Closer
	Size() (int64, error)
}

// MarkFile is a small file that is overwritten or appended to in place. What it holds may be lost
// in a power cut; a process that dies loses nothing of it.
type MarkFile interface {
	io.WriterAt
	io.Closer
}

// Log appends records to one chunk.
type Log interface {
	// Append writes the records in order. After an error any prefix of them may
	// have been written and the log must only be closed.
	Append(records [][]byte) error
	// Sync returns when all records are durable that were appended before it was
	// called. One Append and one more Sync may run beside it; an error of the disk that
	// concerns both is the result of both.
	Sync() error
	Close() error
}

// SegmentName is the one file of a chunk: tidwall/wal's first segment.
const SegmentName = "00000000000000000001"

// OS returns the operating system's file system with tidwall/wal as its log.
func OS() Disk { return osDisk{bufs: &freeBuffers{}} }

type osDisk struct {
	bufs *freeBuffers
}

// walBuffers is what one log after the other writes through.
type walBuffers struct {
	batch wal.Batch
	tail  []byte
}

// freeBuffers keeps the buffers of closed logs: each lane has one log that is written
// and at times the next one.
type freeBuffers struct {
	mu   sync.Mutex
	list []*walBuffers
}

const maxFreeBuffers = 4

func (f *freeBuffers) get() *walBuffers {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.list); n > 0 {
		b := f.list[n-1]
		f.list = f.list[:n-1]
		return b
	}
	return &walBuffers{}
}

func (f *freeBuffers) put(b *walBuffers) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.list) < maxFreeBuffers {
		f.list = append(f.list, b)
	}
}

var _ Disk = osDisk{}

func (osDisk) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o755) }

func (osDisk) ReadDir(dir string) ([]DirEntry, error) {
	es, err := os.ReadDir(dir)
	out := make([]DirEntry, 0, len(es))
	for _, e := range es {
		d := DirEntry{Name: e.Name(), IsDir: e.IsDir()}
		if info, ierr := e.Info(); ierr == nil && !d.IsDir {
			d.Size = info.Size()
		}
		out = append(out, d)
	}
	return out, err
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

func (osDisk) Open(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (osDisk) Write(name string, data []byte) error {
	// Cut to size afterwards: a process that is killed between cutting and writing
	// would leave nothing.
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Truncate(int64(len(data)))
	}
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func (osDisk) OpenMark(name string) (MarkFile, error) { return os.OpenFile(name, os.O_WRONLY, 0) }

func (osDisk) Truncate(name string, size int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func (osDisk) SyncFile(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	err = f.Sync()
	if err == nil {
		dropCached(f)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func (osDisk) Rename(from, to string) error { return os.Rename(from, to) }
func (osDisk) RemoveAll(name string) error  { return os.RemoveAll(name) }

func (osDisk) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// OpenLog uses NoSync and a segment that no chunk can fill, so that the library
// never cycles, truncates or syncs by itself.
func (d osDisk) OpenLog(dir string, segmentBytes int) (_ Log, err error) {
	defer contain("open", &err)
	w, err := wal.Open(filepath.FromSlash(dir), &wal.Options{
		NoSync: true, SegmentSize: segmentBytes, SegmentCacheSize: 1, NoCopy: true,
		DirPerms: 0o755, FilePerms: 0o644,
	})
	if err != nil {
		return nil, err
	}
	// The library holds its lock while it syncs; descriptors of our own do not. The
	// kernel tells each descriptor of an error once: two syncs at a time need two. They
	// are open before the first byte is written, so that no error passes them by.
	l := &walLog{w: w, tail: tailOf(w), free: d.bufs, idle: make(chan *os.File, 2)}
	l.own[0] = l.tail.file
	for i := range l.own {
		if l.own[i] != nil {
			continue
		}
		if l.own[i], err = os.OpenFile(filepath.Join(dir, SegmentName), os.O_WRONLY, 0); err != nil {
			return nil, errors.Join(err, l.Close())
		}
	}
	for _, f := range l.own {
		l.idle <- f
	}
	return l, nil
}

// walLog is a tidwall/wal log that only ever gets longer.
type walLog struct {
	*walBuffers // from the first Append to Close
	w           *wal.Log
	own         [2]*os.File   // the segment file, to sync it
	idle        chan *os.File // those of own that no sync uses
	next        uint64        // index of the last record written
	tail        walTail
	free        *freeBuffers
}

func (l *walLog) Append(records [][]byte) (err error) {
	defer contain("write", &err)
	if l.walBuffers == nil {
		l.walBuffers = l.free.get()
		l.tail.lend(l.walBuffers.tail)
	}
	l.batch.Clear()
	for _, r := range records {
		l.next++
		l.batch.Write(l.next, r)
	}
	err = l.w.WriteBatch(&l.batch)
	l.walBuffers.tail = l.tail.clear()
	return err
}

func (l *walLog) Sync() error {
	f := <-l.idle
	defer func() { l.idle <- f }()
	return syncData(f)
}

// Close leaves the library's log to the garbage collector where its file is known.
func (l *walLog) Close() (err error) {
	defer contain("close", &err)
	if l.walBuffers != nil {
		l.free.put(l.walBuffers)
		l.walBuffers = nil
	}
	var errs []error
	for _, f := range l.own {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	if l.tail.file == nil { // else it is the first of own
		errs = append(errs, l.w.Close())
	}
	return errors.Join(errs...)
}

// contain turns a panic of the library into an error.
func contain(op string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("spool: tidwall/wal panicked in %s: %v", op, r)
	}
}

// frameLen returns the bytes of a record of n bytes with its length prefix.
func frameLen(n int) int64 {
	var b [binary.MaxVarintLen64]byte
	return int64(binary.PutUvarint(b[:], uint64(n)) + n)
}
