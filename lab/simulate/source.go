package simulate

import (
	"encoding/binary"
	"fmt"

	"telemetry/wire"
)

// catalogueOf returns the catalogues of a car: the second one comes with a
// change of configuration.
func catalogueOf(car string, version int) *wire.Catalogue {
	c := &wire.Catalogue{Car: car, Groups: []wire.Group{
		{Name: "Engine", Source: "sim", Lane: wire.LaneFull, Channels: []wire.Channel{{Name: "tag", Type: wire.TypeInt}}},
		{Name: "Preview", Source: "sim", Lane: wire.LaneLive, Channels: []wire.Channel{{Name: "tag", Type: wire.TypeInt, Stat: wire.StatLast}}},
	}}
	if version > 0 {
		c.Groups = append(c.Groups, wire.Group{
			Name: "More", Source: "sim", Lane: wire.LaneFull,
			Channels: []wire.Channel{{Name: fmt.Sprint("extra", version), Type: wire.TypeInt}},
		})
	}
	return c
}

// sectionFiller is skipped by readers; its bytes do not compress.
const sectionFiller = 99

// source makes the batches of one life: full at its pace, live and events now and
// then, anchors every few seconds.
func (l *life) source() {
	b, w := l.b, l.b.w
	if l.dead.Load() || l.leaving {
		return
	}
	r := w.rng(b.name("source"))
	every := int64(w.plan.FullEvery)
	w.after(every/2+r.Int64N(every), l.source)
	if b.quiet {
		return
	}
	l.full(w.plan.FullBytes/2 + r.IntN(w.plan.FullBytes))
	if r.IntN(3) == 0 {
		l.block(wire.LaneLive, 1, 60+r.IntN(200))
	}
	if r.IntN(6) == 0 {
		l.event()
	}
	if now := b.w.now(); now >= b.anchorAt {
		b.anchorAt = now + 2*sec + r.Int64N(5*sec)
		l.anchor()
	}
}

func (l *life) full(n int) { l.block(wire.LaneFull, 0, n) }

// block hands a batch of one row over, with filler up to about n bytes.
func (l *life) block(lane wire.Lane, group int, n int) {
	b := l.b
	b.tag++
	now := b.BootNS()
	payload, err := wire.AppendBlock(nil, &wire.Block{
		Group: uint32(group), Ticks: []int64{now}, Columns: []wire.Column{{Type: wire.TypeInt, Values: []int64{int64(b.tag)}}},
	})
	if err != nil {
		panic("simulate: internal error: " + err.Error())
	}
	r := b.w.rng(b.name("filler"))
	n = max(0, n-len(payload))
	payload = binary.AppendUvarint(append(payload, sectionFiller), uint64(n))
	for range n {
		payload = append(payload, byte(r.Uint32()))
	}
	l.put(wire.Body{Lane: lane, Catalogue: l.hash[b.catalogue], FirstNS: now, LastNS: now, Samples: 1, Payload: payload})
}

func (l *life) event() {
	b := l.b
	b.tag++
	now := b.BootNS()
	l.put(wire.Body{
		Lane: wire.LaneCritical, FirstNS: now, LastNS: now, Samples: 1,
		Payload: wire.AppendEvent(nil, &wire.Event{BootNS: now, Name: fmt.Sprint("tag", b.tag)}),
	})
}

func (l *life) anchor() {
	b := l.b
	b.tag++
	now := b.BootNS()
	l.put(wire.Body{
		Lane: wire.LaneCritical, FirstNS: now, LastNS: now, Control: true,
		Payload: wire.AppendAnchor(nil, &wire.Anchor{
			ID: uint32(b.tag), BootNS: now, UTCNS: b.w.began.UnixNano() + b.w.now() + b.utcOff, UncertaintyNS: ms, Source: wire.AnchorGNSS,
		}),
	})
}

// put hands a batch to the life's goroutine; a source whose queue is full loses it.
func (l *life) put(body wire.Body) {
	select {
	case l.feed <- job{body: body, tag: l.b.tag}:
	default:
	}
}
