package uplink

// The choice of a path is pure: states of paths in, an index out. Nothing here
// remembers anything.

// In-flight targets: how much standing queue beyond the least RTT a lane may
// make on a link. Live may go a little further than full, so that a link full of
// backlog still takes a preview.
const (
	fullTargetNS    = 60 * ms // of a path whose state is presumed between two proofs
	watchedTargetNS = 40 * ms // of one that is watched
	liveTargetNS    = 100 * ms
	minCapBytes     = 18 << 10 // one batch of the full lane with its headers
	leadNS          = 15 * ms  // a path whose queue is shorter takes a batch of any size
	watchedLeadNS   = 5 * ms
)

// stalledRate is what a link is credited with that delivers nothing at all just
// now, in bytes/s.
const stalledRate = 4 << 10

// exploreRate is what the full lane assumes of a link that nothing is known of,
// in bytes/s: with at most one batch at stake it is worth finding out.
const exploreRate = 1 << 20

// overtakeNS is how much sooner a link that is being given a batch must deliver the
// next one than a free link would, for that one to wait for it.
const overtakeNS = 20 * ms

// PathState is all that the choice may know of one connection.
type PathState struct {
	Usable   bool  // up, not suspected, not held by its instance
	Shun     bool  // leads to the instance whose loan ran out: only if nothing else is usable
	Barred   bool  // its budget or its lanes don't allow this batch
	Busy     bool  // its writer still has bytes: it couldn't send now
	InFlight int64 // bytes bound to it and probably not yet delivered; 0 = all are proven to be
	Recent   int64 // of these, bytes given to it so lately that they can't be confirmed yet
	Rate     int64 // delivery rate, bytes/s; 0 = unknown
	NowRate  int64 // delivery rate of this moment, bytes/s: it says who delivers first
	CapRate  int64 // delivery rate of the last few round trips, bytes/s: it limits what may be in flight
	Watched  bool  // InFlight, NowRate and CapRate are measured, not presumed
	RTT      int64 // smoothed, ns
	MinRTT   int64 // ns
	Starting bool  // the rate still grows
	Young    bool  // up for so short that what is known of it is no more than what it was given
	Credit   int64 // bytes that the instances behind it would still take
}

// capBytes is how much may be in flight on p: rate × (least RTT + target), at
// least one batch.
func (p *PathState) capBytes(targetNS int64) int64 {
	if p.CapRate == 0 {
		return minCapBytes
	}
	c := int64(float64(p.CapRate) * float64(p.MinRTT+targetNS) / 1e9)
	if p.Starting {
		c *= 2
	}
	return max(c, minCapBytes)
}

// fullTarget is the standing queue that the full lane may make on p.
func (p *PathState) fullTarget() int64 {
	if p.Watched {
		return watchedTargetNS
	}
	return fullTargetNS
}

func (p *PathState) lead() int64 {
	if p.Watched {
		return watchedLeadNS
	}
	return leadNS
}

// over is how many bytes p has too many to take size more; 0 or less = it may.
// Where one batch is more than the target allows, the next may follow shortly
// before the first has left the queue: so a slow link is kept busy, and a rate
// estimated too low grows.
func (p *PathState) over(size, targetNS int64) int64 {
	o := p.InFlight + size - p.capBytes(targetNS)
	if p.Rate > 0 {
		o = min(o, p.InFlight-int64(float64(p.CapRate)*float64(p.MinRTT+p.lead())/1e9))
	}
	return o
}

// open reports whether p may take size bytes now. An empty path always may.
func (p *PathState) open(size, targetNS int64) bool { return !p.Busy && p.room(size, targetNS) }

// room is open but for the writer, which may have bytes.
func (p *PathState) room(size, targetNS int64) bool {
	if !p.Usable {
		return false
	}
	if p.InFlight == 0 {
		return p.Credit > 0
	}
	return p.over(size, targetNS) <= 0 && size <= p.Credit
}

