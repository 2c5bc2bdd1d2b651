package slcan

// token is what a splitter found.
type token uint8

const (
	tokenNone token = iota // no end yet: more bytes are needed
	tokenLine              // a line, maybe empty, that CR or LF ended
	tokenBell              // BEL: a refused command; the bytes before it are its line
	tokenLong              // the end of a line that was too long; its bytes are gone
)

// Bytes with a meaning.
const (
	charBell = 7
	charLF   = '\n'
	charCR   = '\r'
)

// splitter cuts the bytes of an adapter into lines. CR, LF and CR LF end a line.
// The zero value is ready.
type splitter struct {
	part    [MaxLineBytes]byte // the beginning of a line whose end has not come
	n       int
	long    bool // the line is too long and is being passed over
	afterCR bool // the byte before was a CR: an LF belongs to it
}

// next looks for the end of a line in p. It returns the line, which is valid
// until the next call, and how many bytes of p it used. tokenNone means all.
func (s *splitter) next(p []byte) (tok token, line []byte, used int) {
	start := 0
	if s.afterCR && len(p) > 0 {
		s.afterCR = false
		if p[0] == charLF {
			start = 1
		}
	}
	for i := start; i < len(p); i++ {
		c := p[i]
		if c != charCR && c != charLF && c != charBell {
			continue
		}
		s.afterCR = c == charCR
		line, ok := s.join(p[start:i])
		s.n, s.long = 0, false
		switch {
		case !ok:
			return tokenLong, nil, i + 1
		case c == charBell:
			return tokenBell, line, i + 1
		}
		return tokenLine, line, i + 1
	}
	s.keep(p[start:])
	return tokenNone, nil, len(p)
}

// join returns the whole line that ends with b.
func (s *splitter) join(b []byte) ([]byte, bool) {
	if s.long || s.n+len(b) > MaxLineBytes {
		return nil, false
	}
	if s.n == 0 {
		return b, true
	}
	return s.part[:s.n+copy(s.part[s.n:], b)], true
}

func (s *splitter) keep(b []byte) {
	if s.long || s.n+len(b) > MaxLineBytes {
		s.n, s.long = 0, true
		return
	}
	s.n += copy(s.part[s.n:], b)
}

// open reports whether a line has begun that has no end.
func (s *splitter) open() bool { return s.n > 0 || s.long }
