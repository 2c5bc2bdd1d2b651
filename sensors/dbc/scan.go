package dbc

import (
	"bytes"
	"sort"
	"strings"
)

// scanner walks the text under the direction of the parser, which knows what
// may come next. Positions are byte offsets.
type scanner struct {
	src   []byte
	pos   int
	lines []int // offset of each line's first byte
}

func newScanner(src []byte) *scanner {
	s := &scanner{src: src, lines: []int{0}}
	for i, c := range src {
		if c == '\n' {
			s.lines = append(s.lines, i+1)
		}
	}
	return s
}

// line returns the number of the line, from 1, that holds offset pos.
func (s *scanner) line(pos int) int {
	return sort.SearchInts(s.lines, pos+1)
}

// lineEnd returns the offset of the newline that ends pos's line, or the end.
func (s *scanner) lineEnd(pos int) int {
	if l := s.line(pos); l < len(s.lines) {
		return s.lines[l] - 1
	}
	return len(s.src)
}

// skip passes white space and // comments.
func (s *scanner) skip() {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; {
		case c <= ' ':
			s.pos++
		case c == '/' && s.pos+1 < len(s.src) && s.src[s.pos+1] == '/':
			s.pos = s.lineEnd(s.pos)
		default:
			return
		}
	}
}

// eof reports whether nothing but white space is left.
func (s *scanner) eof() bool {
	s.skip()
	return s.pos >= len(s.src)
}

// peek returns the next byte after white space, or 0 at the end.
func (s *scanner) peek() byte {
	if s.eof() {
		return 0
	}
	return s.src[s.pos]
}

// take passes c if it is next.
func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.pos >= len(s.src) {
		return false
	}
	s.pos++
	return true
}

func isNameByte(c byte) bool {
	switch c {
	case ':', ';', ',', '|', '@', '(', ')', '[', ']', '"', 0x7f:
		return false
	}
	return c > ' '
}

// word returns the next run of name bytes, which is empty when a delimiter or
// the end is next.
func (s *scanner) word() string {
	s.skip()
	start := s.pos
	for s.pos < len(s.src) && isNameByte(s.src[s.pos]) {
		s.pos++
	}
	return string(s.src[start:s.pos])
}

// peekWord returns what word would.
func (s *scanner) peekWord() string {
	pos := s.pos
	w := s.word()
	s.pos = pos
	return w
}

// number returns the text of the next number, which is empty when there is none.
func (s *scanner) number() string {
	s.skip()
	i := s.pos
	if i < len(s.src) && (s.src[i] == '+' || s.src[i] == '-') {
		i++
	}
	if i+2 < len(s.src) && s.src[i] == '0' && (s.src[i+1]|0x20) == 'x' && isHex(s.src[i+2]) {
		for i += 2; i < len(s.src) && isHex(s.src[i]); i++ {
		}
		return s.cut(i)
	}
	digits := 0
	for ; i < len(s.src) && (isDigit(s.src[i]) || s.src[i] == '.'); i++ {
		if s.src[i] != '.' {
			digits++
		}
	}
	if digits == 0 {
		return ""
	}
	if i < len(s.src) && (s.src[i]|0x20) == 'e' {
		j := i + 1
		if j < len(s.src) && (s.src[j] == '+' || s.src[j] == '-') {
			j++
		}
		if j < len(s.src) && isDigit(s.src[j]) {
			for i = j; i < len(s.src) && isDigit(s.src[i]); i++ {
			}
		}
	}
	return s.cut(i)
}

