package uplink

import "telemetry/wire"

// proofs applies the echoes of a: what arrived over which connection. They count
// over whatever link the ack came; round trips only over the same one.
func (e *Engine) proofs(over *connection, a *wire.Ack) {
	var first []*flight // critical batches whose arrival this ack is the first to prove
	for _, x := range a.Links {
		c := e.find(int(x.Link), x.Gen)
		if c == nil || !c.up || x.Messages == 0 {
			continue
		}
		if x.LastSentNS > c.lastSentNS || x.Messages > c.sentMessages || x.Bytes > c.echoable {
			e.totals.BadEchoes++
			continue
		}
		if c == over && x.LastSentNS > c.roundNS {
			c.roundNS = x.LastSentNS
			if rtt := e.now - x.LastSentNS - max(x.HeldNS, 0); !c.outlived(e.now, x.LastSentNS, rtt) {
				c.est.rttSample(e.now, rtt)
				e.links[c.link].rttNS = c.est.minRTT()
			}
		}
		if x.LastSentNS <= c.provenNS {
			continue
		}
		done := c.prove(e.now, x.LastSentNS, x.HeldNS)
		at := c.deliveredAtNS // of the last one; those before it came as much earlier as they are bytes before it
		for i := len(done) - 1; i >= 0; i-- {
			e.links[c.link].proven.add(e.now, done[i].bytes)
			if f := done[i].f; f != nil && !f.ended {
				e.arrived(f, c)
				if f.wins(c, at) {
					first = append(first, f)
				}
			}
			at -= c.est.drain(done[i].bytes)
		}
		e.revive(c, whyProof)
	}
	for _, f := range first {
		f.won = true
		e.links[f.winner].wins++
	}
}
