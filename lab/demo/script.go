package demo

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"telemetry/lab/link"
)

// Incident is something that happens to one link. Times count from the first
// sample's way out.
type Incident struct {
	Link     int
	From, To time.Duration
	State    link.State
	Told     bool // it is said on the screen; a short stall is not
}

// Script is what happens in a run: pure, decided by the seed.
type Script []Incident

// Lengths of what happens.
const (
	cycle      = 30 * time.Second // the script begins anew after so long
	maxSilence = 8 * time.Second
	maxOutage  = 6 * time.Second
	maxStall   = 700 * time.Millisecond
	minStall   = 150 * time.Millisecond
)

// WriteScript lays out a run over so many links. In every cycle one link falls
// silent and comes back, another is cut and comes back, and each stalls now and
// then. A run shorter than a cycle is one short cycle.
func WriteScript(run time.Duration, links int, seed uint64) Script {
	rnd := rand.New(rand.NewPCG(seed, 1))
	var s Script
	for k := range int((run + cycle - 1) / cycle) {
		from := time.Duration(k) * cycle
		length := min(cycle, run-from)
		if k > 0 && length < cycle/2 {
			break // the rest of the run is quiet
		}
		silent := (int(seed%uint64(links)) + 1 + k) % links
		at := from + length/3
		s = append(s, Incident{silent, at, at + min(length/5, maxSilence), link.Silent, true})
		at = from + length*2/3
		s = append(s, Incident{(silent + 1) % links, at, at + min(length/6, maxOutage), link.Down, true})
		for l := range links {
			for range 2 {
				at := from + time.Duration(rnd.Int64N(int64(length)))
				d := minStall + time.Duration(rnd.Int64N(int64(maxStall-minStall)))
				s = append(s, Incident{l, at, min(at+d, from+length), link.Silent, false})
			}
		}
	}
	slices.SortStableFunc(s, func(a, b Incident) int { return cmp.Compare(a.From, b.From) })
	return s
}

// StateAt returns what a link does at a time: an outage hides a silence.
func (s Script) StateAt(l int, at time.Duration) link.State {
	st := link.Up
	for _, i := range s {
		if i.Link == l && i.From <= at && at < i.To {
			st = max(st, i.State)
		}
	}
	return st
}

// Now returns the incident that is told at a time, or nil.
func (s Script) Now(at time.Duration) *Incident {
	for i := range s {
		if s[i].Told && s[i].From <= at && at < s[i].To {
			return &s[i]
		}
	}
	return nil
}

// Next returns the first change after a time, or 0 when there is none.
func (s Script) Next(at time.Duration) time.Duration {
	var next time.Duration
	for _, i := range s {
		for _, t := range []time.Duration{i.From, i.To} {
			if t > at && (next == 0 || t < next) {
				next = t
			}
		}
	}
	return next
}

// Begun says what an incident does to a link of that name.
func (i *Incident) Begun(name string) string {
	d := (i.To - i.From).Seconds()
	if i.State == link.Down {
		return fmt.Sprintf("%s is cut for %.1f s: its connection is reset and no new one comes up", name, d)
	}
	return fmt.Sprintf("%s falls silent for %.1f s: its connection stays open, no byte moves", name, d)
}

// Lasts says what it is doing at a time.
func (i *Incident) Lasts(name string, at time.Duration) string {
	left := (i.To - at).Seconds()
	if i.State == link.Down {
		return fmt.Sprintf("%s is CUT OFF for %.1f s more: no connection comes up", name, left)
	}
	return fmt.Sprintf("%s is SILENT for %.1f s more: connected, but no byte moves", name, left)
}

// Ended says that it is over.
func (i *Incident) Ended(name string) string {
	if i.State == link.Down {
		return name + " can be reached again"
	}
	return name + " moves again"
}
