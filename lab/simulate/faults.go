package simulate

import (
	"time"

	"telemetry/wire"
)

// The kinds of faults.
const (
	KindLoss         Kind = "loss"            // packets are lost: TCP sends them again, late
	KindDelay        Kind = "delay"           // a link becomes slow
	KindReorder      Kind = "reorder"         // links overtake each other
	KindPartition    Kind = "partition"       // no link of a car carries anything
	KindOutage       Kind = "outage"          // a link's connections break and none can be made
	KindSilent       Kind = "silent link"     // a link carries nothing and says nothing
	KindDrop         Kind = "broker drop"     // a broker drops messages
	KindPowerCut     Kind = "power cut"       // the car loses power, and what was not synced
	KindKillAgent    Kind = "agent kill"      // the agent dies alone
	KindKill         Kind = "receiver kill"   // an instance dies
	KindFreeze       Kind = "receiver freeze" // an instance stands still
	KindStall        Kind = "kafka stall"     // the brokers answer nothing
	KindProduceError Kind = "produce error"   // records are refused for now, or written without an answer
	KindRefuse       Kind = "refused"         // a record can never be taken
	KindPull         Kind = "pull"            // a range is pulled forward
	KindClock        Kind = "clock jump"      // the brokers' clock jumps
	KindUTC          Kind = "utc step"        // a car's anchors step
	KindLateAnchor   Kind = "late anchor"     // no anchor for a while
	KindDiskFull     Kind = "disk full"       // the card takes nothing more
	KindDiskSlow     Kind = "disk slow"       // every sync takes long
	KindDiskError    Kind = "disk error"      // some changes fail
	KindCorrupt      Kind = "corrupt chunk"   // bytes of a chunk change on the card
	KindCorruptState Kind = "corrupt state"   // bytes of the cursor, the mark or an epoch slot change
	KindDrain        Kind = "receiver drain"  // an instance ends in good order and comes back
	KindLostAnswer   Kind = "lost answer"     // a commit succeeds and nobody is told
	KindRetention    Kind = "retention"       // telemetry.batches loses old records, waiting ones too
	KindOffset       Kind = "offset expired"  // the group's offset is gone
	KindConflict     Kind = "crc conflict"    // another payload comes under a known name
	KindCatalogue    Kind = "catalogue change"
	KindNoCatalogue  Kind = "catalogue lost" // the card loses its catalogues
	KindClone        Kind = "clone"          // a copy of the card runs in another box
	KindReflash      Kind = "reflash"        // the card is replaced by an empty one
	KindChoke        Kind = "slow writes"    // a link carries next to nothing: sockets are full
	KindTurnAway     Kind = "dial refused"   // a broker turns new connections away
	KindStarve       Kind = "agent starved"  // the agent gets next to no time of its computer
	KindStop         Kind = "agent stop"     // the agent ends in good order
	KindPowerFail    Kind = "power fail"     // a warning, and then the power goes
)

// What follows from faults, and shapes of the system that count like faults.
const (
	KindQuota     Kind = "quota drop"       // a spool was full and dropped batches
	KindCorrupted Kind = "corrupt loss"     // a spool has reported batches as corrupt
	KindDiskLoss  Kind = "disk loss"        // a spool dropped batches that a failing disk did not take
	KindFenced    Kind = "fenced owner"     // a sequencer's commit was refused
	KindRebalance Kind = "rebalance"        // the group has a new generation
	KindCut       Kind = "commit cut off"   // a process died inside of a commit
	KindReread    Kind = "read again"       // a batch was read again: memory had no room
	KindTwice     Kind = "duplicate in log" // telemetry.batches has a batch more than once
	KindOverride  Kind = "override"         // what was reported missing came after all
	KindLate      Kind = "late"             // batches were written to late
	KindEmbedded  Kind = "embedded kafka"   // a run without transactions
	KindExternal  Kind = "external broker"  // a run with one broker in front of all instances
	KindInstances Kind = "several instances"
	KindNoWindow  Kind = "window none"

	KindPartly       Kind = "partly taken"   // a socket took part of a message
	KindNotTaken     Kind = "not taken"      // a socket took nothing of one
	KindWriteTimeout Kind = "write timeout"  // a socket took nothing for long
	KindDialFailed   Kind = "dial failed"    // a dial had no answer, or a bad one
	KindBeside       Kind = "dialled beside" // a link has a second connection
	KindPaced        Kind = "paced"          // a connection was told to hold its bytes back
	KindPlain        Kind = "plain link"     // connections that can only send and wait
	KindOutputs      Kind = "second output"  // with the sealed batches and a window of its own
	KindBlind        Kind = "blind socket"   // sockets that don't tell what was confirmed
)

