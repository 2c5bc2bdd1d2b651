package export

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Output takes the files of an export.
type Output interface {
	// Create begins a file beside others; it is theirs until it is closed.
	Create(name string) (File, error)
	// Single begins the one file of a format that has no more.
	Single(name string) (io.WriteCloser, error)
	// Budget is how many bytes of open files may stand in memory; 0: none do.
	Budget() int
	// Finish ends the export. index describes the columns, for who has no other
	// place for that; nil: the files do.
	Finish(name string, index []byte) error
}

// File is a file that is being written.
type File interface {
	io.WriteCloser
	Len() int // bytes in memory
}

// StreamBudget is how many bytes of files a [Stream] keeps in memory: what is larger
// comes in parts.
const StreamBudget = 24 << 20

// Stream is an output of one file: the only file of an export, or all of them in a
// ZIP archive. Nothing is written before it is known which.
type Stream struct {
	w      io.Writer
	begin  func(name, contentType string)
	budget int
	at     time.Time // of the archive's entries
	first  *buffer   // the only closed file so far
	zip    *zip.Writer
	single bool
	name   string // of the archive, without .zip
}

// NewStream returns an output that writes to w. begin is called before the first
// byte with the name and the type of what will come. The entries of an archive, which
// is called name, are dated at.
func NewStream(w io.Writer, name string, at time.Time, begin func(name, contentType string)) *Stream {
	if begin == nil {
		begin = func(string, string) {}
	}
	return &Stream{w: w, begin: begin, budget: StreamBudget, at: at, name: FileName(name)}
}

// Budget implements [Output].
func (s *Stream) Budget() int { return s.budget }

// buffer is a file in memory.
type buffer struct {
	bytes.Buffer
	name string
	s    *Stream
}

// Close gives the file to the stream.
func (b *buffer) Close() error {
	if s := b.s; s.first == nil && s.zip == nil {
		s.first = b
		return nil
	}
	return b.s.add(b)
}

// Create implements [Output].
func (s *Stream) Create(name string) (File, error) { return &buffer{name: name, s: s}, nil }

// add puts a file into the archive, which begins with the second one.
func (s *Stream) add(b *buffer) error {
	if s.zip == nil {
		s.begin(s.name+".zip", "application/zip")
		s.zip = zip.NewWriter(s.w)
		s.zip.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
		first := s.first
		s.first = nil
		if err := s.add(first); err != nil {
			return err
		}
	}
	return s.entry(b.name, b.Bytes())
}

func (s *Stream) entry(name string, data []byte) error {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: s.at}
	if strings.HasSuffix(name, ".parquet") {
		h.Method = zip.Store
	}
	w, err := s.zip.CreateHeader(h)
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = s.zip.Flush()
	}
	if err != nil {
		return fmt.Errorf("export: archive: %w", err)
	}
	return nil
}

// Single implements [Output].
func (s *Stream) Single(name string) (io.WriteCloser, error) {
	s.single = true
	s.begin(s.name+filepath.Ext(name), contentType(name))
	return nopCloser{s.w}, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// Finish implements [Output].
func (s *Stream) Finish(_ string, index []byte) error {
	switch {
	case s.single:
		return nil
	case s.zip != nil:
		if err := s.entry(IndexName, index); err != nil {
			return err
		}
		return s.zip.Close()
	case s.first != nil:
		s.begin(s.name+filepath.Ext(s.first.name), contentType(s.first.name))
		_, err := s.w.Write(s.first.Bytes())
		return err
	}
	return ErrEmpty
}

// contentType returns a file's media type.
func contentType(name string) string {
	switch filepath.Ext(name) {
	case ".csv":
		return "text/csv; charset=utf-8; header=present"
	case ".parquet":
		return "application/vnd.apache.parquet"
	case ".arrow":
		return "application/vnd.apache.arrow.file"
	default:
		return "application/octet-stream"
	}
}

// Folder is an output of files in a folder. What exists is not overwritten.
type Folder struct {
	dir  string
	made []string
}

// NewFolder returns an output to a folder, which is made when it is missing.
func NewFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return &Folder{dir: dir}, nil
}

// Budget implements [Output].
func (f *Folder) Budget() int { return 0 }

type osFile struct{ *os.File }

func (osFile) Len() int { return 0 }

func (f *Folder) create(name string) (*os.File, error) {
	path := filepath.Join(f.dir, name)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("export: %s exists: remove it, or name another folder: %w", path, err)
	}
	if err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	f.made = append(f.made, path)
	return file, nil
}

// Create implements [Output].
func (f *Folder) Create(name string) (File, error) {
	file, err := f.create(name)
	if err != nil {
		return nil, err
	}
	return osFile{file}, nil
}

// Single implements [Output].
func (f *Folder) Single(name string) (io.WriteCloser, error) { return f.create(name) }

// Finish implements [Output].
func (f *Folder) Finish(_ string, index []byte) error {
	if index == nil {
		return nil
	}
	file, err := f.create(IndexName)
	if err != nil {
		return err
	}
	_, err = file.Write(index)
	return errors.Join(err, file.Close())
}

// Made lists the files, in the order in which they were begun.
func (f *Folder) Made() []string { return f.made }

// Discard removes what was made.
func (f *Folder) Discard() error {
	var errs []error
	for _, path := range f.made {
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}

// SetBudget changes what stands in memory from [StreamBudget].
func (s *Stream) SetBudget(bytes int) { s.budget = bytes }
