package receiver

import (
	"context"
	"fmt"

	"telemetry/internal/config"
	"telemetry/receiver/live"
	"telemetry/receiver/sequence"
	"telemetry/wire"
)

// liveOff as live.listen means that there is no page.
const liveOff = "off"

func (r *Receiver) addLive(run *running) error {
	extra, err := r.addPast(run)
	if err != nil {
		return err
	}
	run.live, err = live.Listen(live.Options{
		Address: r.cfg.Live.Listen, Source: shownLog{run.cluster, run.hops}, Catalogues: run.cluster.Catalogues(),
		Report:   run.report,
		Status:   func(ctx context.Context) any { return r.Status(ctx) },
		Ready:    func(ctx context.Context) []string { return r.door.outside(r.Status(ctx).Waits) },
		Degraded: func(ctx context.Context) []string { return r.door.outside(r.Status(ctx).Degraded) },
		Metrics:  r.metrics,
		TLS:      r.door.tls(),
		Guard:    r.door.guard.Wrap,
		Extra:    extra,
		Logger:   r.log.With("component", "live"),
	})
	if err != nil {
		return err
	}
	run.undo = append(run.undo, run.live.Close)
	if a := run.live.Addr(); !config.Loopback(a) && (r.door.cert == nil || !r.door.guard.Asked()) {
		return fmt.Errorf("receiver: live.listen %s is %s, which other machines reach: the page needs live.tls and live.login there", r.cfg.Live.Listen, a)
	}
	if run.preview != nil {
		run.preview.page = run.live
	}
	run.start = append(run.start, run.live.Run, r.door.guard.Run)
	return nil
}

// report tells the page what the other roles of this process know.
func (run *running) report(ctx context.Context) live.Report {
	rep := live.Report{Ingest: run.ingest != nil, Sequence: run.sequence != nil, Cars: map[string]live.CarReport{}}
	if run.ingest != nil {
		run.reportIngest(ctx, rep.Cars)
	}
	if run.sequence != nil {
		run.reportSequence(rep.Cars)
	}
	return rep
}

func (run *running) reportIngest(ctx context.Context, cars map[string]live.CarReport) {
	ctx, cancel := context.WithTimeout(ctx, snapshotLimit)
	defer cancel()
	s, err := run.ingest.Snapshot(ctx)
	if err != nil {
		return // it is stopping: there is nothing to show
	}
	for i := range s.Cars {
		c := &s.Cars[i]
		k := cars[c.Car]
		k.Credit, k.Waiting, k.SilentMS = c.Credit, c.WaitingBytes, c.Silent.Milliseconds()
		for _, l := range c.Links {
			k.Conns = append(k.Conns, live.Conn{Link: int(l.Link), Gen: l.Gen, Bytes: l.Bytes, SilentMS: l.Silent.Milliseconds()})
		}
		cars[c.Car] = k
	}
}

func (run *running) reportSequence(cars map[string]live.CarReport) {
	s := run.sequence.Snapshot()
	for i := range s.Partitions {
		p := &s.Partitions[i]
		if p.State == sequence.StateStopped {
			continue // another process serves these cars now
		}
		for j := range p.Cars {
			c := &p.Cars[j]
			k := cars[c.Car]
			k.Lanes = laneReports(c)
			cars[c.Car] = k
		}
	}
}

func laneReports(c *sequence.CarSnapshot) map[string]live.LaneReport {
	m := map[string]live.LaneReport{}
	for _, l := range wire.Lanes {
		v := &c.Lanes[l]
		m[l.String()] = live.LaneReport{
			In: v.Batches, Duplicates: v.Duplicates, Late: v.Late, Missing: v.Missing - min(v.Missing, v.Found),
			Holes: v.HoleSeqs, LagMS: c.LagMS(l),
		}
	}
	return m
}
