package slcan

import (
	"fmt"
	"strings"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// Bits of an adapter's status, which reading clears.
const (
	flagRXFull   = 1 << 0
	flagWarning  = 1 << 2
	flagOverrun  = 1 << 3
	flagPassive  = 1 << 5
	flagBusError = 1 << 7
)

// Limits of the status polls.
const (
	silentPolls  = 5                              // polls that were sent without any byte since: the adapter hangs
	refusedPolls = 3                              // refusals in a row: it has no status
	eventEveryNS = int64(10 * time.Second)        // between two events
	eventName    = "can_adapter_status"           //
	minSilenceNS = int64(1500 * time.Millisecond) // however often it is polled
)

// status follows an adapter's flags.
type status struct {
	polled    int64 // boot time of the latest poll
	heard     int64 // boot time of the latest byte
	asked     int   // polls since the latest answer
	refusals  int   // in a row
	off       bool  // it has no status
	answered  bool  // it has
	flags     byte  // of the latest answer
	announced int64 // boot time of the latest event; 0: none
}

func (s *status) refused() {
	if s.asked == 0 {
		return
	}
	s.asked = 0
	if s.refusals++; s.refusals >= refusedPolls {
		s.off = true
	}
}

// watch polls the status when it is time and notices an adapter that hangs.
func (r *run) watch(now int64) error {
	s := &r.status
	every := int64(r.cfg.StatusEvery)
	if every < 0 || !r.traits.answers || s.off || now-s.polled < every {
		return r.refuse
	}
	silence := now - s.heard
	if s.answered && s.asked >= silentPolls && silence > max(minSilenceNS, every*(silentPolls-1)) {
		return fmt.Errorf("slcan: adapter at %s has been silent for %d ms and answers nothing: replug it if this goes on", r.port.Path(), silence/1e6)
	}
	s.polled = now
	s.asked++
	r.count.polls.Add(1)
	if err := r.send("F"); err != nil {
		return err
	}
	return r.refuse
}

// report takes a line that is no frame and reports whether it is one that
// adapters send.
func (r *run) report(line []byte, now int64) bool {
	switch {
	case len(line) == 3 && line[0] == 'F':
		v, ok := parseHex(line[1:])
		if ok {
			r.flags(byte(v), now)
		}
		return ok
	case line[0] == 'V', line[0] == 'N':
		return len(line) <= 32
	case line[0] == 'z', line[0] == 'Z':
		return len(line) == 1 // a late answer to a frame that another program sent
	}
	return false
}

// flags counts an adapter's status and tells of what is new in it.
func (r *run) flags(v byte, now int64) {
	s := &r.status
	s.asked, s.refusals, s.answered = 0, 0, true
	c := &r.count
	if v&(flagRXFull|flagOverrun) != 0 {
		c.overflows.Add(1)
	}
	if v&flagWarning != 0 {
		c.warnings.Add(1)
	}
	if v&flagPassive != 0 {
		c.passive.Add(1)
	}
	if v&flagBusError != 0 {
		c.busErrors.Add(1)
	}
	fresh := v &^ s.flags
	s.flags = v
	if fresh == 0 || s.announced != 0 && now-s.announced < eventEveryNS {
		return
	}
	s.announced = now
	r.refuse = r.out.Event(wire.Event{BootNS: now, Name: eventName, Detail: r.cfg.Interface + ": " + describe(v)})
}

// describe names the bits of a status.
func describe(v byte) string {
	names := [8]string{"receive buffer full", "send buffer full", "error warning", "frames lost", "bit 4", "error passive", "arbitration lost", "bus error"}
	var set []string
	for i, n := range names {
		if v>>i&1 != 0 {
			set = append(set, n)
		}
	}
	return strings.Join(set, ", ")
}

// Counters returns what was counted over all runs.
func (s *Source) Counters() []sensors.Counter {
	c := &s.count
	return append(s.dec.Counters(),
		sensors.Counter{Name: "bytes", Help: "bytes read from the port", Value: c.bytes.Load()},
		sensors.Counter{Name: "lines", Help: "lines read since the channel was opened", Value: c.lines.Load()},
		sensors.Counter{Name: "lines_bad", Help: "lines that are no frame and no answer", Value: c.bad.Load()},
		sensors.Counter{Name: "lines_long", Help: "bad lines that were longer than any frame", Value: c.long.Load()},
		sensors.Counter{Name: "lines_cut", Help: "lines without an end when the port was closed or gone", Value: c.partial.Load()},
		sensors.Counter{Name: "lines_stale", Help: "lines from before the adapter was set up", Value: c.stale.Load()},
		sensors.Counter{Name: "lines_other", Help: "answers and reports", Value: c.other.Load()},
		sensors.Counter{Name: "lines_bell", Help: "refused commands", Value: c.bells.Load()},
		sensors.Counter{Name: "frames_read", Help: "frames read from lines", Value: c.frames.Load()},
		sensors.Counter{Name: "frames_fd", Help: "CAN FD frames among them", Value: c.fd.Load()},
		sensors.Counter{Name: "frames_salvaged", Help: "frames found in bad lines", Value: c.salvaged.Load()},
		sensors.Counter{Name: "stamps_host", Help: "frames stamped by their arrival", Value: c.hostStamps.Load()},
		sensors.Counter{Name: "stamps_strange", Help: "stamps that made no sense and were not used", Value: c.strange.Load()},
		sensors.Counter{Name: "stamp_restarts", Help: "times that the adapter's clock began anew", Value: c.restarts.Load()},
		sensors.Counter{Name: "stamp_steps", Help: "times that the adapter's clock was set by a lasting delay", Value: c.steps.Load()},
		sensors.Counter{Name: "port_opens", Help: "times that the port was opened", Value: c.opens.Load()},
		sensors.Counter{Name: "status_polls", Help: "looks at the adapter's status", Value: c.polls.Load()},
		sensors.Counter{Name: "status_overflow", Help: "looks that found the adapter's buffer full or frames lost", Value: c.overflows.Load()},
		sensors.Counter{Name: "status_warning", Help: "looks that found the bus at error warning", Value: c.warnings.Load()},
		sensors.Counter{Name: "status_passive", Help: "looks that found the adapter error passive", Value: c.passive.Load()},
		sensors.Counter{Name: "status_bus_error", Help: "looks that found errors on the bus", Value: c.busErrors.Load()})
}
