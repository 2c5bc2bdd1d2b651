package dbc

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
)

// The journey of a file: Parse reads it whole and decodes its text; statement
// dispatches on the keyword; BO_ and SG_ build definitions at once, all other
// statements are kept as references and resolved at the end, because they may
// come in any order; a statement that cannot be read is left behind by resync.

// ErrTooLarge is returned for more than MaxFileBytes.
var ErrTooLarge = errors.New("dbc: file too large")

// Parse reads a whole database. It fails only when r fails or holds more than
// MaxFileBytes: every fault in the text is a warning.
func Parse(r io.Reader) (*File, []Warning, error) { return parse(r, false) }

// Lint reads a file and compiles it, for the sake of all its warnings, which
// are not bounded by MaxWarnings. They are in the order of their lines.
func Lint(r io.Reader) (*Database, []Warning, error) {
	file, list, err := parse(r, true)
	if err != nil {
		return nil, nil, err
	}
	db, more := compileFile(file, true)
	list = append(list, more...)
	slices.SortStableFunc(list, func(a, b Warning) int { return cmp.Compare(a.Line, b.Line) })
	return db, list, nil
}

func parse(r io.Reader, all bool) (*File, []Warning, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxFileBytes+1))
	if err != nil {
		return nil, nil, fmt.Errorf("dbc: read: %w", err)
	}
	if len(raw) > MaxFileBytes {
		return nil, nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, MaxFileBytes)
	}
	text, legacy := toUTF8(raw)
	p := &parser{scanner: newScanner(text), file: &File{}, refs: newRefs(), warn: warnings{all: all}}
	if legacy {
		p.warn.add(0, "not UTF-8: read as Windows-1252")
	}
	for !p.eof() {
		p.statement()
	}
	p.resolve()
	return p.file, p.warn.done(), nil
}

type parser struct {
	*scanner
	file *File
	refs refs
	warn warnings

	message *MessageDef // owner of SG_ lines; nil after a BO_ that was left out
}

// errSyntax is what a statement reports that cannot be read.
type errSyntax struct {
	pos  int
	want string
}

func (e *errSyntax) Error() string { return "want " + e.want }

func (p *parser) want(what string) error { return &errSyntax{pos: p.pos, want: what} }

func (p *parser) statement() {
	start := p.pos
	word := p.word()
	if word == "" { // a delimiter on its own; often a second semicolon
		if p.src[p.pos] == ';' {
			p.pos++
			return
		}
		p.warn.add(p.line(start), "unexpected %q", p.src[p.pos])
		p.pos++
		p.resync()
		return
	}
	var err error
	switch word {
	case "VERSION":
		p.file.Version, _, _ = p.quoted()
	case "NS_":
		p.newSymbols()
	case "BU_":
		p.nodes()
	case "BO_":
		err = p.messageStatement(start)
	case "SG_":
		err = p.signalStatement(start)
	case "CM_":
		err = p.commentStatement(start)
	case "VAL_":
		err = p.valuesStatement(start)
	case "VAL_TABLE_":
		err = p.tableStatement(start)
	case "SIG_VALTYPE_":
		err = p.valTypeStatement(start)
	case "SG_MUL_VAL_":
		err = p.mulValStatement(start)
	case "BA_":
		err = p.attributeStatement(start)
	case "BA_DEF_":
		err = p.attributeDefStatement()
	case "BA_DEF_DEF_":
		err = p.attributeDefaultStatement(start)
	default:
		if !isKeyword(word) {
			p.warn.add(p.line(start), "unknown statement %q", clip(word))
		}
		p.resync()
	}
	if err != nil {
		at := p.pos
		var syntax *errSyntax
		if errors.As(err, &syntax) {
			at = syntax.pos
		}
		p.warn.add(p.line(start), "%s left out: %v before %q", word, err, clip(string(p.src[at:p.lineEnd(at)])))
		p.resync()
	}
}

