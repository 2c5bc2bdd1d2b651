package spool

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"telemetry/wire"
)

// oracle is what the watching process knows, off the disk under test.
type oracle struct {
	acked   map[wire.ID]uint32 // checksum of the payload
	settled map[wire.ID]bool   // the cloud has it
	epoch   wire.Epoch         // of the child that spoke last
	report  string             // last J line
	done    bool               // the child came to its end
	faults  []string           // X lines of writers
}

func newOracle() *oracle {
	return &oracle{acked: map[wire.ID]uint32{}, settled: map[wire.ID]bool{}}
}

// seen is what a fresh process read back.
type seen struct {
	have     map[wire.ID]uint32
	controls map[wire.ID]bool
	lost     map[wire.ID]string // named by a loss record, with its reason
	settled  []wire.ID
	twice    []wire.ID
	faults   []string
	report   string
	done     bool
}

func newSeen() *seen {
	return &seen{have: map[wire.ID]uint32{}, controls: map[wire.ID]bool{}, lost: map[wire.ID]string{}}
}

// parseID reads "lane counter nonce seq" and returns the rest.
func parseID(s string) (wire.ID, string, bool) {
	var lane string
	id := wire.ID{Stream: wire.Stream{Car: car}}
	f := strings.SplitN(s, " ", 5)
	if len(f) < 4 {
		return id, "", false
	}
	lane = f[0]
	l, err := wire.ParseLane(lane)
	if err != nil {
		return id, "", false
	}
	id.Stream.Lane = l
	if _, err := fmt.Sscan(f[1]+" "+f[2]+" "+f[3], &id.Stream.Epoch.Counter, &id.Stream.Epoch.Nonce, &id.Seq); err != nil {
		return id, "", false
	}
	rest := ""
	if len(f) == 5 {
		rest = f[4]
	}
	return id, rest, true
}

// hear takes one line of a writer. A line that a kill has cut is no line: the
// caller gives only what ended in a newline.
func (o *oracle) hear(line string) {
	if line == "" {
		return
	}
	kind, rest, _ := strings.Cut(line, " ")
	switch kind {
	case "E":
		_, _ = fmt.Sscan(rest, &o.epoch.Counter, &o.epoch.Nonce) // a whole line of ours
	case "A":
		id, tail, ok := parseID(rest)
		var crc uint32
		if _, err := fmt.Sscan(tail, &crc); !ok || err != nil {
			o.faults = append(o.faults, "unreadable line "+line)
			return
		}
		o.acked[id] = crc
	case "S":
		if id, _, ok := parseID(rest); ok {
			o.settled[id] = true
		}
	case "X":
		o.faults = append(o.faults, rest)
	case "J":
		o.report = rest
	case "D":
		o.done = true
	}
}

// hear takes one line of a reader.
func (s *seen) hear(line string) {
	kind, rest, _ := strings.Cut(line, " ")
	switch kind {
	case "H":
		id, tail, ok := parseID(rest)
		var crc uint32
		if _, err := fmt.Sscan(tail, &crc); !ok || err != nil {
			s.faults = append(s.faults, "unreadable line "+line)
			return
		}
		if _, twice := s.have[id]; twice {
			s.twice = append(s.twice, id)
		}
		s.have[id] = crc
	case "C":
		if id, _, ok := parseID(rest); ok {
			s.controls[id] = true
		}
	case "L":
		id, tail, ok := parseID(rest)
		var last uint64
		var why string
		if n, _ := fmt.Sscan(tail, &last, &why); !ok || n < 2 || last-id.Seq > 1<<20 {
			s.faults = append(s.faults, "unreadable line "+line)
			return
		}
		for ; id.Seq <= last; id.Seq++ {
			s.lost[id] = why
		}
	case "S":
		if id, _, ok := parseID(rest); ok {
			s.settled = append(s.settled, id)
		}
	case "X":
		s.faults = append(s.faults, rest)
	case "J":
		s.report = rest
	case "D":
		s.done = true
	}
}

// verdict compares what was acknowledged with what is there.
type verdict struct {
	acked, lost, reported, wrong, phantom int
	notes                                 []string
}

func (v *verdict) note(format string, a ...any) {
	if len(v.notes) < 20 {
		v.notes = append(v.notes, fmt.Sprintf(format, a...))
	}
}

// judge: each batch that was acknowledged is read back as it was, or the cloud has
// it, or it is lost; a lost one is named by a loss record or not. A batch that is
// there and named as lost is wrong.
func (o *oracle) judge(s *seen) verdict {
	var v verdict
	v.acked = len(o.acked)
	for _, f := range slices.Concat(o.faults, s.faults) {
		if strings.HasPrefix(f, "phantom") {
			v.phantom++
		} else {
			v.wrong++
		}
		v.note("%s", f)
	}
	for _, id := range s.twice {
		v.phantom++
		v.note("twice %s", id)
	}
	for id, crc := range s.have {
		want, ok := o.acked[id]
		if ok && want != crc {
			v.wrong++
			v.note("wrong %s: payload %08x, want %08x", id, crc, want)
		}
		if why, ok := s.lost[id]; ok {
			v.wrong++
			v.note("wrong %s: there, and named as lost (%s)", id, why)
		}
	}
	for id := range o.acked {
		if _, ok := s.have[id]; ok || o.settled[id] {
			continue
		}
		v.lost++
		if why, named := s.lost[id]; named {
			v.reported++
			if why != wire.ReasonCorrupt.String() {
				v.note("lost (%s): %s", why, id)
			}
		} else {
			v.note("lost in silence: %s", id)
		}
	}
	return v
}

// take folds what a reader saw and settled into the oracle for the next life.
func (o *oracle) take(s *seen) {
	for _, id := range s.settled {
		o.settled[id] = true
	}
	for id := range s.lost {
		delete(o.acked, id)
	}
	for id := range o.settled {
		delete(o.acked, id)
	}
}

var _ io.Writer = (*feed)(nil)

// feed cuts a stream into lines; an unfinished last one is dropped.
type feed struct {
	buf  []byte
	line func(string)
}

func (f *feed) Write(p []byte) (int, error) {
	f.buf = append(f.buf, p...)
	for {
		i := slices.Index(f.buf, '\n')
		if i < 0 {
			return len(p), nil
		}
		f.line(string(f.buf[:i]))
		f.buf = f.buf[i+1:]
	}
}
