package agent

import (
	"strings"
	"testing"
	"testing/fstest"

	"telemetry/board"
	"telemetry/modem"
	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
)

func TestModemAndBoardMetrics(t *testing.T) {
	m := keeper.Status{Name: "a", State: ladder.Degraded, Info: modem.Info{
		Registration: 5, Profile: "quectel", SIM: "READY", Cell: 0x1A2B3C4, Texts: map[string]string{"operator": "Op \"x\"", "model": "EC25", "tech": "LTE"},
		Numbers: map[string]float64{"rsrp_dbm": -97.5, "rx_bytes": 1 << 40, "plmn": 26201},
	}}
	m.Stats.Tried[ladder.Redial], m.Stats.Helped[ladder.Redial] = 3, 2
	got := string(appendModemMetrics(nil, []keeper.Status{m, {Name: "b"}}))
	for _, want := range []string{
		`edgeagent_modem_state{modem="a",state="degraded"} 1`, `edgeagent_modem_state{modem="b",state="absent"} 1`,
		`edgeagent_modem_registration{modem="a"} 5`, `edgeagent_modem_sim_ready{modem="a"} 1`, `edgeagent_modem_cell_id{modem="a"} 27440068`,
		`edgeagent_modem_info{modem="a",model="EC25",revision="",operator="Op \"x\"",tech="LTE",sim="READY"} 1`, `edgeagent_modem_plmn{modem="a"} 26201`,
		`edgeagent_modem_registered{modem="a"} 1`, `edgeagent_modem_registered{modem="b"} 0`,
		`edgeagent_modem_rsrp_dbm{modem="a"} -97.5`, `edgeagent_modem_received_bytes_total{modem="a"} 1.099511627776e+12`,
		`edgeagent_modem_recoveries_tried_total{modem="a",rung="redial"} 3`, `edgeagent_modem_recoveries_helped_total{modem="a",rung="redial"} 2`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no line %s in\n%s", want, got)
		}
	}
	for _, n := range []string{"rsrp_dbm", "registration", "sim_ready", "cell_id", "info"} {
		if strings.Contains(got, "edgeagent_modem_"+n+`{modem="b"`) {
			t.Errorf("%s is not known and has a series", n)
		}
	}
	got = string(appendUsageMetrics(nil, []string{"a", "b"}, func(l string) (DataUse, bool) { return DataUse{"2026-05", 7, 8}, l == "a" }))
	if !strings.Contains(got, `edgeagent_link_month_sent_bytes{link="a",month="2026-05"} 8`+"\n") || strings.Contains(got, `link="b"`) {
		t.Errorf("data use: got\n%s", got)
	}
	root := fstest.MapFS{
		"sys/class/thermal/thermal_zone0/type": {Data: []byte("cpu\n")}, "sys/class/thermal/thermal_zone0/temp": {Data: []byte("51500\n")},
		"sys/block/mmcblk0/stat": {Data: []byte("1 2 3 4 5 6 7\n")}, "sys/block/mmcblk0/device/life_time": {Data: []byte("0x03 0x01\n")},
	}
	got = string(appendBoardMetrics(nil, board.Open(board.Profile{}, root), board.ShedLive))
	for _, want := range []string{
		"edgeagent_shed_level 1", `edgeagent_board_temperature_celsius{zone="cpu"} 51.5`,
		`edgeagent_storage_wear_ratio{device="mmcblk0"} 0.3`, `edgeagent_storage_read_only{device="mmcblk0"} 0`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no line %s in\n%s", want, got)
		}
	}
}
