package can

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// StampMode says what the stamps of a log mean.
type StampMode uint8

// Stamp modes. Absolute stamps and those that count from the log's start need
// no telling apart: only differences matter.
const (
	StampAuto  StampMode = iota // difference if stamps are small and fall within the first frames
	StampClock                  // time since any start (candump -ta, -tz, -tA, -l)
	StampDelta                  // time since the frame before (candump -td)
)

// Limits of a reader.
const (
	maxBuses     = 256     // interfaces in one log
	keptBadLines = 16      // the first ones, for a message
	sniffFrames  = 64      // frames looked at to tell delta stamps
	smallStampNS = 1e17    // stamps below it (1973) are not of a wall clock
	maxZstdBytes = 8 << 20 // window of a .zst log: what zstd -19 uses
)

// BadLine is a line that is no frame.
type BadLine struct {
	Line   int // from 1
	Reason string
}

// ReaderStats counts what a reader has met.
type ReaderStats struct {
	Lines    uint64 // all lines
	Frames   uint64
	BadLines uint64    // lines that are no frame, no comment and not blank
	Bad      []BadLine // the first of them
	Damage   string    // why a compressed log ended early; empty: it did not
}

// Reader reads the frames of a candump log. It is not safe for concurrent use.
type Reader struct {
	src     *failingReader
	in      *bufio.Reader
	unpack  *zstd.Decoder // nil unless .zst
	names   map[string]string
	last    string // name of the latest frame's bus
	mode    StampMode
	clockNS int64 // delta mode: sum of stamps
	ahead   []Frame
	sniffed bool
	ended   bool
	stats   ReaderStats
}

// failingReader remembers why its file could not be read, to tell that from a
// damaged archive.
type failingReader struct {
	r   io.Reader
	err error
}

func (f *failingReader) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		f.err = err
	}
	return n, err
}

// NewReader reads a log that may be plain, gzip or zstd, told by its first
// bytes. Close must be called; it does not close r.
func NewReader(r io.Reader, mode StampMode) (*Reader, error) {
	src := &failingReader{r: r}
	out := &Reader{src: src, names: map[string]string{}, mode: mode}
	raw := bufio.NewReaderSize(src, 64<<10)
	magic, _ := raw.Peek(4)
	if src.err != nil {
		return nil, fmt.Errorf("can: read log: %w", src.err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(raw)
		if err != nil {
			return nil, fmt.Errorf("can: open gzip log: %w", err)
		}
		out.in = bufio.NewReaderSize(z, 64<<10)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(raw, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxZstdBytes), zstd.WithDecoderLowmem(true))
		if err != nil {
			return nil, fmt.Errorf("can: open zstd log: %w", err)
		}
		out.unpack = z
		out.in = bufio.NewReaderSize(z, 64<<10)
	default:
		out.in = raw
	}
	return out, nil
}

// Close frees the decompressor.
func (r *Reader) Close() {
	if r.unpack != nil {
		r.unpack.Close()
	}
}

// Stats returns the counts so far. Bad is shared: it must not be changed.
func (r *Reader) Stats() ReaderStats { return r.stats }

// Next reads the next frame. It returns io.EOF at the end, which a damaged
// archive may have early (see ReaderStats.Damage), and another error only when
// the log cannot be read.
func (r *Reader) Next(f *Frame) error {
	if !r.sniffed {
		if err := r.sniff(); err != nil {
			return err
		}
	}
	if len(r.ahead) > 0 {
		*f = r.ahead[0]
		r.ahead = r.ahead[1:]
	} else if err := r.next(f); err != nil {
		return err
	}
	if r.mode == StampDelta {
		r.clockNS = max(r.clockNS, min(r.clockNS+f.StampNS, maxStampSeconds*1e9))
		f.StampNS = r.clockNS
	}
	return nil
}

// sniff looks at the first frames to find what their stamps mean.
func (r *Reader) sniff() error {
	r.sniffed = true
	if r.mode != StampAuto {
		return nil
	}
	r.mode = StampClock
	var f Frame
	for i := range sniffFrames {
		err := r.next(&f)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		r.ahead = append(r.ahead, f)
		if f.StampNS >= smallStampNS {
			r.mode = StampClock
			return nil
		}
		if i > 0 && f.StampNS < r.ahead[i-1].StampNS {
			r.mode = StampDelta
		}
	}
	return nil
}

// next reads frames as their lines are.
func (r *Reader) next(f *Frame) error {
	for !r.ended {
		line, err := r.line()
		if err != nil {
			return err
		}
		if line == nil {
			continue
		}
		bus, err := parseLine(line, f)
		switch {
		case err == nil:
			name, ok := r.name(bus)
			if !ok {
				r.bad("too many interfaces")
				continue
			}
			f.Bus, f.Cut = name, r.ended
			r.stats.Frames++
			return nil
		case !errors.Is(err, ErrNoFrame):
			r.bad(reason(err))
		}
	}
	return io.EOF
}

func reason(err error) string {
	var le *LineError
	if errors.As(err, &le) {
		return le.Reason
	}
	return err.Error()
}

func (r *Reader) bad(reason string) {
	r.stats.BadLines++
	if len(r.stats.Bad) < keptBadLines {
		r.stats.Bad = append(r.stats.Bad, BadLine{Line: int(r.stats.Lines), Reason: reason})
	}
}

// name returns the one string for a bus, so that frames share it.
func (r *Reader) name(b []byte) (string, bool) {
	if r.last == string(b) {
		return r.last, true
	}
	s, ok := r.names[string(b)]
	if !ok {
		if len(r.names) == maxBuses {
			return "", false
		}
		s = string(b)
		r.names[s] = s
	}
	r.last = s
	return s, true
}

// line returns the next line, or nil for one that is too long. At the end it
// sets ended; the last line may be without its newline.
func (r *Reader) line() ([]byte, error) {
	line, err := r.in.ReadSlice('\n')
	long := false
	for errors.Is(err, bufio.ErrBufferFull) {
		long = true
		line, err = r.in.ReadSlice('\n')
	}
	if err != nil {
		r.ended = true
		if r.src.err != nil {
			return nil, fmt.Errorf("can: read log after line %d: %w", r.stats.Lines, r.src.err)
		}
		if !errors.Is(err, io.EOF) {
			r.stats.Damage = err.Error()
		}
		if len(line) == 0 && !long {
			return nil, io.EOF
		}
	}
	r.stats.Lines++
	if long || len(line) > MaxLineBytes {
		r.bad("line too long")
		return nil, nil
	}
	return line, nil
}
