package dbc

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"telemetry/wire"
)

// Database finds and decodes messages. It is never changed after [Compile] and
// safe for concurrent use.
type Database struct {
	Messages []*Message // in the order of the file

	standard map[uint32]*Message
	extended map[uint32]*Message
	pgn      map[uint32]*Message
	source   map[uint32]*Message // by PGN<<8 and source address
}

// Message is one message with its decode plan.
type Message struct {
	Name     string
	Comment  string
	Sender   string
	ID       uint32 // 11 or 29 bits
	Extended bool
	FD       bool
	J1939    bool
	Size     int // bytes as stated; frames may differ
	CycleMS  float64
	Signals  []Signal // what Decode fills, in the order of the file

	plans       []plan // selectors before what they select
	multiplexed bool
}

// Signal describes one decoded value.
type Signal struct {
	Name     string // unique inside the message
	Unit     string
	Comment  string
	Type     wire.ValueType
	Bits     uint8 // 1..64
	Factor   float64
	Offset   float64
	Min, Max float64          // as stated; both 0: not stated
	Enum     []wire.EnumValue // sorted by Raw
	Muxed    bool             // absent from frames whose selector says so
}

// Physical returns the value in the signal's unit: float64(raw)*Factor+Offset,
// rounded after each operation.
func (s *Signal) Physical(raw int64) float64 {
	var v float64
	switch s.Type {
	case wire.TypeUint:
		v = float64(uint64(raw))
	case wire.TypeF32:
		v = float64(math.Float32frombits(uint32(raw)))
	case wire.TypeF64:
		v = math.Float64frombits(uint64(raw))
	default:
		v = float64(raw)
	}
	return float64(v*s.Factor) + s.Offset
}

// PGN returns the J1939 parameter group number of an extended id: priority and
// source address are left out, and the destination address too where it is one.
func PGN(id uint32) uint32 {
	pgn := id >> 8 & 0x3ffff
	if pgn>>8&0xff < 240 {
		pgn &^= 0xff
	}
	return pgn
}

// anySource is the address that nobody has: J1939 messages that are no one's in
// particular are written with it.
const anySource = 0xfe

// Lookup returns the message of an id, or nil. Extended ids that no message has
// are matched by their PGN against J1939 messages: of several with one PGN the one
// of the same source address is found, else the one of any source. Where a file
// has an id twice, the last message is found.
func (d *Database) Lookup(id uint32, extended bool) *Message {
	if !extended {
		return d.standard[id]
	}
	if m := d.extended[id]; m != nil || len(d.pgn) == 0 {
		return m
	}
	pgn := PGN(id)
	if m := d.source[pgn<<8|id&0xff]; m != nil {
		return m
	}
	return d.pgn[pgn]
}

// addJ1939 notes a message by its PGN.
func (d *Database) addJ1939(m *Message) {
	pgn := PGN(m.ID)
	d.source[pgn<<8|m.ID&0xff] = m
	if old := d.pgn[pgn]; old == nil || old.ID&0xff != anySource || m.ID&0xff == anySource {
		d.pgn[pgn] = m
	}
}

// Compile builds the decode plans. Signals that cannot be decoded are left out
// with a warning: no bits or more than 64, or beyond MaxPayload.
func Compile(f *File) (*Database, []Warning) { return compileFile(f, false) }

func compileFile(f *File, all bool) (*Database, []Warning) {
	warn := warnings{all: all}
	d := &Database{standard: map[uint32]*Message{}, extended: map[uint32]*Message{}, pgn: map[uint32]*Message{}, source: map[uint32]*Message{}}
	for _, def := range f.Messages {
		m := compileMessage(def, &warn)
		d.Messages = append(d.Messages, m)
		ids := d.standard
		if m.Extended {
			ids = d.extended
		}
		if old := ids[m.ID]; old != nil {
			warn.add(def.Line, "BO_ %s: id 0x%X is also that of %s; this one is used", clip(m.Name), m.ID, clip(old.Name))
		}
		ids[m.ID] = m
		if m.J1939 && m.Extended {
			d.addJ1939(m)
		}
	}
	return d, warn.done()
}

