package simulate

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"telemetry/receiver/ingest"
	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// strikeBox is strike for what happens to a car's card, clocks and data.
func (w *world) strikeBox(f *Fault, b *box) {
	until := w.now() + int64(f.For)
	switch f.Kind {
	case KindStarve:
		w.happened(f.Kind)
		b.starved.Store(until)
	case KindUTC:
		w.happened(f.Kind)
		b.utcOff += f.Arg%(4*sec) - 2*sec
	case KindLateAnchor:
		w.happened(f.Kind)
		b.anchorAt = max(b.anchorAt, until)
	case KindCatalogue:
		w.happened(f.Kind)
		b.catalogue = 1 - b.catalogue
	case KindDiskFull:
		w.happened(f.Kind)
		b.card.full = true
		b.card.SetLimit(b.card.Used() + f.Arg%(4<<10))
		card := b.card
		w.after(int64(f.For), func() { card.SetLimit(0) })
	case KindDiskSlow:
		w.happened(f.Kind)
		b.card.slow.Store(20*ms + f.Arg%(300*ms))
		card := b.card
		w.after(int64(f.For), func() { card.slow.Store(0) })
	case KindDiskError:
		w.happened(f.Kind)
		b.card.failNext(1 + int(f.Arg%6))
	case KindConflict:
		w.conflict(b, f.Arg)
	case KindCorrupt, KindCorruptState, KindNoCatalogue:
		w.corrupt(f, b)
	case KindClone:
		w.clone(f, b)
	case KindReflash:
		w.reflash(f, b)
	}
}

// corrupt changes bytes on a card: under the running agent, or while it is off.
func (w *world) corrupt(f *Fault, b *box) {
	off := f.Arg&1 == 0
	if off && b.life != nil {
		b.die(true)
		w.after(int64(f.For), b.powerOn)
	}
	var names []string
	switch f.Kind {
	case KindCorrupt:
		names = b.card.segments()
	case KindNoCatalogue:
		for v := range 2 {
			h := catalogueOf(b.car, v).Hash()
			names = append(names, filepath.Join(spoolDir, "catalogues", h.String()))
		}
	default:
		for _, n := range [...]string{"cursor.0", "cursor.1", "mark", "epoch.0", "epoch.1"} {
			names = append(names, filepath.Join(spoolDir, n))
		}
	}
	if len(names) == 0 {
		return
	}
	name := names[int(f.Arg>>8)%len(names)]
	err := b.card.Change(name, func(p []byte) []byte {
		if f.Kind == KindCorrupt {
			w.o.hurts(p)
		}
		for i := range 1 + int(f.Arg>>16)%3 {
			if len(p) > 0 {
				p[(int(f.Arg>>20)+i*37)%len(p)] ^= byte(1 + f.Arg>>40%255)
			}
		}
		return p
	})
	if err == nil {
		w.happened(f.Kind)
		w.tracef("%s: %s is damaged", b, name)
		b.card.bare = b.card.bare || f.Kind == KindNoCatalogue
		b.card.noCursor = b.card.noCursor || strings.Contains(name, "cursor")
	}
}

// hurts notes which batches a chunk has that is about to be damaged: they may be lost,
// and with a loss record what it names.
func (o *oracle) hurts(chunk []byte) {
	for at := 0; at < len(chunk); {
		n, k := binary.Uvarint(chunk[at:])
		if k <= 0 || n > uint64(len(chunk)-at-k) {
			at++ // damaged before
			continue
		}
		b, _, err := wire.Parse(chunk[at+k:][:n])
		if err != nil {
			at++
			continue
		}
		o.fact(b.Header.ID()).hurt = true
		if b.Header.Control {
			o.hurtsControl(b)
		}
		at += k + int(n)
	}
}

func (o *oracle) hurtsControl(b wire.Batch) {
	payload, err := o.opener.Payload(b)
	if err != nil {
		return
	}
	controls, _ := wire.Controls(payload)
	for _, c := range controls {
		if c.Loss == nil {
			continue
		}
		for _, r := range c.Loss.Ranges {
			for seq := r.First; seq <= r.Last; seq++ {
				st := wire.Stream{Car: b.Header.Stream.Car, Epoch: c.Loss.Epoch, Lane: c.Loss.Lane, Shard: c.Loss.Shard}
				o.fact(wire.ID{Stream: st, Seq: seq}).hurt = true
			}
		}
	}
}

// conflict sends another payload under the name of a batch that is in Kafka.
func (w *world) conflict(b *box, arg int64) {
	var known []wire.ID
	for id, f := range w.o.facts {
		if id.Stream.Car == b.car && id.Stream.Lane == wire.LaneFull && f.logged > 0 && f.tag != 0 {
			known = append(known, id)
		}
	}
	if len(known) == 0 {
		return
	}
	slices.SortFunc(known, compareIDs)
	id := known[len(known)-1-int(arg%8)%len(known)]
	payload := wire.AppendSend(nil, wire.Send{Link: 7, Gen: 1, SentNS: 1, Base: 1})
	var sealer wire.Sealer
	payload, err := sealer.Seal(payload, id, wire.Body{Lane: id.Stream.Lane, Payload: []byte{sectionFiller, 3, 1, 2, 3}})
	if err != nil {
		panic("simulate: internal error: " + err.Error())
	}
	r := w.rcvs[int(arg>>8)%len(w.rcvs)]
	if r.inst == nil {
		return
	}
	w.tracef("%s: another payload of %s", r, short(id))
	w.happened(KindConflict)
	w.o.facts[id].forged = true
	r.message(ingest.Peer{}, "tele/"+b.car+"/"+id.Stream.Lane.String(), payload)
}

