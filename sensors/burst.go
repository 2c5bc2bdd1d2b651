package sensors

// Limits of a [Burst].
const (
	burstEvents  = 8                    // told at once
	burstEveryNS = int64(1_000_000_000) // within so much time
)

// Burst bounds how often a source tells one thing: the critical lane, which events
// go by, comes before all others, and a broken device may have something to tell
// with every packet. The first few of a second are told at once, of the others how
// many there were. The zero value is ready; it belongs to one goroutine.
type Burst struct {
	begun  bool
	from   int64  // boot time at which the second began
	told   int    // in it
	untold uint64 // in it
	due    uint64 // untold in those before
}

// Tell reports whether what happened at now, boot time in ns, is to be told at once;
// else it is counted.
func (b *Burst) Tell(now int64) bool {
	switch {
	case !b.begun || now-b.from >= burstEveryNS:
		b.begun, b.from, b.told = true, now, 0
		b.due, b.untold = b.due+b.untold, 0
	case b.told == burstEvents:
		b.untold++
		return false
	}
	b.told++
	return true
}

// Rest returns how many were not told, once their second is over or if nothing
// follows, and forgets them.
func (b *Burst) Rest(now int64, last bool) uint64 {
	n := b.due
	b.due = 0
	if last || now-b.from >= burstEveryNS {
		n += b.untold
		b.untold = 0
	}
	return n
}