// Effects lists what a long run must have met beside all kinds of faults.
func Effects() []Kind {
	return []Kind{
		KindQuota, KindCorrupted, KindDiskLoss, KindFenced, KindRebalance, KindCut, KindReread, KindTwice, KindOverride, KindLate,
		KindEmbedded, KindExternal, KindInstances, KindNoWindow,
		KindPartly, KindNotTaken, KindWriteTimeout, KindDialFailed, KindBeside, KindPaced, KindPlain, KindBlind, KindOutputs,
	}
}

// countEffects adds what has followed from the faults to the coverage.
func (w *world) countEffects() {
	add := func(k Kind, n int) {
		if n > 0 {
			w.coverage[string(k)] += n
		}
	}
	yes := func(k Kind, is bool) {
		if is {
			add(k, 1)
		}
	}
	for _, b := range w.boxes {
		add(KindQuota, int(b.lost[wire.ReasonQuota]))
		add(KindCorrupted, int(b.lost[wire.ReasonCorrupt]))
		add(KindDiskLoss, int(b.lost[wire.ReasonDisk]))
	}
	for _, r := range w.rcvs {
		r.countReread()
	}
	rebalances, fenced, cut := w.kafka.Counts()
	add(KindRebalance, rebalances-w.plan.Instances*len(w.o.outs))
	yes(KindOutputs, w.plan.Two)
	add(KindFenced, fenced)
	add(KindCut, cut)
	add(KindReread, w.reread)
	add(KindTwice, w.o.n["logged twice"])
	add(KindOverride, w.o.n["gap withdrawn none"])
	add(KindLate, w.o.n["late"])
	yes(KindEmbedded, w.plan.Embedded)
	yes(KindExternal, w.plan.External)
	yes(KindInstances, w.plan.Instances > 1)
	yes(KindNoWindow, w.plan.NoWindow)
	yes(KindPlain, w.plan.Plain != 0)
	yes(KindBlind, w.plan.Blind != 0)
}

// kindSpec is one kind and how long it lasts.
type kindSpec struct {
	kind     Kind
	min, max time.Duration
}

const (
	short1 = 300 * time.Millisecond
	long1  = 4 * time.Second
)

var kinds = []kindSpec{
	{KindLoss, time.Second, 6 * time.Second},
	{KindDelay, time.Second, 6 * time.Second},
	{KindReorder, time.Second, 5 * time.Second},
	{KindPartition, short1, 6 * time.Second},
	{KindOutage, short1, 6 * time.Second},
	{KindSilent, short1, 9 * time.Second},
	{KindDrop, short1, 3 * time.Second},
	{KindPowerCut, short1, 2 * time.Second},
	{KindKillAgent, short1, time.Second},
	{KindKill, short1, long1},
	{KindFreeze, short1, 9 * time.Second},
	{KindStall, short1, 6 * time.Second},
	{KindProduceError, 0, 0},
	{KindPull, 0, 0},
	{KindClock, 0, 0},
	{KindUTC, 0, 0},
	{KindLateAnchor, time.Second, 6 * time.Second},
	{KindDiskFull, short1, 4 * time.Second},
	{KindDiskSlow, short1, 3 * time.Second},
	{KindDiskError, 0, 0},
	{KindCorrupt, short1, time.Second},
	{KindCorruptState, short1, time.Second},
	{KindDrain, short1, 2 * time.Second},
	{KindLostAnswer, 0, 0},
	{KindRetention, 0, 0},
	{KindOffset, 0, 0},
	{KindRefuse, 0, 0},
	{KindConflict, 0, 0},
	{KindCatalogue, 0, 0},
	{KindNoCatalogue, 0, 0},
	{KindClone, short1, time.Second},
	{KindReflash, short1, time.Second},
}

// agentKinds are those of the agent's loop; see Plan.more.
var agentKinds = []kindSpec{
	{KindChoke, time.Second, 10 * time.Second},
	{KindTurnAway, short1, 3 * time.Second},
	{KindStarve, short1, 3 * time.Second},
	{KindStop, short1, 2 * time.Second},
	{KindPowerFail, short1, 2 * time.Second},
}