// retention deletes records of telemetry.batches that have been read, some of
// which may still wait.
func (w *world) retention(part int32, arg int64) {
	start, _, _ := w.kafka.Bounds(part)
	below := w.o.outs[0].input[part]
	for _, x := range w.o.outs {
		below = min(below, x.input[part])
	}
	if below -= arg % 3; below <= start {
		return
	}
	gone := w.kafka.Retain(part, below)
	w.happened(KindRetention)
	w.tracef("partition %d loses %d records below %d", part, len(gone), below)
	for _, r := range gone {
		if info, err := topic.ParseBatchHeaders(r.Headers); err == nil {
			w.o.fact(info.ID).deleted = true
		}
	}
}

// maxBoxes bounds the cars and their clones.
const maxBoxes = 4

// clone copies a card and runs the copy in another box, as the same car.
func (w *world) clone(f *Fault, b *box) {
	if len(w.boxes) >= maxBoxes || b.starts == 0 {
		return
	}
	c := newBox(w, b.car, len(w.boxes))
	if err := b.card.copyTo(c.card); err != nil {
		w.tracef("%s: not cloned: %v", b, err)
		return
	}
	w.happened(f.Kind)
	w.tracef("%s is cloned to %s", b, c)
	c.lastEpoch, c.tag = b.lastEpoch, b.tag+1<<32
	c.card.bare, c.card.noCursor, c.cloned, b.cloned = b.card.bare, b.card.noCursor, true, true
	for r, n := range b.lost {
		c.lost[r] = n
	}
	w.boxes = append(w.boxes, c)
	w.after(int64(f.For), c.powerOn)
}

// reflash throws a card away: its data is lost for good.
func (w *world) reflash(f *Fault, b *box) {
	if b.starts == 0 {
		return
	}
	w.happened(f.Kind)
	b.die(true)
	w.tracef("%s gets a new card", b)
	b.card.retired, b.cloned = true, true
	b.card = newCard(b.car, w.plan.Seed^uint64(b.starts)<<40^uint64(b.no+1)<<32)
	b.cards = append(b.cards, b.card)
	b.lastEpoch = nil
	w.after(int64(f.For), b.powerOn)
}

// abandonRetired is the operator, who knows which cards will never come back.
func (w *world) abandonRetired() {
	w.abandonEpochs(func(_ carEpoch, e *epochFact) bool { return e.card.retired })
}

// endForks is the operator, who was told that two cards of one image are about: once
// both have sent everything he keeps one of them and abandons what the other has
// begun. Without a window each waits for the end of the other.
func (w *world) endForks() {
	w.forksEnded = true
	kept, out := map[string]bool{}, false
	for _, b := range w.boxes {
		if b.retired || !b.cloned {
			continue
		}
		if !kept[b.car] {
			kept[b.car] = true
			continue
		}
		w.tracef("%s is taken out", b)
		b.die(true)
		b.retired, b.card.retired, out = true, true, true
	}
	if out {
		w.abandonRetired()
	}
}

// twoCards reports whether a car has had more than one card.
func (w *world) twoCards(car string) bool {
	return slices.ContainsFunc(w.boxes, func(b *box) bool { return b.cloned && b.car == car })
}

// anyCard reports whether something is true of one of the cards that a car has had.
func (w *world) anyCard(car string, is func(*card) bool) bool {
	return slices.ContainsFunc(w.boxes, func(b *box) bool { return b.car == car && slices.ContainsFunc(b.cards, is) })
}

func (w *world) abandonEpochs(which func(carEpoch, *epochFact) bool) {
	var gone []carEpoch
	for k, e := range w.o.epochs {
		if which(k, e) {
			gone = append(gone, k)
		}
	}
	slices.SortFunc(gone, func(a, b carEpoch) int {
		return compareIDs(wire.ID{Stream: wire.Stream{Car: a.car, Epoch: a.epoch}}, wire.ID{Stream: wire.Stream{Car: b.car, Epoch: b.epoch}})
	})
	for _, k := range gone {
		w.tracef("the operator abandons %s of %s", k.epoch, k.car)
		_, err := w.kafka.Append(topic.Record{Partition: -1, Key: []byte(k.car), Headers: []topic.Header{
			{Key: topic.HeaderCar, Value: []byte(k.car)},
			{Key: sequence.HeaderOperator, Value: []byte(sequence.OperatorAbandon)},
			{Key: topic.HeaderEpoch, Value: fmt.Append(nil, k.epoch.Counter)},
			{Key: topic.HeaderNonce, Value: fmt.Appendf(nil, "%016x", k.epoch.Nonce)},
		}})
		if err != nil {
			w.o.violate("kafka", "operator's record: %v", err)
		}
	}
}
