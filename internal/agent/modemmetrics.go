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
	{"plmn", "plmn", "gauge", "Country and network of the operator, as 26201."},
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
		for _, st := range ladder.States() {
			dst = fmt.Appendf(dst, "%sstate{modem=%q,state=%q} %d\n", prefix, m.Name, st, truth(m.State == st))
		}
	}
	head("registered", "gauge", "1 while the network has taken it in.")
	for _, m := range all {
		dst = fmt.Appendf(dst, "%sregistered{modem=%q} %d\n", prefix, m.Name, truth(m.Info.Registered()))
	}
	head("registration", "gauge", "What the network says: 0 idle, 1 home, 2 searching, 3 denied, 4 unknown, 5 roaming.")
	for _, m := range all {
		if m.Info.Profile != "" {
			dst = fmt.Appendf(dst, "%sregistration{modem=%q} %d\n", prefix, m.Name, m.Info.Registration)
		}
	}
	head("sim_ready", "gauge", "1 while the card is ready.")
	for _, m := range all {
		if m.Info.SIM != "" {
			dst = fmt.Appendf(dst, "%ssim_ready{modem=%q} %d\n", prefix, m.Name, truth(m.Info.SIM == "READY"))
		}
	}
	head("cell_id", "gauge", "Of the serving cell.")
	for _, m := range all {
		if m.Info.Cell != 0 {
			dst = fmt.Appendf(dst, "%scell_id{modem=%q} %d\n", prefix, m.Name, m.Info.Cell)
		}
	}
	head("info", "gauge", "1; its labels are what the modem and its network are called.")
	for _, m := range all {
		i := m.Info
		if i.Profile != "" {
			dst = fmt.Appendf(dst, "%sinfo{modem=%q,model=%q,revision=%q,operator=%q,tech=%q,sim=%q} 1\n", prefix,
				m.Name, i.Texts["model"], i.Texts["revision"], i.Texts["operator"], i.Texts["tech"], i.SIM)
		}
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

// appendUsageMetrics appends what the links' interfaces carried this month.
func appendUsageMetrics(dst []byte, links []string, of func(link string) (DataUse, bool)) []byte {
	for _, dir := range []struct {
		name string
		of   func(DataUse) uint64
	}{
		{"received", func(u DataUse) uint64 { return u.Received }},
		{"sent", func(u DataUse) uint64 { return u.Sent }},
	} {
		name := "edgeagent_link_month_" + dir.name + "_bytes"
		dst = fmt.Appendf(dst, "# HELP %s By the link's interface in this calendar month (UTC).\n# TYPE %s gauge\n", name, name)
		for _, l := range links {
			if u, ok := of(l); ok {
				dst = fmt.Appendf(dst, "%s{link=%q,month=%q} %d\n", name, l, u.Month, dir.of(u))
			}
		}
	}
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