// strike lets a fault happen.
func (w *world) strike(f *Fault) {
	w.tracef("FAULT %s", f)
	b := w.boxes[f.Target%len(w.boxes)]
	r := w.rcvs[f.Target%len(w.rcvs)]
	k := b.links[f.Target/7%len(b.links)]
	until := w.now() + int64(f.For)
	switch f.Kind {
	case KindLoss:
		k.lossy = until
	case KindDelay:
		k.slow, k.extra = until, 100*ms+f.Arg%(700*ms)
		w.happened(f.Kind)
	case KindReorder:
		for _, k := range b.links {
			k.shaky = until
		}
		w.happened(f.Kind)
	case KindPartition:
		for _, k := range b.links {
			k.hush(until)
		}
		w.happened(f.Kind)
	case KindOutage:
		w.outage(b, k, until)
	case KindSilent:
		k.hush(until)
		w.happened(f.Kind)
	case KindChoke:
		if k.choked = until; f.Arg%3 == 0 { // the car is where nobody has a good network
			for _, k := range b.links {
				k.choked = until
			}
		}
		w.happened(f.Kind)
	case KindDrop:
		for _, e := range w.ends {
			e.drops = until
		}
	case KindTurnAway:
		w.ends[f.Target%len(w.ends)].turns = until
	case KindPull:
		w.pull(b, f)
	default:
		w.strikeMore(f, b, r)
	}
}

// strikeMore is strike for what happens to processes and to Kafka.
func (w *world) strikeMore(f *Fault, b *box, r *receiver) {
	switch f.Kind {
	case KindPowerCut, KindKillAgent:
		if b.life == nil {
			return
		}
		w.happened(f.Kind)
		b.die(f.Kind == KindPowerCut)
		again := b.powerOn
		if f.Kind == KindKillAgent {
			again = b.start
		}
		w.after(int64(f.For), again)
	case KindStop, KindPowerFail:
		w.leave(b, f)
	case KindKill:
		if r.inst == nil {
			return
		}
		w.happened(f.Kind)
		r.die()
		w.after(int64(f.For), r.start)
	case KindFreeze:
		if r.inst == nil || r.frozen {
			return
		}
		w.happened(f.Kind)
		r.freeze()
		w.after(int64(f.For), r.thaw)
	case KindStall:
		w.happened(f.Kind)
		w.kafka.Stall(f.For)
	case KindProduceError:
		r.failNext = 1 + int(f.Arg%5)
	case KindRefuse:
		r.refuse = 1 + int(f.Arg%3)
	case KindDrain:
		if r.inst != nil && !r.frozen && !r.draining {
			w.happened(f.Kind)
			r.drain(int64(f.For))
		}
	case KindLostAnswer:
		w.happened(f.Kind)
		w.kafka.LoseAnswers(1 + int(f.Arg%2))
	case KindClock:
		w.happened(f.Kind)
		w.o.peakMS = max(w.o.peakMS, w.kafka.NowMS())
		w.kafka.Jump(f.Arg%20_000 - 6_000)
	case KindRetention:
		w.retention(int32(f.Target)%w.plan.Partitions, f.Arg)
	case KindOffset:
		x := w.o.outs[int(f.Arg)%len(w.o.outs)]
		if part := int32(f.Target) % w.plan.Partitions; x.input[part] > 0 {
			w.happened(f.Kind)
			x.kafka.ForgetOffset(part)
		}
	default:
		w.strikeBox(f, b)
	}
}

// outage breaks a link's connections.
func (w *world) outage(b *box, k *link, until int64) {
	k.down = until
	w.happened(KindOutage)
	if b.life == nil {
		return
	}
	for _, c := range append([]*conn(nil), b.life.conns...) {
		if c.k == k && c.up {
			c.reset("network is unreachable")
		}
	}
}

// pull asks the car for some seconds of its full lane.
func (w *world) pull(b *box, f *Fault) {
	if l := b.life; l != nil && l.ready {
		now := b.BootNS()
		from := max(0, now-f.Arg%(5*sec))
		w.wg.Go(func() { _ = l.up.Pull(l.ctx, from, from+sec+f.Arg%(2*sec)) })
	}
}

// leave ends an agent in good order; when power goes, it has a while for that.
func (w *world) leave(b *box, f *Fault) {
	l := b.life
	if l == nil || !l.ready || l.leaving {
		return
	}
	w.happened(f.Kind)
	power := f.Kind == KindPowerFail
	l.again = int64(f.For)
	l.leave(power)
	if power {
		w.after(5*ms+f.Arg%(600*ms), func() {
			if b.life == l {
				b.die(true)
			}
			w.after(int64(f.For), b.powerOn)
		})
	}
}

// heal ends what would go on by itself.
func (w *world) heal() {
	for _, b := range w.boxes {
		for _, k := range b.links {
			now := w.now()
			k.lossy, k.slow, k.shaky, k.choked, k.down = 0, 0, 0, 0, min(k.down, now)
			k.hush(min(k.silent, now))
		}
		b.starved.Store(0)
		b.card.failNext(0)
		b.card.slow.Store(0)
	}
	for _, e := range w.ends {
		e.drops, e.turns = 0, 0
	}
	for _, r := range w.rcvs {
		r.failNext, r.refuse = 0, 0
	}
}