// nowRate is what p delivers at in this moment, in bytes/s. To explore is to believe
// the best of a link that was never measured.
func (p *PathState) nowRate(explore bool) int64 {
	switch {
	case p.Rate == 0 && explore:
		return exploreRate
	case p.Rate == 0:
		return unknownRate
	case p.Watched:
		return max(p.NowRate, stalledRate)
	}
	return p.Rate
}

// completion is when size bytes given to p now would be at the receiver, in ns from
// now, if all that is in flight waits in its queue.
func (p *PathState) completion(size int64, explore bool) int64 {
	way := p.RTT / 2
	if p.Rate == 0 && explore {
		way = 0
	}
	return transmit(p.InFlight+size, p.nowRate(explore)) + way
}

// explored is completion for the full lane: to explore is to believe the best of a
// link that was never measured.
func (p *PathState) explored(size int64) int64 { return p.completion(size, true) }

// delivery is completion for previews, as far as it can be known: of what was given to
// a watched path within a round trip, as much as fits on the way there and back is no
// queue. Older bytes that are not confirmed are one, or the path has stopped. The way is
// that of an empty path: a usual round trip would count the queue twice.
func (p *PathState) delivery(size int64) int64 {
	if !p.Watched || p.Rate == 0 {
		return p.completion(size, false)
	}
	r := p.nowRate(false)
	onTheWay := min(transmit(min(p.Recent, p.InFlight), r), p.MinRTT)
	return transmit(p.InFlight+size, r) - onTheWay + p.MinRTT/2
}

// transmit is how long n bytes take at rate bytes/s, in ns.
func transmit(n, rate int64) int64 { return int64(float64(n) * 1e9 / float64(rate)) }

// best returns the path that delivers first, as when says, among those that ok
// accepts, or -1. Shunned paths count only when no other path is usable.
func best(paths []PathState, size int64, when func(p *PathState, size int64) int64, ok func(p *PathState) bool) int {
	shun := false
	for i := range paths {
		if paths[i].Usable && !paths[i].Shun && !paths[i].Barred {
			shun = true
			break
		}
	}
	at, least := -1, int64(0)
	for i := range paths {
		p := &paths[i]
		if p.Barred || (shun && p.Shun) || !ok(p) {
			continue
		}
		if t := when(p, size); at < 0 || t < least {
			at, least = i, t
		}
	}
	return at
}

// PickStriped chooses a path for a batch of the full lane: earliest completion
// among the paths with room; -1 = hold the batch. One that has room and is being
// given another batch is worth waiting for if it delivers this one clearly sooner:
// else a run of batches would go round all links, the slow ones as well. A young
// path is not passed over: it has to show what it can do.
func PickStriped(paths []PathState, size int64) int {
	i := PickFilling(paths, size)
	if i < 0 || paths[i].Young {
		return i
	}
	j := best(paths, size, (*PathState).explored, func(p *PathState) bool { return p.Busy && p.Watched && p.room(size, p.fullTarget()) })
	if j >= 0 && paths[j].explored(size)+overtakeNS < paths[i].explored(size) {
		return -1
	}
	return i
}

// PickFilling is PickStriped while there is a lasting backlog: no link that could
// send waits for another.
func PickFilling(paths []PathState, size int64) int {
	return best(paths, size, (*PathState).explored, func(p *PathState) bool { return p.open(size, p.fullTarget()) })
}

// PickOwed is PickFilling for a full batch whose turn has come in front of
// previews: it may go as far as they may.
func PickOwed(paths []PathState, size int64) int {
	return best(paths, size, (*PathState).explored, func(p *PathState) bool { return p.open(size, liveTargetNS) })
}

// PickFirst chooses a path for a preview: the one that delivers first of all
// usable ones. When that one is full the preview waits for it (-1): sent
// elsewhere it would arrive later.
func PickFirst(paths []PathState, size int64) int {
	i := best(paths, size, (*PathState).delivery, func(p *PathState) bool { return p.Usable })
	if i < 0 || !paths[i].open(size, liveTargetNS) {
		return -1
	}
	return i
}