// clip shortens quoted input in warnings.
func clip(s string) string {
	const most = 40
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// end passes the semicolon of a statement, or warns and passes what is left.
func (p *parser) end(start int) {
	if p.take(';') {
		return
	}
	if p.pos >= len(p.src) || p.keywordAt(p.pos) {
		p.warn.add(p.line(start), "missing semicolon")
		return
	}
	p.warn.add(p.line(start), "left out %q at the end of the statement", clip(string(p.src[p.pos:p.lineEnd(p.pos)])))
	stop := p.lineEnd(p.pos)
	for p.pos < stop && p.src[p.pos] != ';' {
		p.pos++
	}
	if p.pos < stop {
		p.pos++
		return
	}
	p.resync()
}

// newSymbols passes the list after NS_, which names keywords: it ends where a
// keyword is followed by something else on its line.
func (p *parser) newSymbols() {
	p.take(':')
	for {
		p.skip()
		pos := p.pos
		w := p.word()
		if w == "" || w == "BS_" || w == "BU_" {
			p.pos = pos
			return
		}
		line := p.line(p.pos)
		after := p.pos
		next := p.peekWord()
		p.skip()
		if p.pos < len(p.src) && p.line(p.pos) == line && !isKeyword(next) && !strings.HasSuffix(next, "_") {
			p.pos = pos
			return
		}
		p.pos = after
	}
}

func (p *parser) nodes() {
	if !p.take(':') {
		p.resync()
		return
	}
	for {
		pos := p.pos
		w := p.word()
		if w == "" || isKeyword(w) {
			p.pos = pos
			return
		}
		p.file.Nodes = append(p.file.Nodes, w)
	}
}

// maxSignals bounds a message: plans count signals in 16 bits.
const maxSignals = 1<<16 - 1

// The flags of a BO_ number and the widest ids.
const (
	flagExtended  = 1 << 31
	maskExtended  = 1<<29 - 1
	maskStandard  = 1<<11 - 1
	idIndependent = 0xC0000000
	independent   = "VECTOR__INDEPENDENT_SIG_MSG"
)

func (p *parser) messageStatement(start int) error {
	p.message = nil
	line := p.line(start)
	raw, ok := p.id()
	if !ok {
		return p.want("a message id")
	}
	names := p.names()
	if !p.take(':') {
		if len(names) < 1 || p.line(p.pos) != line {
			return p.want("a name and a colon")
		}
		p.warn.add(line, "BO_ %d: missing colon", raw)
	}
	name := strings.Join(names, "_")
	size, ok := p.integer(0, math.MaxInt32)
	if !ok {
		return p.want("the message's size in bytes")
	}
	sender := ""
	if p.skip(); p.pos < len(p.src) && p.line(p.pos) == line {
		sender = p.word()
	}
	if raw == idIndependent || name == independent {
		p.message = &MessageDef{} // takes its signals, belongs to nothing
		return nil
	}
	m := &MessageDef{Line: line, Name: name, shortName: name, rawID: raw, Size: int(size)}
	if sender != "Vector__XXX" {
		m.Sender = sender
	}
	m.ID, m.Extended = raw&maskExtended, raw&flagExtended != 0
	switch {
	case !m.Extended && raw > maskExtended, m.Extended && raw&^(flagExtended|maskExtended) != 0:
		p.warn.add(line, "BO_ %d: id has more than 29 bits; taken as extended id 0x%X", raw, m.ID)
		m.Extended = true
	case !m.Extended && raw > maskStandard:
		p.warn.add(line, "BO_ %d: id has more than 11 bits but no extended flag; taken as extended", raw)
		m.Extended = true
	}
	if len(names) != 1 {
		if name == "" {
			m.Name = fmt.Sprintf("ID_%X", m.ID)
		}
		p.warn.add(line, "BO_ %d: odd name; called %q", raw, clip(m.Name))
	}
	p.message = m
	p.file.Messages = append(p.file.Messages, m)
	return nil
}

// names returns the words up to the next delimiter, on this line.
func (p *parser) names() []string {
	p.skip()
	line := p.line(p.pos)
	var out []string
	for p.pos < len(p.src) && p.line(p.pos) == line {
		w := p.word()
		if w == "" {
			break
		}
		out = append(out, w)
		p.skip()
	}
	return out
}

// marker reads M, m0 or m0M.
func marker(w string) (m Mux, ok bool) {
	if w == "M" {
		return Mux{Selector: true}, true
	}
	digits, selector := strings.CutSuffix(w, "M")
	digits, ok = strings.CutPrefix(digits, "m")
	v, err := strconv.ParseUint(digits, 10, 64)
	return Mux{Selector: selector, Marked: true, Value: v}, ok && err == nil
}

func (p *parser) signalStatement(start int) error {
	line := p.line(start)
	names := p.names()
	if !p.take(':') || len(names) == 0 {
		return p.want("a signal name and a colon")
	}
	s := &SignalDef{Line: line, Factor: 1}
	if n := len(names); n > 1 {
		switch m, ok := marker(names[n-1]); {
		case ok:
			s.Mux = m
			names = names[:n-1]
		case n == 2 && (names[1][0]|0x20) == 'm':
			p.warn.add(line, "SG_ %s: odd multiplex marker %q; left out", clip(names[0]), clip(names[1]))
			names = names[:1]
		}
	}
	s.Name = strings.Join(names, "_")
	s.shortName = s.Name
	if len(names) > 1 {
		p.warn.add(line, "SG_ %s: odd name; called %q", clip(names[0]), clip(s.Name))
	}
	if err := p.bits(s); err != nil {
		return err
	}
	if p.scaling(s) {
		p.receivers()
	} else if p.line(p.pos) == line { // no telling what the rest of the line is
		p.pos = p.lineEnd(p.pos)
	}
	if p.message == nil {
		p.warn.add(line, "SG_ %s: belongs to no message; left out", clip(s.Name))
		return nil
	}
	if len(p.message.Signals) == maxSignals {
		p.warn.add(line, "SG_ %s: more than %d signals in a message; left out", clip(s.Name), maxSignals)
		return nil
	}
	p.message.Signals = append(p.message.Signals, s)
	return nil
}

// bits reads "start|length@order sign".
func (p *parser) bits(s *SignalDef) error {
	start, ok := p.integer(0, MaxPayload*8-1)
	if !ok {
		return p.want("a start bit")
	}
	if !p.take('|') {
		return p.want(`"|"`)
	}
	length, ok := p.integer(0, MaxPayload*8)
	if !ok {
		return p.want("a length in bits")
	}
	if !p.take('@') {
		return p.want(`"@"`)
	}
	switch {
	case p.take('0'):
		s.BigEndian = true
	case p.take('1'):
	default:
		return p.want("byte order 0 or 1")
	}
	switch {
	case p.take('-'):
		s.Signed = true
	case p.take('+'):
	default:
		return p.want("sign + or -")
	}
	s.Start, s.Length = int(start), int(length)
	return nil
}

// scaling reads "(factor,offset) [min|max] "unit"". Only these have defaults: a
// fault in one leaves the signal usable. It reports whether there was none.
func (p *parser) scaling(s *SignalDef) (whole bool) {
	whole = true
	bad := func(what, use string) {
		whole = false
		p.warn.add(s.Line, "SG_ %s: odd %s; %s", clip(s.Name), what, use)
	}
	if f, o, ok := p.pair('(', ",", ')'); ok {
		s.Factor, s.Offset = f, o
	} else {
		bad("factor and offset", "taken as (1,0)")
	}
	if lo, hi, ok := p.pair('[', "|,", ']'); ok {
		s.Min, s.Max = lo, hi
	} else {
		bad("range", "taken as not stated")
	}
	unit, closed, ok := p.quoted()
	if !ok || !closed {
		bad("unit", fmt.Sprintf("taken as %q", clip(unit)))
	}
	s.Unit = unit
	return whole
}

// pair reads two numbers inside brackets. Where it fails it passes what is in
// the brackets if they close on this line.
func (p *parser) pair(open byte, seps string, closing byte) (a, b float64, ok bool) {
	if !p.take(open) {
		return 0, 0, false
	}
	inside := p.pos
	a, okA := p.float()
	sep := strings.IndexByte(seps, p.peek()) >= 0 && p.take(p.peek())
	b, okB := p.float()
	if okA && okB && sep && p.take(closing) {
		return a, b, true
	}
	for i, end := inside, p.lineEnd(inside); i < end; i++ {
		if p.src[i] == closing {
			p.pos = i + 1
			break
		}
	}
	return 0, 0, false
}

// receivers passes the list of nodes after a signal.
func (p *parser) receivers() {
	line, comma := p.line(p.pos), false
	for {
		p.skip()
		if p.pos >= len(p.src) || p.line(p.pos) != line && !comma {
			return
		}
		line = p.line(p.pos)
		if p.take(',') {
			comma = true
			continue
		}
		pos := p.pos
		if w := p.word(); w == "" || isKeyword(w) {
			p.pos = pos
			return
		}
		comma = false
	}
}

// id reads a message id with its flags.
func (p *parser) id() (uint32, bool) {
	v, ok := p.integer(0, math.MaxUint32)
	return uint32(v), ok
}

// integer reads a whole number in [lo, hi], which may be written as "8.0".
func (p *parser) integer(lo, hi int64) (int64, bool) {
	pos := p.pos
	if v, ok := parseInt(p.number()); ok && v >= lo && v <= hi {
		return v, true
	}
	p.pos = pos
	return 0, false
}

func (p *parser) float() (float64, bool) {
	pos := p.pos
	t := p.number()
	v, err := strconv.ParseFloat(t, 64)
	if t == "" || err != nil || math.IsInf(v, 0) || math.IsNaN(v) {
		p.pos = pos
		return 0, false
	}
	return v, true
}

// parseInt reads decimal and 0x numbers, unsigned ones above the int64 range
// reinterpreted, and floats that are whole.
func parseInt(t string) (int64, bool) {
	base, digits := 10, t
	if len(t) > 2 && (t[1]|0x20) == 'x' {
		base, digits = 16, t[2:]
	}
	if v, err := strconv.ParseInt(digits, base, 64); err == nil {
		return v, true
	}
	if v, err := strconv.ParseUint(strings.TrimPrefix(digits, "+"), base, 64); err == nil {
		return int64(v), true
	}
	if f, err := strconv.ParseFloat(t, 64); err == nil && f == math.Trunc(f) && math.Abs(f) < 1<<62 {
		return int64(f), true
	}
	return 0, false
}
