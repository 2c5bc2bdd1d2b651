package replay

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"telemetry/receiver/archive"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// CatalogueSuffix ends the names of files that hold a catalogue's canonical bytes;
// `edgeagent spool export -f batches -o FILE` writes them beside FILE.
const CatalogueSuffix = ".catalogue"

// instance stands in headers of batches that no ingest has taken.
const instance = "replay"

// Files is what cars' spools were exported to, as the past: each file is a partition,
// and the place of a batch in it its offset. It is safe for concurrent use.
type Files struct {
	names topic.Names
	files []*exported
	cats  map[wire.CatalogueHash][]byte
	// Elsewhere, if set, is asked for catalogues that do not lie beside the files.
	Elsewhere func(ctx context.Context, h wire.CatalogueHash) (canonical []byte, ok bool, err error)
	// Skipped are files of a folder that hold no batches.
	Skipped []string
}

type exported struct {
	path string
	f    *os.File
	size int64
}

var _ archive.Source = (*Files)(nil)

// OpenFiles opens files and, of folders, all files in them that hold batches.
func OpenFiles(paths []string) (_ *Files, err error) {
	s := &Files{names: topic.Names{Batches: "files"}, cats: map[wire.CatalogueHash][]byte{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	for _, p := range paths {
		st, err := os.Stat(p)
		if err != nil {
			return nil, fmt.Errorf("replay: %w", err)
		}
		if !st.IsDir() {
			if err := s.add(p); err != nil {
				return nil, err
			}
			if err := s.catalogues(filepath.Dir(p)); err != nil {
				return nil, err
			}
			continue
		}
		if err := s.folder(p); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// folder adds the files of a folder.
func (s *Files) folder(dir string) error {
	list, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	before := len(s.files)
	for _, e := range list {
		name := filepath.Join(dir, e.Name())
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") || strings.HasSuffix(e.Name(), CatalogueSuffix) {
			continue
		}
		if err := s.add(name); errors.Is(err, errNoBatches) {
			s.Skipped = append(s.Skipped, name)
		} else if err != nil {
			return err
		}
	}
	if len(s.files) == before {
		return fmt.Errorf("replay: no file in %s holds batches (want what `edgeagent spool export -f batches -o FILE` wrote; a spool itself must be exported first)", dir)
	}
	return s.catalogues(dir)
}

// errNoBatches says that a file does not begin with a batch.
var errNoBatches = errors.New("it does not begin with a batch (want what `edgeagent spool export -f batches` wrote)")

// add opens a file and looks at its first batch.
func (s *Files) add(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	st, err := f.Stat()
	if err != nil {
		return errors.Join(fmt.Errorf("replay: %w", err), f.Close())
	}
	e := &exported{path: path, f: f, size: st.Size()}
	if _, _, err := e.read(0, 1); err != nil || e.size == 0 {
		return errors.Join(fmt.Errorf("replay: %s: %w", path, errNoBatches), f.Close())
	}
	s.files = append(s.files, e)
	return nil
}

// catalogues takes the catalogues of a folder.
func (s *Files) catalogues(dir string) error {
	list, err := filepath.Glob(filepath.Join(dir, "*"+CatalogueSuffix))
	if err != nil {
		return fmt.Errorf("replay: catalogues of %s: %w", dir, err)
	}
	for _, p := range list {
		b, err := os.ReadFile(p)
		if err == nil {
			_, err = wire.ParseCatalogue(b)
		}
		if err != nil {
			return fmt.Errorf("replay: catalogue %s: %w", p, err)
		}
		s.cats[wire.HashCatalogue(b)] = b
	}
	return nil
}

// Close closes the files.
func (s *Files) Close() error {
	var errs []error
	for _, e := range s.files {
		errs = append(errs, e.f.Close())
	}
	s.files = nil
	return errors.Join(errs...)
}

// Paths lists the files.
func (s *Files) Paths() []string {
	var out []string
	for _, e := range s.files {
		out = append(out, e.path)
	}
	return out
}

// Names implements [archive.Source]. Files have batches only.
func (s *Files) Names() topic.Names { return s.names }

// Partition implements [archive.Source]: a car may be in any file.
func (s *Files) Partition(string, int) int32 { return -1 }

// Extents implements [archive.Source].
func (s *Files) Extents(_ context.Context, name string, _ int64) ([]archive.Extent, error) {
	if name != s.names.Batches {
		return nil, archive.ErrNoTopic
	}
	out := make([]archive.Extent, len(s.files))
	for i, e := range s.files {
		out[i] = archive.Extent{Partition: int32(i), End: e.size}
	}
	return out, nil
}

// chunkBytes is what one look into a file brings, about.
const chunkBytes = 1 << 20

// Chunk implements [archive.Source].
func (s *Files) Chunk(ctx context.Context, _ string, part int32, offset, end int64) ([]topic.Record, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, offset, err
	}
	e := s.files[part]
	recs, next, err := e.read(offset, min(end-offset, chunkBytes))
	for i := range recs {
		recs[i].Topic, recs[i].Partition = e.path, part
	}
	if err != nil {
		return nil, offset, fmt.Errorf("replay: %s: %w", e.path, err)
	}
	return recs, next, nil
}

// maxEnvelope bounds what stands before a batch's payload.
const maxEnvelope = 256

// read returns the batches from an offset on, at least one, until about so many bytes
// are read.
func (e *exported) read(offset, most int64) (recs []topic.Record, next int64, err error) {
	in := bufio.NewReaderSize(io.NewSectionReader(e.f, offset, e.size-offset), 256<<10)
	for next = offset; next < e.size && (next-offset < most || len(recs) == 0); {
		size, err := binary.ReadUvarint(in)
		if err == nil && size > wire.MaxPayload+maxEnvelope {
			err = fmt.Errorf("%d bytes for one batch", size)
		}
		var value []byte
		if err == nil {
			value = make([]byte, size)
			_, err = io.ReadFull(in, value)
		}
		var h wire.Header
		if err == nil {
			h, err = wire.ParseHeader(value)
		}
		if err != nil {
			return nil, offset, fmt.Errorf("batch at byte %d: %w (was the file cut off?)", next, err)
		}
		send := wire.Send{Base: 1}
		if h.Stream.Lane == wire.LaneLive {
			send.Base = h.Seq // a preview that is not here never comes
		}
		recs = append(recs, topic.Record{
			Offset: next, Key: []byte(h.Stream.Car), Value: value, Headers: topic.BatchHeaders(h.ID(), send, instance),
		})
		next += int64(len(binary.AppendUvarint(nil, size))) + int64(size)
	}
	return recs, next, nil
}

// Catalogue implements [archive.Source].
func (s *Files) Catalogue(ctx context.Context, h wire.CatalogueHash) ([]byte, bool, error) {
	if b, ok := s.cats[h]; ok {
		return b, true, nil
	}
	if s.Elsewhere == nil {
		return nil, false, nil
	}
	return s.Elsewhere(ctx, h)
}

// Cars returns the cars in the files, sorted.
func (s *Files) Cars(ctx context.Context) ([]string, error) {
	cars, err := archive.New(s, archive.Options{}).Cars(ctx)
	slices.Sort(cars)
	return cars, err
}
