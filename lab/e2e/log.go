package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/klauspost/compress/zstd"

	"telemetry/sensors/can"
)

// prepareLog makes paths absolute, finds how long the log plays, and cuts it
// when it is to be played in part.
func (r *run) prepareLog() error {
	for _, p := range []*string{&r.Log, &r.DBC, &r.OracleDBC, &r.Scripts, &r.dir} {
		abs, err := filepath.Abs(*p)
		if err != nil {
			return fmt.Errorf("e2e: path: %w", err)
		}
		*p = abs
	}
	path, length, err := CutLog(r.Log, r.dir, time.Duration(float64(r.Play)*r.Speed))
	r.Log, r.length = path, time.Duration(float64(length)/r.Speed)
	return err
}

// CutLog returns a candump log that lasts no longer than limit, 0 for all of it,
// that programs can read which know only plain and .gz files, and how long it
// lasts. That is the log itself or a copy in dir.
func CutLog(log, dir string, limit time.Duration) (path string, length time.Duration, err error) {
	in, err := openLog(log)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	out := io.Discard
	path = log
	if limit > 0 || in.zstd {
		path = filepath.Join(dir, "cut.log")
		f, err := os.Create(path)
		if err != nil {
			return "", 0, fmt.Errorf("e2e: cut log: %w", err)
		}
		defer f.Close()
		out = f
	}
	if length, err = copyLog(out, in, limit); err != nil {
		return "", 0, fmt.Errorf("e2e: log %s: %w", log, err)
	}
	return path, length, nil
}

// logFile is a log, unpacked while it is read.
type logFile struct {
	io.Reader
	file *os.File
	zstd bool
}

func (l *logFile) Close() error { return l.file.Close() }

func openLog(path string) (*logFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("e2e: log: %w", err)
	}
	in := bufio.NewReaderSize(f, 256<<10)
	magic, _ := in.Peek(4) // a shorter file is read as it is
	l := &logFile{Reader: in, file: f}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		l.Reader, err = gzip.NewReader(in)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		l.zstd = true
		l.Reader, err = zstd.NewReader(in, zstd.WithDecoderConcurrency(1))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("e2e: open log %s: %w", path, err), f.Close())
	}
	return l, nil
}

// copyLog copies the lines up to a time after the first frame, 0 for all, and
// returns the time from the first frame to the last one. What cannot be read of
// a damaged archive is left out.
func copyLog(w io.Writer, in io.Reader, limit time.Duration) (length time.Duration, err error) {
	r, out := bufio.NewReaderSize(in, 256<<10), bufio.NewWriter(w)
	var f can.Frame
	first, begun := int64(0), false
	for {
		line, readErr := r.ReadBytes('\n')
		if len(line) > 0 && can.ParseLine(line, &f) == nil {
			if !begun {
				first, begun = f.StampNS, true
			}
			if limit > 0 && f.StampNS-first > int64(limit) {
				break
			}
			length = max(length, time.Duration(f.StampNS-first))
		}
		if _, err := out.Write(line); err != nil {
			return 0, err
		}
		if readErr != nil {
			break
		}
	}
	if !begun {
		return 0, errors.New("holds no frame (want a candump log)")
	}
	return length, out.Flush()
}
