// Package dbc reads CAN database files and decodes payloads with them.
//
// The entry points are [Parse], which reads a file statement by statement and
// never gives up on it, and [Compile], which turns what was read into flat
// decode plans for [Message.Decode].
//
// The package never rejects a file for its contents: what it cannot read it
// names in a [Warning] with its line, and goes on with the next statement. It
// never clamps a value to its stated range. It never does I/O beyond the reader
// that it is given.
package dbc

import "fmt"

// Limits on what is read. They bound memory and time by the input.
const (
	MaxFileBytes   = 32 << 20 // the largest public databases have 6 MB
	MaxWarnings    = 1000     // per call; the last one says how many more there are
	MaxStringBytes = 64 << 10 // one quoted string
	MaxPayload     = 2048     // bytes of a payload: CAN XL; J1939 transports 1785
)

// Warning is a fault that was tolerated.
type Warning struct {
	Line int // from 1; 0 is the whole file
	Text string
}

// String returns "line 12: text".
func (w Warning) String() string {
	if w.Line == 0 {
		return w.Text
	}
	return fmt.Sprintf("line %d: %s", w.Line, w.Text)
}

// warnings collects at most MaxWarnings, or all of them.
type warnings struct {
	list []Warning
	more int
	all  bool
}

func (w *warnings) add(line int, format string, args ...any) {
	if len(w.list) >= MaxWarnings-1 && !w.all {
		w.more++
		return
	}
	w.list = append(w.list, Warning{Line: line, Text: fmt.Sprintf(format, args...)})
}

func (w *warnings) done() []Warning {
	if w.more > 0 {
		w.list = append(w.list, Warning{Text: fmt.Sprintf("%d more warnings", w.more)})
	}
	return w.list
}

// File is what a DBC file says, with names and references resolved but nothing
// checked against what can be decoded; see [Compile].
type File struct {
	Version  string
	Nodes    []string
	Messages []*MessageDef // in the order of the file; ids may repeat
}

// MessageDef is one BO_ statement and what other statements say about it.
type MessageDef struct {
	Line     int
	Name     string // the long name where the file gives one
	ID       uint32 // 11 or 29 bits
	Extended bool
	FD       bool   // VFrameFormat says CAN FD
	J1939    bool   // VFrameFormat says J1939: matched by PGN
	Size     int    // bytes
	Sender   string // empty: none
	Comment  string
	CycleMS  float64 // GenMsgCycleTime; 0: not stated
	Signals  []*SignalDef

	shortName string
	rawID     uint32 // as written, with flags
}

// SignalDef is one SG_ line and what other statements say about it.
type SignalDef struct {
	Line      int
	Name      string // the long name where the file gives one
	Start     int    // bit number as written: least significant bit, or most significant if BigEndian
	Length    int    // bits
	BigEndian bool
	Signed    bool
	Float     bool // SIG_VALTYPE_ 1 or 2; the width says which
	Factor    float64
	Offset    float64
	Min, Max  float64
	Unit      string
	Comment   string
	Values    []Value // VAL_ or the table it names, as written
	Mux       Mux

	shortName string
}

// Value names one raw value.
type Value struct {
	Raw  int64 // unsigned values above the int64 range are reinterpreted
	Name string
}

// Mux says how a signal takes part in multiplexing. The zero value is a plain
// signal.
type Mux struct {
	Selector bool   // M or m0M: its value selects others
	Marked   bool   // m0 or m0M: it is selected by another
	Value    uint64 // number of the marker
	By       string // selector named by SG_MUL_VAL_ (short name); empty: none named
	Ranges   []Range
}

// Range is a closed range of selector values.
type Range struct{ First, Last uint64 }
