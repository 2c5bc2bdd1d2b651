package gnss

import (
	"fmt"

	"telemetry/sensors"
	"telemetry/wire"
)

// emit hands one fix on.
func (r *run) emit(f *fix) {
	if r.err != nil {
		return
	}
	if f.utc != 0 && f.utc == r.lastUTC {
		r.count.repeated.Add(1) // sentences that came after a pause
		return
	}
	if f.utc != 0 {
		r.lastUTC = f.utc
	}
	tick := int64(0)
	if r.pacer != nil {
		if tick, r.err = r.pacer(f); r.err != nil {
			return
		}
	} else {
		tick = r.clock.at(f)
		if f.utcOK {
			f.set(colDelay, f.arrival-tick)
		}
	}
	if f.located {
		r.count.fixes.Add(1)
	} else {
		r.count.lost.Add(1)
	}
	r.tellFix(f, tick)
	copy(r.values, f.values[:])
	r.present[0] = f.present
	if r.err == nil {
		r.err = r.out.Append(sensors.Rows{Ticks: []int64{tick}, Values: r.values, Present: r.present[:]})
	}
	if r.pacer == nil && f.utcOK && f.located {
		r.giveAnchor(f.arrival)
	}
}

// tellFix makes an event of a fix that is found or lost.
func (r *run) tellFix(f *fix, tick int64) {
	if f.located == r.located && r.begun {
		return
	}
	r.located, r.begun = f.located, true
	detail := "lost"
	if f.located {
		detail = fmt.Sprintf("found, %d satellites", f.values[colSatellites])
	}
	r.event(tick, "gnss_fix", detail)
}

func (r *run) event(tick int64, name, detail string) {
	if r.err == nil {
		r.err = r.out.Event(wire.Event{BootNS: tick, Name: name, Detail: detail})
	}
}

// giveAnchor gives a time anchor when one is due and the sink takes them.
func (r *run) giveAnchor(now int64) {
	to, ok := r.out.(sensors.AnchorSink)
	if !ok || r.err != nil {
		return
	}
	if a, due := r.clock.due(now); due {
		r.count.anchors.Add(1)
		r.err = to.Anchor(a)
	}
}
