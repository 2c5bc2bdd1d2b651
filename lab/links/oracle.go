package links

import (
	"time"

	"telemetry/lab/link"
	"telemetry/wire"
)

// The oracle is what nobody can beat: one queue with strict priority of the
// lanes, from which every link takes at each of its sending chances, knowing
// beforehand which links work. It is pure simulation over the links' own model.

// waiting is one message in the oracle's queue.
type waiting struct {
	lane  wire.Lane
	dueNS int64 // when it was made
	left  int   // bytes that have not left yet
	atNS  int64 // when the last of its bytes arrived
}

// chance is one packet that a link may send.
type chance struct {
	atNS, delayNS int64
}

// chances lists a link's sending chances between two times, which count from the
// link's begin; those during its troubles are left out.
func chances(s link.Spec, index int, plan []event, from, to int64) []chance {
	d := link.NewDirection(link.Spec{BitRate: s.BitRate, Trace: s.Trace, TraceFrom: s.TraceFrom, Queue: 256 * link.SlotBytes}, 0)
	silent := func(ns int64) bool {
		for i, e := range plan {
			if e.link != index || e.back || e.readdress {
				continue
			}
			begin := int64(lead) + int64(e.at)
			if ns >= begin && ns < begin+int64(plan[i+1].at-e.at) {
				return true
			}
		}
		return false
	}
	var out []chance
	full := func(now int64) { // keeps a packet waiting at all times
		for d.Fits(now, link.SlotBytes) {
			d.Offer(now, link.Packet{Data: packet[:]})
		}
	}
	full(0)
	for {
		at, ok := d.Leave()
		if !ok || at >= to {
			return out
		}
		for _, _, ok := d.Pop(at); ok; _, _, ok = d.Pop(at) {
			if at >= from && !silent(at) {
				out = append(out, chance{at, int64(s.Delay)})
			}
		}
		full(at)
	}
}

var packet [link.SlotBytes]byte // never written

// oracle simulates one offset.
func (r *run) oracle(offset float64) (Result, error) {
	specs, err := r.specs(offset)
	if err != nil {
		return Result{}, err
	}
	end := int64(lead) + int64(r.Seconds)*int64(time.Second)
	l := load{StartNS: int64(lead), EndNS: end, FullBitS: r.fullBitS(specs)}
	events := plan(r.Case, len(specs), r.Seconds)
	t := &trial{which: r.Case, seconds: r.Seconds, offset: offset, load: l}
	var lists [][]chance
	var capacity float64
	for i, s := range specs {
		lists = append(lists, chances(s, i, events, l.StartNS, end+int64(time.Minute)))
		for _, c := range lists[i] {
			if t.counts(c.atNS) {
				capacity += link.SlotBytes * appShare
			}
		}
	}
	if len(events) > 0 {
		t.done = []happened{{}}
	}
	o := &oracleQueue{load: l}
	o.make()
	o.drain(lists)
	var app float64
	var crit, before, live []float64
	for _, w := range o.sent {
		if t.counts(w.atNS) {
			app += float64(w.size())
		}
		late := float64(w.atNS-w.dueNS) / 1e6
		switch {
		case !t.counts(w.dueNS):
		case w.lane == wire.LaneCritical && t.calm(w.dueNS):
			before = append(before, late)
		case w.lane == wire.LaneCritical:
			crit = append(crit, late)
		case w.lane == wire.LaneLive:
			live = append(live, late)
		}
	}
	res := t.result(subjectOracle)
	if capacity > 0 {
		res.GoodputRatio = round(app / capacity)
	}
	res.CriticalP99, res.LiveP99 = quantile(crit, 0.99), quantile(live, 0.99)
	res.OracleLive = res.LiveP99
	if b := quantile(before, 0.99); b != nil && res.CriticalP99 != nil {
		res.CriticalRise = round(*res.CriticalP99 - *b)
	}
	return res, nil
}

func (w *waiting) size() int { return laneBytes[w.lane] }

// laneBytes is the size of a message of a lane.
var laneBytes = [...]int{wire.LaneCritical: criticalBytes, wire.LaneLive: liveBytes, wire.LaneFull: fullBytes}

// oracleQueue is the shared queue.
type oracleQueue struct {
	load  load
	queue [wire.LaneFull + 1][]*waiting // by lane, oldest first
	sent  []*waiting
}

// make fills the queue with the whole load; saturation makes its messages when
// they are wanted.
func (o *oracleQueue) make() {
	add := func(l wire.Lane, from, every int64) {
		for at := from; at < o.load.EndNS; at += every {
			o.queue[l] = append(o.queue[l], &waiting{lane: l, dueNS: at, left: laneBytes[l]})
		}
	}
	add(wire.LaneCritical, o.load.StartNS, int64(criticalEvery))
	add(wire.LaneLive, o.load.StartNS+int64(liveEvery)/2, int64(liveEvery))
	if every := o.load.fullEvery(); every > 0 {
		add(wire.LaneFull, o.load.StartNS, int64(every))
	}
}

// next returns the message that a chance at a time should carry.
func (o *oracleQueue) next(at int64) *waiting {
	for _, l := range wire.Lanes {
		q := o.queue[l]
		if len(q) > 0 && q[0].dueNS <= at {
			return q[0]
		}
	}
	if o.load.fullEvery() == 0 && at < o.load.EndNS {
		w := &waiting{lane: wire.LaneFull, dueNS: at, left: fullBytes}
		o.queue[wire.LaneFull] = append(o.queue[wire.LaneFull], w)
		return w
	}
	return nil
}

// drain uses the chances of all links in the order of time.
func (o *oracleQueue) drain(lists [][]chance) {
	for {
		first := -1
		for i, l := range lists {
			if len(l) > 0 && (first < 0 || l[0].atNS < lists[first][0].atNS) {
				first = i
			}
		}
		if first < 0 {
			return
		}
		c := lists[first][0]
		lists[first] = lists[first][1:]
		for room := int(link.SlotBytes * appShare); room > 0; {
			w := o.next(c.atNS)
			if w == nil {
				break
			}
			n := min(room, w.left)
			room -= n
			w.left -= n
			w.atNS = max(w.atNS, c.atNS+c.delayNS)
			if w.left == 0 {
				o.queue[w.lane] = o.queue[w.lane][1:]
				o.sent = append(o.sent, w)
			}
		}
	}
}
