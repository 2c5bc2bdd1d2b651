package gnss

import (
	"telemetry/sensors/nmea"
	"telemetry/sensors/ubx"
)

// held is a binary solution that waits for its position of high precision, which
// the receiver sends some messages later.
type held struct {
	fix    fix
	full   bool
	tow    uint32 // of the latest solution
	wanted bool   // the receiver gives it, or may
}

// frame takes one binary frame.
func (r *run) frame(id ubx.ID, payload []byte, arrival int64) {
	r.good++
	r.goodAt = arrival
	r.count.frames.Add(1)
	switch id {
	case ubx.AckAck, ubx.AckNak:
		if cmd, ok := ubx.ParseAck(payload); ok {
			r.setup.answered(cmd, id == ubx.AckAck)
		}
	case ubx.NavPVT:
		if r.cfg.Protocol != NMEA {
			r.solution(payload, arrival)
		}
	case ubx.NavHP:
		if r.cfg.Protocol != NMEA {
			r.refine(payload)
		}
	case ubx.NavEOE:
		r.release()
	}
}

// solution takes a NAV-PVT.
func (r *run) solution(payload []byte, arrival int64) {
	r.release()
	p, err := ubx.ParsePVT(payload)
	if err != nil {
		r.count.malformed.Add(1)
		return
	}
	r.pvtAt = arrival
	r.clock.latency, r.clock.errNS = r.cfg.latency(true)
	var utc int64
	if !p.Time.IsZero() {
		t, n := nmea.Resolve(p.Time, r.cfg.NotBefore)
		utc = t.UnixNano()
		if n > 0 {
			r.count.rollovers.Add(1)
		}
	}
	f := fromPVT(&p, utc, arrival)
	r.held.tow = p.TowMS
	if r.held.wanted {
		r.held.fix, r.held.full = f, true
		return
	}
	r.emit(&f)
}

// refine takes a NAV-HPPOSLLH.
func (r *run) refine(payload []byte) {
	p, err := ubx.ParseHP(payload)
	if err != nil {
		r.count.malformed.Add(1)
		return
	}
	h := &r.held
	if p.TowMS != h.tow {
		return
	}
	if h.full {
		if p.Valid && h.fix.located {
			h.fix.set(colLat, p.Lat)
			h.fix.set(colLon, p.Lon)
			h.fix.set(colAlt, roundTo(p.MSL, 10))
			h.fix.set(colHAcc, roundTo(int64(p.HAcc), 10))
			h.fix.set(colVAcc, roundTo(int64(p.VAcc), 10))
		}
		r.release()
	}
	h.wanted = true
}

// release hands on the solution that waits. If its high precision has not come, the
// next one does not wait.
func (r *run) release() {
	if r.held.full {
		r.held.full, r.held.wanted = false, false
		r.emit(&r.held.fix)
	}
}

// roundTo returns v in units of n, rounded half up.
func roundTo(v, n int64) int64 {
	v += n / 2
	q := v / n
	if v%n < 0 {
		q--
	}
	return q
}
