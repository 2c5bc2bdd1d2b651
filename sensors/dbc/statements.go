package dbc

import "strings"

// refs holds what statements say about messages and signals by number and name,
// until all of the file has been read.
type refs struct {
	comments []ref
	values   []ref
	valTypes []ref
	muxes    []ref
	names    []ref // long names
	formats  []ref // VFrameFormat
	cycles   []ref // GenMsgCycleTime
	tables   map[string][]Value
	enums    map[string][]string // BA_DEF_ … ENUM
	defaults map[string]string   // BA_DEF_DEF_
}

func newRefs() refs {
	return refs{tables: map[string][]Value{}, enums: map[string][]string{}, defaults: map[string]string{}}
}

// ref is one statement about a message, or about a signal if signal is set.
type ref struct {
	line   int
	id     uint32
	signal string
	text   string
	values []Value
	ranges []Range
}

// The attributes that are read; all others are passed.
const (
	attrSignalName  = "SystemSignalLongSymbol"
	attrMessageName = "SystemMessageLongSymbol"
	attrFormat      = "VFrameFormat"
	attrCycle       = "GenMsgCycleTime"
)

func (p *parser) commentStatement(start int) error {
	r := ref{line: p.line(start)}
	kind := p.word()
	switch kind {
	case "":
	case "BO_", "SG_":
		var ok bool
		if r.id, ok = p.id(); !ok {
			return p.want("a message id")
		}
		if kind == "SG_" {
			if r.signal = p.word(); r.signal == "" {
				p.warn.add(r.line, "CM_ SG_ %d: no signal name; left out", r.id)
			}
		}
	default: // BU_, EV_ and whatever a tool invents
		p.word()
	}
	text, bare, closed, ok := p.comment()
	if !ok {
		return p.want("a quoted text")
	}
	if bare {
		p.warn.add(r.line, "comment with a bare quote")
	}
	if !closed {
		p.warn.add(r.line, "comment without its closing quote")
	}
	p.end(start)
	if r.text = text; kind == "BO_" || kind == "SG_" && r.signal != "" {
		p.refs.comments = append(p.refs.comments, r)
	}
	return nil
}

// valuesStatement reads VAL_ for a signal: pairs, or the name of a table. The
// form for environment variables is passed.
func (p *parser) valuesStatement(start int) error {
	r := ref{line: p.line(start)}
	id, ok := p.id()
	r.id = id
	if !ok && p.word() == "" {
		return p.want("a message id")
	}
	if ok {
		if r.signal = p.word(); r.signal == "" {
			return p.want("a signal name")
		}
	}
	if c := p.peek(); c != '+' && c != '-' && !isDigit(c) && c != ';' {
		r.text = p.word()
	}
	r.values = p.pairs(r.line)
	p.end(start)
	if ok {
		p.refs.values = append(p.refs.values, r)
	}
	return nil
}

func (p *parser) tableStatement(start int) error {
	name := p.word()
	if name == "" {
		return p.want("a table name")
	}
	p.refs.tables[name] = p.pairs(p.line(start))
	p.end(start)
	return nil
}

// pairs reads numbers with quoted names as long as they come.
func (p *parser) pairs(line int) []Value {
	var out []Value
	for {
		pos := p.pos
		t := p.number()
		if t == "" {
			return out
		}
		name, closed, ok := p.quoted()
		if !ok {
			p.pos = pos
			return out
		}
		if !closed {
			p.warn.add(line, "value %s without its closing quote", t)
		}
		if v, ok := parseInt(t); ok {
			out = append(out, Value{Raw: v, Name: name})
		} else {
			p.warn.add(line, "value %q is no whole number; left out", clip(t))
		}
	}
}

func (p *parser) valTypeStatement(start int) error {
	r := ref{line: p.line(start)}
	var ok bool
	if r.id, ok = p.id(); !ok {
		return p.want("a message id")
	}
	if r.signal = p.word(); r.signal == "" {
		return p.want("a signal name")
	}
	p.take(':')
	if r.text = p.number(); r.text == "" {
		return p.want("a type")
	}
	p.end(start)
	p.refs.valTypes = append(p.refs.valTypes, r)
	return nil
}

func (p *parser) mulValStatement(start int) error {
	r := ref{line: p.line(start)}
	var ok bool
	if r.id, ok = p.id(); !ok {
		return p.want("a message id")
	}
	r.signal, r.text = p.word(), p.word()
	if r.signal == "" || r.text == "" {
		return p.want("a signal and its selector")
	}
	for {
		lo, ok := p.integer(0, 1<<62)
		if !ok {
			break
		}
		hi := lo
		if p.take('-') {
			if hi, ok = p.integer(0, 1<<62); !ok {
				return p.want("the end of a range")
			}
		} else if v, ok := p.integer(-1<<62, 0); ok { // "0-5" and "0 -5": the sign reads as the dash
			hi = -v
		}
		r.ranges = append(r.ranges, Range{First: uint64(lo), Last: uint64(hi)})
		p.take(',')
	}
	p.end(start)
	p.refs.muxes = append(p.refs.muxes, r)
	return nil
}

func (p *parser) attributeStatement(start int) error {
	name, _, ok := p.quoted()
	if !ok {
		return p.want("an attribute name")
	}
	r := ref{line: p.line(start)}
	kind := ""
	if c := p.peek(); c != '"' && c != '+' && c != '-' && !isDigit(c) {
		kind = p.word()
	}
	switch kind {
	case "BO_", "SG_":
		if r.id, ok = p.id(); !ok {
			return p.want("a message id")
		}
		if kind == "SG_" {
			r.signal = p.word()
		}
	case "":
	default:
		p.word()
	}
	if r.text, ok = p.value(); !ok {
		return p.want("a value")
	}
	p.end(start)
	switch {
	case name == attrSignalName && kind == "SG_", name == attrMessageName && kind == "BO_":
		p.refs.names = append(p.refs.names, r)
	case name == attrFormat && kind == "BO_":
		p.refs.formats = append(p.refs.formats, r)
	case name == attrCycle && kind == "BO_":
		p.refs.cycles = append(p.refs.cycles, r)
	}
	return nil
}

// value reads a quoted text or a number.
func (p *parser) value() (text string, ok bool) {
	if text, _, ok := p.quoted(); ok {
		return text, true
	}
	if t := p.number(); t != "" {
		return t, true
	}
	w := p.word()
	return w, w != ""
}

func (p *parser) attributeDefStatement() error {
	if p.peek() != '"' {
		p.word() // BU_, BO_, SG_ or EV_
	}
	name, _, ok := p.quoted()
	if !ok {
		return p.want("an attribute name")
	}
	start := p.pos
	if kind := p.word(); strings.EqualFold(kind, "ENUM") {
		var names []string
		for {
			n, _, ok := p.quoted()
			if !ok {
				break
			}
			names = append(names, n)
			p.take(',')
		}
		p.refs.enums[name] = names
		p.end(start)
		return nil
	}
	for p.number() != "" {
	}
	p.end(start)
	return nil
}

func (p *parser) attributeDefaultStatement(start int) error {
	name, _, ok := p.quoted()
	if !ok {
		return p.want("an attribute name")
	}
	text, ok := p.value()
	if !ok {
		return p.want("a value")
	}
	p.refs.defaults[name] = text
	p.end(start)
	return nil
}
