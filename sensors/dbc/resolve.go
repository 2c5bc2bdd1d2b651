package dbc

import (
	"cmp"
	"slices"
	"strconv"
)

// index finds messages by their number as written and signals by short name.
type index struct {
	messages map[uint32][]*MessageDef
	signals  map[*MessageDef]map[string]*SignalDef
}

func newIndex(f *File) index {
	x := index{messages: map[uint32][]*MessageDef{}, signals: map[*MessageDef]map[string]*SignalDef{}}
	for _, m := range f.Messages {
		x.messages[m.rawID] = append(x.messages[m.rawID], m)
		names := make(map[string]*SignalDef, len(m.Signals))
		for _, s := range m.Signals {
			if names[s.shortName] == nil {
				names[s.shortName] = s
			}
		}
		x.signals[m] = names
	}
	return x
}

// find returns the messages with a number, which may be written with or without
// the extended flag.
func (x index) find(id uint32) []*MessageDef {
	if ms := x.messages[id]; ms != nil {
		return ms
	}
	return x.messages[id^flagExtended]
}

// eachMessage calls fn for what r is about, or warns.
func (p *parser) eachMessage(x index, what string, rs []ref, fn func(r ref, m *MessageDef)) {
	for _, r := range rs {
		ms := x.find(r.id)
		if ms == nil && r.id != idIndependent {
			p.warn.add(r.line, "%s: no message %d", what, r.id)
		}
		for _, m := range ms {
			fn(r, m)
		}
	}
}

// eachSignal calls fn for the signals that r is about, or warns. Where an id is
// there twice, one of the messages need have the signal.
func (p *parser) eachSignal(x index, what string, rs []ref, fn func(r ref, s *SignalDef)) {
	for _, r := range rs {
		ms, found := x.find(r.id), false
		for _, m := range ms {
			if s := x.signals[m][r.signal]; s != nil {
				fn(r, s)
				found = true
			}
		}
		switch {
		case found || r.id == idIndependent:
		case len(ms) == 0:
			p.warn.add(r.line, "%s: no message %d", what, r.id)
		default:
			p.warn.add(r.line, "%s: message %s has no signal %q", what, clip(ms[0].shortName), clip(r.signal))
		}
	}
}

// parted splits references to messages from those to signals.
func parted(rs []ref) (messages, signals []ref) {
	for _, r := range rs {
		if r.signal == "" {
			messages = append(messages, r)
		} else {
			signals = append(signals, r)
		}
	}
	return messages, signals
}

// resolve applies what the file says about messages and signals by number and
// name. Long names come last: references use short ones.
func (p *parser) resolve() {
	x := newIndex(p.file)
	messages, signals := parted(p.refs.comments)
	p.eachMessage(x, "CM_", messages, func(r ref, m *MessageDef) { m.Comment = r.text })
	p.eachSignal(x, "CM_", signals, func(r ref, s *SignalDef) { s.Comment = r.text })
	p.eachSignal(x, "VAL_", p.refs.values, func(r ref, s *SignalDef) {
		s.Values = r.values
		if table, ok := p.refs.tables[r.text]; ok {
			s.Values = table
		} else if r.text != "" {
			p.warn.add(r.line, "VAL_: no table %q", clip(r.text))
		}
	})
	p.eachSignal(x, "SIG_VALTYPE_", p.refs.valTypes, func(r ref, s *SignalDef) {
		switch r.text {
		case "0":
		case "1", "2":
			s.Float = true
		default:
			p.warn.add(r.line, "SIG_VALTYPE_: unknown type %s of %s", clip(r.text), clip(s.Name))
		}
	})
	p.eachSignal(x, "SG_MUL_VAL_", p.refs.muxes, func(r ref, s *SignalDef) {
		s.Mux.By = r.text
		s.Mux.Ranges = append(s.Mux.Ranges, r.ranges...)
	})
	p.resolveFormats(x)
	p.eachMessage(x, "BA_", p.refs.cycles, func(r ref, m *MessageDef) {
		m.CycleMS, _ = strconv.ParseFloat(r.text, 64)
	})
	messages, signals = parted(p.refs.names)
	p.eachMessage(x, "BA_", messages, func(r ref, m *MessageDef) { m.Name = cmp.Or(r.text, m.Name) })
	p.eachSignal(x, "BA_", signals, func(r ref, s *SignalDef) { s.Name = cmp.Or(r.text, s.Name) })
	for _, m := range p.file.Messages {
		for _, s := range m.Signals {
			slices.SortStableFunc(s.Mux.Ranges, func(a, b Range) int { return cmp.Compare(a.First, b.First) })
		}
	}
}

// The names of VFrameFormat's values that mean something here, and their usual
// numbers.
const (
	formatJ1939 = "J1939PG"
	formatStdFD = "StandardCAN_FD"
	formatExtFD = "ExtendedCAN_FD"
	numberJ1939 = 3
	numberStdFD = 14
	numberExtFD = 15
)

func (p *parser) resolveFormats(x index) {
	enum := p.refs.enums[attrFormat]
	apply := func(m *MessageDef, text string) {
		name := text
		if n, err := strconv.Atoi(text); err == nil {
			switch {
			case n >= 0 && n < len(enum):
				name = enum[n]
			case n == numberJ1939:
				name = formatJ1939
			case n == numberStdFD:
				name = formatStdFD
			case n == numberExtFD:
				name = formatExtFD
			}
		}
		m.J1939 = name == formatJ1939
		m.FD = name == formatStdFD || name == formatExtFD
	}
	if d, ok := p.refs.defaults[attrFormat]; ok {
		for _, m := range p.file.Messages {
			apply(m, d)
		}
	}
	p.eachMessage(x, "BA_", p.refs.formats, func(r ref, m *MessageDef) { apply(m, r.text) })
}
