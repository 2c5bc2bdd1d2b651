package gnss

import (
	"bytes"
	"io/fs"
	"path"
	"strconv"
)

// pulseReader reads the kernel's stamps of a second's pulse.
type pulseReader struct {
	root fs.FS
	name string // below /sys/class/pps; empty: none
	next int64  // boot time of the next look
	told bool   // it could not be read
}

// lookEveryNS is how often the kernel is asked: it keeps only the latest edge.
const lookEveryNS = int64(200_000_000)

// read returns the latest edge: its stamp in UTC and its number.
func (p *pulseReader) read() (utcNS int64, seq uint64, err error) {
	b, err := fs.ReadFile(p.root, path.Join("sys/class/pps", p.name, "assert"))
	if err != nil {
		return 0, 0, err
	}
	return parseAssert(b)
}

// parseAssert reads "1234567890.123456789#42".
func parseAssert(b []byte) (utcNS int64, seq uint64, err error) {
	stamp, num, _ := bytes.Cut(bytes.TrimSpace(b), []byte{'#'})
	sec, frac, _ := bytes.Cut(stamp, []byte{'.'})
	s, err := strconv.ParseInt(string(sec), 10, 33)
	if err != nil {
		return 0, 0, err
	}
	n, err := strconv.ParseUint(string(frac), 10, 32)
	if err != nil {
		return 0, 0, err
	}
	for range 9 - len(frac) {
		n *= 10
	}
	seq, err = strconv.ParseUint(string(num), 10, 64)
	return s*secondNS + int64(n), seq, err
}

// lookAtPulse takes a new edge, if there is one.
func (r *run) lookAtPulse(now int64) {
	p := &r.pulse
	if p.name == "" || now < p.next {
		return
	}
	p.next = now + lookEveryNS
	stamp, seq, err := p.read()
	if err != nil {
		if !p.told {
			p.told = true
			r.log.Warn("second pulse cannot be read, the time is as good as the fixes' arrival", "pps", p.name, "error", err)
		}
		return
	}
	p.told = false
	boot, utc := r.cfg.Clock.Pair()
	edge := stamp - (utc - boot)
	if edge > boot || boot-edge > 2*secondNS {
		return // an old one, or UTC was set since
	}
	r.clock.edge(edge, seq)
}
