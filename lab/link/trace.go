package link

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sort"
	"strconv"
	"time"
)

// SlotBytes is what one line of a trace lets through.
const SlotBytes = 1500

// Limits of a trace file: eight million lines are two hours at 13 Mbit/s.
const (
	MaxTraceLines     = 8 << 20
	maxTraceLineBytes = 16
)

// Trace is the capacity of a link over time in mahimahi's form: a list of
// moments, each letting SlotBytes through. It loops: its period ends 1 ms after
// its last moment. Read-only and safe for concurrent use.
type Trace struct {
	ms []uint32 // from the first moment, which is 0; never decreasing, not empty
}

// TraceError is a line of a trace that cannot be read.
type TraceError struct {
	Line int // from 1
	Why  string
}

// Error names the line.
func (e *TraceError) Error() string { return fmt.Sprintf("line %d: %s", e.Line, e.Why) }

// LoadTrace reads a file, gzipped or not, whatever its name is.
func LoadTrace(path string) (*Trace, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("link: trace: %w", err)
	}
	defer f.Close()
	t, err := ReadTrace(f)
	if err != nil {
		return nil, fmt.Errorf("link: trace %s: %w", path, err)
	}
	return t, nil
}

// ReadTrace reads a trace, gzipped or not: one whole number a line,
// milliseconds, never decreasing. A first number other than 0 is taken off all
// of them. A bad line is a *TraceError.
func ReadTrace(r io.Reader) (*Trace, error) {
	br := bufio.NewReader(r)
	magic, err := br.Peek(2)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read: %w", err)
	}
	if bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		z, err := gzip.NewReader(br)
		if err != nil {
			return nil, fmt.Errorf("unpack: %w", err)
		}
		br = bufio.NewReader(z)
	}
	t := &Trace{}
	var first, last uint64
	sc := bufio.NewScanner(br)
	sc.Buffer(make([]byte, 0, maxTraceLineBytes), maxTraceLineBytes)
	for line := 1; sc.Scan(); line++ {
		v, err := strconv.ParseUint(string(sc.Bytes()), 10, 64)
		switch {
		case err != nil:
			return nil, &TraceError{line, fmt.Sprintf("%q is no whole number of milliseconds", sc.Bytes())}
		case line == 1:
			first = v
		case v < last:
			return nil, &TraceError{line, fmt.Sprintf("%d ms after %d ms: time goes back", v, last)}
		}
		if v-first >= math.MaxUint32 {
			return nil, &TraceError{line, fmt.Sprintf("%d ms is further than %d ms from the first", v, uint32(math.MaxUint32))}
		}
		if line > MaxTraceLines {
			return nil, &TraceError{line, fmt.Sprintf("more than %d lines", MaxTraceLines)}
		}
		last = v
		t.ms = append(t.ms, uint32(v-first))
	}
	switch err := sc.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, &TraceError{len(t.ms) + 1, fmt.Sprintf("longer than %d bytes", maxTraceLineBytes-1)}
	case err != nil:
		return nil, fmt.Errorf("read after line %d: %w", len(t.ms), err)
	case len(t.ms) == 0:
		return nil, &TraceError{1, "the trace is empty"}
	}
	return t, nil
}

// Period returns the time after which the trace begins again.
func (t *Trace) Period() time.Duration {
	return time.Duration(t.ms[len(t.ms)-1]+1) * time.Millisecond
}

// BitRate returns the mean capacity in bits per second.
func (t *Trace) BitRate() float64 {
	return float64(len(t.ms)) * SlotBytes * 8 / t.Period().Seconds()
}

// Append writes the trace as ReadTrace reads it.
func (t *Trace) Append(dst []byte) []byte {
	for _, ms := range t.ms {
		dst = append(strconv.AppendUint(dst, uint64(ms), 10), '\n')
	}
	return dst
}

// moment returns when slot k, counted from 0 through all laps, is there: ns from
// the trace's start.
func (t *Trace) moment(k int64) int64 {
	n := int64(len(t.ms))
	return k/n*int64(t.Period()) + int64(t.ms[k%n])*int64(time.Millisecond)
}

// slots returns how many slots there are up to and including ns.
func (t *Trace) slots(ns int64) int64 {
	if ns < 0 {
		return 0
	}
	period := int64(t.Period())
	rest := ns % period / int64(time.Millisecond)
	in := sort.Search(len(t.ms), func(i int) bool { return int64(t.ms[i]) > rest })
	return ns/period*int64(len(t.ms)) + int64(in)
}