func compileMessage(def *MessageDef, warn *warnings) *Message {
	m := &Message{
		Name: def.Name, Comment: def.Comment, Sender: def.Sender, ID: def.ID, Extended: def.Extended,
		FD: def.FD || def.Size > 8 && def.Size <= 64 && !def.J1939, J1939: def.J1939, Size: def.Size, CycleMS: def.CycleMS,
	}
	seen := make(map[string]bool, len(def.Signals))
	kept := make([]*SignalDef, 0, len(def.Signals))
	for _, s := range def.Signals {
		p, ok := layout(s)
		switch {
		case !ok:
			warn.add(s.Line, "SG_ %s: %d bits at %d cannot be decoded; left out", clip(s.Name), s.Length, s.Start)
			continue
		case int(p.need) > def.Size:
			warn.add(s.Line, "SG_ %s: reaches byte %d of a message of %d bytes", clip(s.Name), p.need, def.Size)
		}
		name := s.Name
		for n := 2; seen[name]; n++ {
			name = fmt.Sprintf("%s#%d", s.Name, n)
		}
		if name != s.Name {
			warn.add(s.Line, "SG_ %s: the name is used twice in %s; called %s", clip(s.Name), clip(m.Name), clip(name))
		}
		seen[name] = true
		if s.Float && p.kind != kindF16 && p.kind != kindF32 && p.kind != kindF64 {
			warn.add(s.Line, "SG_ %s: a float of %d bits; taken as an integer", clip(s.Name), s.Length)
		}
		if s.Factor == 0 {
			warn.add(s.Line, "SG_ %s: factor 0: its value is always the offset", clip(s.Name))
		}
		p.signal = uint16(len(kept))
		kept = append(kept, s)
		m.plans = append(m.plans, p)
		m.Signals = append(m.Signals, describe(s, p))
		m.Signals[p.signal].Name = name
	}
	linkMux(m, kept, warn)
	return m
}

// describe builds what a catalogue needs to know of a signal.
func describe(s *SignalDef, p plan) Signal {
	out := Signal{
		Name: s.Name, Unit: s.Unit, Comment: s.Comment, Bits: uint8(s.Length),
		Factor: s.Factor, Offset: s.Offset, Min: s.Min, Max: s.Max,
	}
	switch p.kind {
	case kindInt:
		out.Type = wire.TypeInt
	case kindF16, kindF32:
		out.Type = wire.TypeF32
	case kindF64:
		out.Type = wire.TypeF64
	default:
		out.Type = wire.TypeUint
	}
	for _, v := range s.Values {
		out.Enum = append(out.Enum, wire.EnumValue(v))
	}
	slices.SortStableFunc(out.Enum, func(a, b wire.EnumValue) int { return cmp.Compare(a.Raw, b.Raw) })
	out.Enum = slices.CompactFunc(out.Enum, func(a, b wire.EnumValue) bool { return a.Raw == b.Raw })
	return out
}

// linkMux gives each multiplexed plan its selector and sorts selectors before
// what they select. Where the file does not say which selector is meant, or
// says so in a circle, the signal is taken as always there.
func linkMux(m *Message, defs []*SignalDef, warn *warnings) {
	byName := make(map[string]int, len(defs))
	only, selectors := -1, 0
	for i, s := range defs {
		byName[s.shortName] = i
		if s.Mux.Selector {
			only = i
			selectors++
		}
	}
	named := map[int]bool{}
	for i, s := range defs {
		if !s.Mux.Marked && s.Mux.By == "" {
			continue
		}
		parent, ok := byName[s.Mux.By]
		switch {
		case ok && parent != i:
			if !defs[parent].Mux.Selector && !named[parent] {
				named[parent] = true
				warn.add(defs[parent].Line, "SG_ %s: SG_MUL_VAL_ makes it a selector, its marker does not", clip(defs[parent].Name))
			}
		case selectors == 1 && only != i:
			parent = only
		case selectors == 1 && only == i:
			continue // m0M as the only selector: nothing selects it
		default:
			warn.add(s.Line, "SG_ %s: no telling which selector of %s it depends on; taken as always there", clip(s.Name), clip(m.Name))
			continue
		}
		p := &m.plans[i]
		p.parent = int32(parent)
		p.ranges = append(p.ranges, s.Mux.Ranges...)
		if s.Mux.Marked && (selectors == 1 || len(p.ranges) == 0) {
			p.ranges = append(p.ranges, Range{First: s.Mux.Value, Last: s.Mux.Value})
		}
	}
	depths := make([]int, len(m.plans))
	for i := range m.plans {
		depth := 0
		for at := int32(i); m.plans[at].parent >= 0; depth++ {
			if depth > len(m.plans) {
				warn.add(defs[i].Line, "SG_ %s: its selectors select one another; taken as always there", clip(defs[i].Name))
				m.plans[i].parent, depth = -1, 0
				break
			}
			at = m.plans[at].parent
		}
		depths[i] = depth
	}
	for i := range m.plans {
		m.Signals[i].Muxed = m.plans[i].parent >= 0
		m.multiplexed = m.multiplexed || m.Signals[i].Muxed
	}
	slices.SortStableFunc(m.plans, func(a, b plan) int { return cmp.Compare(depths[a.signal], depths[b.signal]) })
}
