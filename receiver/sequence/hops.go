package sequence

import (
	"time"

	"telemetry/receiver/hop"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// maxHops bounds the sampled batches that one commit measures.
const maxHops = 256

// note remembers when the stages had a sampled batch that was just released.
func (p *Partition) note(b *Batch, it *item, h *held) {
	if p.cfg.Hops == nil || !wire.Sampled(it.id.Seq) || len(p.hops) >= maxHops {
		return
	}
	info, err := topic.ParseBatchHeaders(h.headers)
	if err != nil {
		return
	}
	n := hop.Notes{
		SampleNS: b.LastNS, SealedNS: info.Send.SealedNS, DurableNS: info.Send.DurableNS, SentNS: info.Send.SentNS,
		ReceivedNS: info.ReceivedNS, AppendedNS: h.appendMS * int64(time.Millisecond), ReadNS: h.readNS, ReleasedNS: p.cfg.Wall(),
	}
	if s := b.Stamp(n.SentNS); s.Synced {
		n.OffsetNS, n.UncertaintyNS, n.Synced = s.UTCNS-n.SentNS, s.UncNS, true
	}
	p.hops = append(p.hops, n)
}

// visible measures the batches of a commit that has just become durable.
func (p *Partition) visible() {
	if len(p.hops) == 0 {
		return
	}
	now := p.cfg.Wall()
	for i := range p.hops {
		p.cfg.Hops.ObserveBatch(&p.hops[i], now)
	}
	p.hops = p.hops[:0]
}
