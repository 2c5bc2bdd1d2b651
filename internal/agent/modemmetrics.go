package agent

import (
	"fmt"
	"strconv"

	"telemetry/board"
	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
)

// modemNumbers are the figures of a module's Info that are metrics.
var modemNumbers = [...]struct{ key, name, kind, help string }{
	{"rsrp_dbm", "rsrp_dbm", "gauge", "Reference signal power."},
	{"rsrq_db", "rsrq_db", "gauge", "Reference signal quality."},
	{"sinr_db", "sinr_db", "gauge", "Signal to noise."},
	{"rssi_dbm", "rssi_dbm", "gauge", "Received power."},
	{"temp_c", "temperature_celsius", "gauge", "Of the module."},
	{"band", "band", "gauge", "Number of the band."},
	{"rx_bytes", "received_bytes_total", "counter", "Over the radio, as the module counts."},
	{"tx_bytes", "sent_bytes_total", "counter", "Over the radio, as the module counts."},
}

// appendModemMetrics appends the modems' figures as Prometheus text. What a
// module does not say has no series.
func appendModemMetrics(dst []byte, all []keeper.Status) []byte {
	const prefix = "edgeagent_modem_"
	head := func(name, kind, help string) {
		dst = fmt.Appendf(dst, "# HELP %s%s %s\n# TYPE %s%s %s\n", prefix, name, help, prefix, name, kind)
	}
	head("state", "gauge", "1 for the state that the modem is in.")
	for _, m := range all {
		for st := ladder.Absent; st <= ladder.Wedged; st++ {
			dst = fmt.Appendf(dst, "%sstate{modem=%q,state=%q} %d\n", prefix, m.Name, st, truth(m.State == st))
		}
	}
	head("registered", "gauge", "1 while the network has taken it in.")
	for _, m := range all {
		dst = fmt.Appendf(dst, "%sregistered{modem=%q} %d\n", prefix, m.Name, truth(m.Info.Registered()))
	}
	for _, n := range modemNumbers {
		head(n.name, n.kind, n.help)
		for _, m := range all {
			if v, ok := m.Info.Numbers[n.key]; ok {
				dst = fmt.Appendf(dst, "%s%s{modem=%q} %s\n", prefix, n.name, m.Name, strconv.FormatFloat(v, 'g', -1, 64))
			}
		}
	}
	rungs := func(name, help string, of func(keeper.Status, ladder.Rung) uint64) {
		head(name, "counter", help)
		for _, m := range all {
			for r := ladder.Redial; r <= ladder.PowerKey; r++ {
				dst = fmt.Appendf(dst, "%s%s{modem=%q,rung=%q} %d\n", prefix, name, m.Name, r, of(m, r))
			}
		}
	}
	rungs("recoveries_tried_total", "Steps of the recovery ladder that were done.", func(m keeper.Status, r ladder.Rung) uint64 { return m.Stats.Tried[r] })
	rungs("recoveries_helped_total", "Of them, those after which data flowed.", func(m keeper.Status, r ladder.Rung) uint64 { return m.Stats.Helped[r] })
	return dst
}

// appendBoardMetrics appends heat, storage and what is shed.
func appendBoardMetrics(dst []byte, b *board.Board, shed board.Shed) []byte {
	head := func(name, help string) {
		dst = fmt.Appendf(dst, "# HELP edgeagent_%s %s\n# TYPE edgeagent_%s gauge\n", name, help, name)
	}
	head("shed_level", "Lanes that wait because the board is hot: 0 none, 1 live, 2 live and full.")
	dst = fmt.Appendf(dst, "edgeagent_shed_level %d\n", shed)
	ts, _ := b.Temperatures() // a board without sensors has no series
	head("board_temperature_celsius", "Of a thermal zone.")
	for _, t := range ts {
		dst = fmt.Appendf(dst, "edgeagent_board_temperature_celsius{zone=%q} %g\n", t.Zone, float64(t.MilliC)/1000)
	}
	ss, _ := b.Storages() // likewise
	head("storage_wear_ratio", "Used part of a card's life, upper bound.")
	for _, s := range ss {
		if s.WearPercent >= 0 {
			dst = fmt.Appendf(dst, "edgeagent_storage_wear_ratio{device=%q} %g\n", s.Device, float64(s.WearPercent)/100)
		}
	}
	head("storage_read_only", "1 if the kernel has made the device read-only.")
	for _, s := range ss {
		dst = fmt.Appendf(dst, "edgeagent_storage_read_only{device=%q} %d\n", s.Device, truth(s.ReadOnly))
	}
	return dst
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}
