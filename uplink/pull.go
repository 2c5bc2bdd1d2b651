package uplink

import (
	"errors"
	"fmt"

	"telemetry/wire"
)

const (
	maxPulls     = 64            // ranges pulled forward at once
	pullLingerNS = 60_000 * ms   // a range is kept so long after its end: batches are sealed late
	maxPullNS    = 3600_000 * ms // one range is at most an hour
)

// pull is a range of event time of the full lane that overtakes the rest.
type pull struct {
	fromNS, toNS int64
	cursor       wire.ID
	rescanNS     int64
}

// ErrBadRange says that a range of event time is empty, negative or too long.
var ErrBadRange = errors.New("uplink: bad time range")

// ErrBusy says that a limit was reached; later there may be room.
var ErrBusy = errors.New("uplink: too much under way already")

// Pull marks the event times fromNS..toNS (ns since boot, both included; may lie
// ahead) of the full lane: batches of this epoch that are not sent yet go before
// the rest, with Pulled set. A range is at most an hour, and 64 are kept at once.
func (e *Engine) Pull(now, fromNS, toNS int64) error {
	e.now = max(e.now, now)
	if fromNS < 0 || toNS < fromNS || toNS-fromNS > maxPullNS {
		return fmt.Errorf("%w: %d to %d ns (want 0 <= from <= to, at most an hour)", ErrBadRange, fromNS, toNS)
	}
	for i := range e.pulls {
		p := &e.pulls[i]
		if fromNS <= p.toNS && p.fromNS <= toNS && max(toNS, p.toNS)-min(fromNS, p.fromNS) <= maxPullNS {
			p.fromNS, p.toNS = min(fromNS, p.fromNS), max(toNS, p.toNS)
			p.cursor = wire.ID{}
			return nil
		}
	}
	if len(e.pulls) >= maxPulls {
		return fmt.Errorf("%w: %d time ranges are pulled forward", ErrBusy, len(e.pulls))
	}
	e.pulls = append(e.pulls, pull{fromNS: fromNS, toNS: toNS})
	return nil
}

// pulled reports whether it is sent with Pulled set.
func (e *Engine) pulled(it wire.Item) bool {
	if it.ID.Stream.Lane != wire.LaneFull || it.ID.Stream.Epoch != e.cfg.Epoch {
		return false
	}
	for i := range e.pulls {
		if it.FirstNS <= e.pulls[i].toNS && e.pulls[i].fromNS <= it.LastNS {
			return true
		}
	}
	return false
}

// nextPulled returns the oldest pulled item that isn't in flight.
func (e *Engine) nextPulled() (candidate, bool) {
	for i := range e.pulls {
		p := &e.pulls[i]
		if e.now-p.rescanNS >= rescanNS {
			p.cursor, p.rescanNS = wire.ID{}, e.now
		}
		for range maxLookahead {
			it, ok := e.store.NextIn(wire.LaneFull, p.cursor, p.fromNS, p.toNS)
			if !ok {
				break
			}
			if e.flight[it.ID] == nil {
				return candidate{item: it, pull: p}, true
			}
			p.cursor = it.ID
		}
	}
	return candidate{}, false
}

// expirePulls drops ranges that have been over for long and have nothing left.
func (e *Engine) expirePulls() {
	keep := e.pulls[:0]
	for _, p := range e.pulls {
		if e.now <= p.toNS+pullLingerNS {
			keep = append(keep, p)
			continue
		}
		if _, left := e.store.NextIn(wire.LaneFull, wire.ID{}, p.fromNS, p.toNS); left {
			keep = append(keep, p)
		}
	}
	e.pulls = keep
}
