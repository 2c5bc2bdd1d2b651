package agent

import (
	"fmt"
	"net/http"
	"path/filepath"

	"telemetry/board"
	"telemetry/internal/config"
	"telemetry/modem"
	"telemetry/uplink"
	"telemetry/wire"
)

// ledgerName is the file beside the spool that keeps what metered links carried.
const ledgerName = "budgets.json"

func (a *Agent) openUplink(r *running) error {
	if len(a.cfg.Links) == 0 {
		a.log.Warn("no links are configured: samples are only spooled")
		return nil
	}
	epoch := r.spool.Epoch()
	cfg := uplink.Config{Car: a.cfg.Car, Epoch: epoch, Seed: epoch.Nonce, FullShare: int(a.cfg.Uplink.FullShare)}
	var links []uplink.Link
	for _, l := range a.cfg.Links {
		m := modem.NewInterface(l.Name, l.Interface, subFS(a.root, "sys"))
		r.modems = append(r.modems, m)
		links = append(links, uplink.Link{Name: l.Name, Addrs: l.Addresses, Dialer: a.dialer(m, l), Meter: meterOf(l)})
		if l.Meter != nil {
			cfg.Ledger = &uplink.Ledger{Path: filepath.Join(a.cfg.Spool.Dir, ledgerName), Write: r.write}
		}
	}
	u, err := uplink.New(cfg, r.spool, links, a.clock, a.log.With("component", "uplink"))
	if err != nil {
		return fmt.Errorf("agent: %w", err)
	}
	r.uplink = u
	return nil
}

func (a *Agent) linkNames() (out []string) {
	for _, l := range a.cfg.Links {
		out = append(out, l.Name)
	}
	return out
}

func meterOf(l config.Link) uplink.Meter {
	if l.Meter == nil {
		return uplink.Meter{}
	}
	return uplink.Meter{Lanes: l.Meter.LaneList(), DayBytes: uint64(l.Meter.PerDay)}
}

// metrics answers with the figures of links, modems and board for Prometheus.
func (a *Agent) metrics(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	r := a.running
	a.mu.Unlock()
	var s uplink.Snapshot
	if r != nil {
		s = r.snapshot()
	}
	b := uplink.AppendMetrics(nil, s)
	var shed board.Shed
	if r != nil {
		shed = board.Shed(r.board.shed.Load())
		sp, utc := r.spool.Stats(), a.clock.Compare()
		pending := sp.Lanes[wire.LaneCritical].Pending + sp.Lanes[wire.LaneFull].Pending
		lost := sp.LostQuota + sp.LostCorrupt + sp.LostDisk // by quota, damage or a failing disk, since the start
		names := [...]string{"spool_bytes", "spool_quota_bytes", "spool_pending_batches", "spool_lost_batches", "spool_disk_state", "clock_synced", "clock_uncertainty_seconds"}
		for i, v := range [...]float64{float64(sp.DiskBytes), float64(sp.QuotaBytes), float64(pending), float64(lost), float64(sp.Disk), float64(truth(utc.Synced)), float64(utc.UncertaintyNS) / 1e9} {
			b = fmt.Appendf(b, "# TYPE edgeagent_%s gauge\nedgeagent_%s %g\n", names[i], names[i], v)
		}
		if r.care != nil {
			b = appendModemMetrics(b, r.care.group.Statuses())
			b = appendUsageMetrics(b, a.linkNames(), r.care.usage)
		}
	}
	b = appendBoardMetrics(b, a.board, shed)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = w.Write(b) // a client that went away is not our fault
}

// snapshot is the uplink's, or an empty one without links.
func (r *running) snapshot() uplink.Snapshot {
	if r.uplink == nil {
		return uplink.Snapshot{}
	}
	return r.uplink.Snapshot()
}