func (s *scanner) cut(end int) string {
	t := string(s.src[s.pos:end])
	s.pos = end
	return t
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isHex(c byte) bool { return isDigit(c) || (c|0x20) >= 'a' && (c|0x20) <= 'f' }

// quoted returns the next quoted string. A string may span lines, but not a
// line that begins with a keyword: then a quote is missing, and the string ends
// with its first line.
func (s *scanner) quoted() (text string, closed, ok bool) {
	if s.peek() != '"' {
		return "", false, false
	}
	start := s.pos + 1
	limit := min(len(s.src), start+MaxStringBytes)
	for i := start; i < limit; i++ {
		switch s.src[i] {
		case '\\':
			if i+1 < limit && s.src[i+1] == '"' && !s.endsStatement(i+2) {
				i++
			}
		case '"':
			s.pos = i + 1
			return unescape(s.src[start:i]), true, true
		case '\n':
			if s.keywordAt(i + 1) {
				limit = i
			}
		}
	}
	s.pos = min(s.lineEnd(start), limit)
	return strings.TrimRight(unescape(s.src[start:s.pos]), "\r ;"), false, true
}

// comment returns the quoted string of a CM_ statement. It ends at a quote that
// is followed by a semicolon, so that it may hold bare quotes and lines that
// look like statements. bare reports that it held bare quotes.
func (s *scanner) comment() (text string, bare, closed, ok bool) {
	if s.peek() != '"' {
		return "", false, false, false
	}
	start, first, crossed := s.pos+1, -1, false
	limit := min(len(s.src), start+MaxStringBytes)
	for i := start; i < limit; i++ {
		switch {
		case s.src[i] == '"' && s.endsStatement(i+1):
			s.pos = i + 1
			return unescape(s.src[start:i]), first >= 0, true, true
		case s.src[i] == '\\' && i+1 < limit && s.src[i+1] == '"' && !s.endsStatement(i+2):
			i++
		case s.src[i] == '"' && crossed: // it opens a string of a later statement
			limit = i
		case s.src[i] == '"' && first < 0:
			first = i
		case s.src[i] == '\n' && s.keywordAt(i+1):
			if first >= 0 {
				limit = i
			}
			crossed = true
		}
	}
	if first >= 0 {
		s.pos = first + 1
		return unescape(s.src[start:first]), false, true, true
	}
	s.pos = min(s.lineEnd(start), limit)
	return strings.TrimRight(unescape(s.src[start:s.pos]), "\r ;"), false, false, true
}

// endsStatement reports whether a semicolon comes next after pos.
func (s *scanner) endsStatement(pos int) bool {
	for ; pos < len(s.src) && s.src[pos] <= ' '; pos++ {
	}
	return pos < len(s.src) && s.src[pos] == ';'
}

func unescape(b []byte) string {
	return string(bytes.ReplaceAll(b, []byte(`\"`), []byte(`"`)))
}

// keywordAt reports whether the line that begins at pos begins with a keyword.
func (s *scanner) keywordAt(pos int) bool {
	for pos < len(s.src) && (s.src[pos] == ' ' || s.src[pos] == '\t') {
		pos++
	}
	end := pos
	for end < len(s.src) && end-pos <= maxKeywordLen && (isDigit(s.src[end]) || s.src[end] == '_' || s.src[end] >= 'A' && s.src[end] <= 'Z') {
		end++
	}
	return isKeyword(string(s.src[pos:end]))
}

// resync moves to the next line that begins with a keyword: the next statement
// that can be read. It moves back over white space only.
func (s *scanner) resync() {
	l := s.line(s.pos)
	if len(bytes.TrimSpace(s.src[s.lines[l-1]:s.pos])) != 0 {
		l++
	}
	for ; l <= len(s.lines); l++ {
		if s.keywordAt(s.lines[l-1]) {
			s.pos = s.lines[l-1]
			return
		}
	}
	s.pos = len(s.src)
}

const maxKeywordLen = len("BA_DEF_DEF_REL_") + 1

// isKeyword reports whether w begins a statement.
func isKeyword(w string) bool {
	switch w {
	case "VERSION", "NS_", "BS_", "BU_", "BO_", "SG_", "EV_", "CM_", "BA_", "VAL_", "FILTER",
		"VAL_TABLE_", "BO_TX_BU_", "ENVVAR_DATA_", "EV_DATA_", "SGTYPE_", "SGTYPE_VAL_", "SIGTYPE_VALTYPE_",
		"SIG_GROUP_", "SIG_VALTYPE_", "SIG_TYPE_REF_", "SG_MUL_VAL_", "NS_DESC_", "CAT_", "CAT_DEF_",
		"BA_DEF_", "BA_DEF_DEF_", "BA_DEF_REL_", "BA_DEF_DEF_REL_", "BA_REL_", "BA_SGTYPE_", "BA_DEF_SGTYPE_",
		"BU_SG_REL_", "BU_BO_REL_", "BU_EV_REL_":
		return true
	}
	return false
}
