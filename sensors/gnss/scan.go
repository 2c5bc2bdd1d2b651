package gnss

import (
	"telemetry/sensors/nmea"
	"telemetry/sensors/ubx"
)

// maxPending bounds what a scanner keeps: the longest frame twice.
const maxPending = 2 * (ubx.MaxPayload + 16)

// scanner cuts a stream of bytes into sentences and frames, which may follow each
// other in any order, with anything in between. What looked like the begin of one
// and was not is looked at again from its second byte on: no good one is lost.
type scanner struct {
	buf  []byte
	fed  int64 // arrival of the latest bytes
	from int64 // arrival of the oldest byte in buf, not later than it came
	line func(body []byte, arrivalNS int64)
	ubx  func(id ubx.ID, payload []byte, arrivalNS int64)

	bad, badUBX, foreign uint64 // damaged sentences, damaged frames, bytes that are neither
}

// feed takes bytes that came at a boot time and hands on what they complete.
func (s *scanner) feed(b []byte, arrivalNS int64) {
	for len(b) > 0 {
		n := min(len(b), maxPending-len(s.buf))
		if len(s.buf) == 0 {
			s.from = arrivalNS
		}
		s.buf = append(s.buf, b[:n]...)
		b = b[n:]
		s.fed = arrivalNS
		s.scan(false)
	}
}

// idle ends what has begun: no bytes have come for a while, so none of it will be
// completed.
func (s *scanner) idle() {
	if len(s.buf) > 0 {
		s.scan(true)
	}
}

func (s *scanner) scan(end bool) {
	at := 0
	took := func(n int) {
		at += n
		s.from = s.fed // what follows came with the latest bytes or later
	}
	for at < len(s.buf) {
		rest := s.buf[at:]
		switch rest[0] {
		case '$', '!':
			tok, body, n := nmea.Next(rest)
			switch {
			case tok == nmea.Good:
				s.line(body, s.from)
				took(n)
			case tok == nmea.Bad:
				s.bad++
				took(n)
			case end:
				s.bad++
				took(len(rest))
			default:
				s.keep(at)
				return
			}
		case ubx.Sync1:
			tok, id, payload, n := ubx.Next(rest)
			switch {
			case tok == ubx.Good:
				s.ubx(id, payload, s.from)
				took(n)
			case tok == ubx.Bad || end:
				if len(rest) > 1 && rest[1] == ubx.Sync2 {
					s.badUBX++
				}
				s.foreign++
				at++
			default:
				s.keep(at)
				return
			}
		default:
			if rest[0] != '\r' && rest[0] != '\n' {
				s.foreign++
			}
			took(1)
		}
	}
	s.keep(at)
}

// keep forgets the bytes before at.
func (s *scanner) keep(at int) { s.buf = s.buf[:copy(s.buf, s.buf[at:])] }
