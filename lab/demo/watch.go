package demo

import (
	"context"
	"fmt"
	"time"

	"telemetry/internal/agent"
	"telemetry/internal/clock"
	"telemetry/wire"
)

// drawEvery is the pause between two looks: fluent to the eye, nothing for a
// processor.
const drawEvery = 250 * time.Millisecond

// draw shows the present until ctx ends.
func (d *demo) draw(ctx context.Context) {
	t := time.NewTicker(drawEvery)
	defer t.Stop()
	var m meter
	arrived := false
	for {
		if st, err := d.stack.AgentStatus(ctx); err == nil && st.Epoch != "" {
			d.heard(&st, false)
		}
		if ctx.Err() != nil {
			return
		}
		v := d.view(&m)
		if !arrived && v.FirstData > 0 {
			arrived = true
			d.say(fmt.Sprintf("the first sample is in Kafka, %.1f s after the start of the command", v.FirstData.Seconds()))
		}
		d.screen.Draw(v, time.Now())
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// view gathers what is known now.
func (d *demo) view(m *meter) *View {
	r := d.reader.Snapshot()
	d.mu.Lock()
	st, phase := d.agent, d.phase
	d.mu.Unlock()
	at := time.Since(d.start)
	v := &View{
		Elapsed: at, For: d.opt.For, Phase: phase, Car: d.car(), LiveURL: d.stack.LiveURL(), Kafka: d.kafka(),
		Made: madeOf(&st).total(), Delivered: r.Critical.Samples + r.Full.Samples,
		Pending: st.Lanes[wire.LaneCritical.String()].Pending + st.Lanes[wire.LaneFull.String()].Pending,
		Gaps:    r.Gaps, Duplicates: r.Critical.Duplicates + r.Full.Duplicates, Wrong: r.Wrong,
	}
	if !r.FirstAt.IsZero() {
		v.FirstData = r.FirstAt.Sub(d.begun)
		// Car and reader share this machine's boot clock.
		v.Lag = time.Duration(clock.System{}.BootNS() - r.NewestBootNS)
	}
	v.MadeRate, v.OutRate = m.rates(time.Now(), v.Made, v.Delivered)
	for i, l := range d.links {
		k := LinkView{Name: l.Name, Relay: d.stack.Relay(i).State(), Agent: "?"}
		if i < len(st.Links) {
			s := st.Links[i]
			k.Agent, k.RTTMS, k.BitRate, k.InFlight, k.Sent, k.Resent = s.State, s.RTTMS, s.RateBitS, s.InFlight, s.Sent, s.Resent
		}
		v.Links = append(v.Links, k)
	}
	switch inc := d.script.Now(at); {
	case phase != phaseDriving:
		v.Now = phase
	case inc != nil:
		v.Now = inc.Lasts(d.links[inc.Link].Name, at)
	}
	return v
}

// meter turns counts into rates over the last seconds.
type meter struct {
	points []point
}

type point struct {
	at        time.Time
	made, out uint64
}

const meterSpan = 3 * time.Second

func (m *meter) rates(now time.Time, made, out uint64) (in, through float64) {
	m.points = append(m.points, point{now, made, out})
	for len(m.points) > 2 && now.Sub(m.points[1].at) >= meterSpan {
		m.points = m.points[1:]
	}
	p := m.points[0]
	s := now.Sub(p.at).Seconds()
	if s < 0.1 || made < p.made || out < p.out {
		return 0, 0
	}
	return float64(made-p.made) / s, float64(out-p.out) / s
}

// made is what the sources say that they have made.
type made struct {
	critical, full uint64
	note           string // what does not fit together
}

func (m made) total() uint64 { return m.critical + m.full }

// madeOf counts on two sides: what the sources have handed over, by their own
// counters where they have some, and what the spool has taken. The greater holds,
// so that a sample lost between the two is missing in the end. All groups of the
// demo's sources are of the full lane, but for the states of links that the agent
// counts; their events are of the critical one, where those of the session come
// beside them.
func madeOf(st *agent.Status) made {
	var m made
	for _, s := range st.Sources {
		critical := s.Counters["values_critical"]
		m.full += max(s.Values, s.Counters["values"]) - critical
		m.critical += s.Events + critical
	}
	taken := func(l wire.Lane) uint64 { return st.Lanes[l.String()].Samples }
	if st.Draining && (taken(wire.LaneFull) != m.full || taken(wire.LaneCritical) < m.critical || st.Dropped > 0) {
		m.note = fmt.Sprintf("the sources made %d samples and %d events, the spool took %d and %d, %d were dropped",
			m.full, m.critical, taken(wire.LaneFull), taken(wire.LaneCritical), st.Dropped)
	}
	m.full, m.critical = max(m.full, taken(wire.LaneFull)), max(m.critical, taken(wire.LaneCritical))
	return m
}

// idle reports whether nothing is under way between the batches in Kafka and the
// reader.
func (d *demo) idle(ctx context.Context) bool {
	st, err := d.stack.ReceiverStatus(ctx)
	if err != nil || st.Sequence == nil {
		return false
	}
	for _, p := range st.Sequence.Partitions {
		if p.Lag > 0 || p.Committed < p.Position {
			return false
		}
		for _, c := range p.Cars {
			if c.Held > 0 {
				return false
			}
		}
	}
	end, err := d.reader.AtEnd(ctx)
	return err == nil && end
}
