package pagetest

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"sync"
)

// Result is one thing that was looked at: a line of JSON. Bar is what Value must
// not pass, in the direction that Least says; without one the value is only told.
type Result struct {
	Name  string   `json:"name"`
	Value float64  `json:"value"`
	Unit  string   `json:"unit,omitempty"`
	Bar   *float64 `json:"bar,omitempty"`
	Least bool     `json:"least,omitempty"` // bar is the least value, not the greatest
	OK    bool     `json:"ok"`
	Note  string   `json:"note,omitempty"`
}

// ledger writes results as they come. It is safe for concurrent use.
type ledger struct {
	mu   sync.Mutex
	out  *json.Encoder
	bad  []string
	werr error
}

func newLedger(w io.Writer) *ledger { return &ledger{out: json.NewEncoder(w)} }

func (l *ledger) put(r Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !r.OK {
		l.bad = append(l.bad, r.Name)
	}
	if err := l.out.Encode(r); err != nil && l.werr == nil {
		l.werr = fmt.Errorf("pagetest: result: %w", err)
	}
}

// atMost tells a value that must not be greater than bar.
func (l *ledger) atMost(name string, value, bar float64, unit string) {
	l.put(Result{Name: name, Value: value, Unit: unit, Bar: &bar, OK: value <= bar})
}

// atLeast tells a value that must not be less than bar.
func (l *ledger) atLeast(name string, value, bar float64, unit string) {
	l.put(Result{Name: name, Value: value, Unit: unit, Bar: &bar, Least: true, OK: value >= bar})
}

// told is a value without a bar.
func (l *ledger) told(name string, value float64, unit string) {
	l.put(Result{Name: name, Value: value, Unit: unit, OK: true})
}

// check tells whether something is as it should be.
func (l *ledger) check(name string, ok bool, note string, args ...any) {
	r := Result{Name: name, OK: ok}
	if ok {
		r.Value = 1
	} else {
		r.Note = fmt.Sprintf(note, args...)
	}
	l.put(r)
}

// failed returns the names of what was not as it should be.
func (l *ledger) failed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.bad)
}
