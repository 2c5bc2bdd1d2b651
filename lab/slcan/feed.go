package slcan

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"telemetry/sensors/can"
)

// Feed gives the frames that other nodes put on the bus, in order.
type Feed interface {
	// Next waits for the next frame. It returns io.EOF at the end.
	Next(ctx context.Context, f *can.Frame) error
}

// Log is a feed of a candump log. Close gives the file back.
type Log struct {
	file   *os.File
	reader *can.Reader
}

// OpenLog opens a candump log, plain, gzip or zstd.
func OpenLog(path string) (*Log, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("slcan: open log: %w", err)
	}
	r, err := can.NewReader(f, can.StampAuto)
	if err != nil {
		f.Close()
		return nil, err
	}
	return &Log{file: f, reader: r}, nil
}

// Next returns the next frame of the log.
func (l *Log) Next(_ context.Context, f *can.Frame) error { return l.reader.Next(f) }

// Close closes the log.
func (l *Log) Close() error {
	l.reader.Close()
	return l.file.Close()
}

// Channel is a feed of frames as they come. Closing the channel ends it.
type Channel <-chan can.Frame

// Next waits for a frame.
func (c Channel) Next(ctx context.Context, f *can.Frame) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case v, more := <-c:
		if !more {
			return io.EOF
		}
		*f = v
		return nil
	}
}

// relink makes link name target in one step, as udev does.
func relink(target, link string) error {
	next := filepath.Join(filepath.Dir(link), "."+filepath.Base(link)+".new")
	if err := os.Remove(next); err != nil && !os.IsNotExist(err) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, link)
}
