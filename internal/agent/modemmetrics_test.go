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
	m := keeper.Status{Name: "a", State: ladder.Degraded, Info: modem.Info{Registration: 5, Numbers: map[string]float64{"rsrp_dbm": -97.5, "rx_bytes": 1 << 40}}}
	m.Stats.Tried[ladder.Redial], m.Stats.Helped[ladder.Redial] = 3, 2
	got := string(appendModemMetrics(nil, []keeper.Status{m, {Name: "b"}}))
	for _, want := range []string{
		`edgeagent_modem_state{modem="a",state="degraded"} 1`, `edgeagent_modem_state{modem="b",state="absent"} 1`,
		`edgeagent_modem_registered{modem="a"} 1`, `edgeagent_modem_registered{modem="b"} 0`,
		`edgeagent_modem_rsrp_dbm{modem="a"} -97.5`, `edgeagent_modem_received_bytes_total{modem="a"} 1.099511627776e+12`,
		`edgeagent_modem_recoveries_tried_total{modem="a",rung="redial"} 3`, `edgeagent_modem_recoveries_helped_total{modem="a",rung="redial"} 2`,
	} {
		if !strings.Contains(got, want+"\n") {
			t.Errorf("no line %s in\n%s", want, got)
		}
	}
	if strings.Contains(got, `rsrp_dbm{modem="b"}`) {
		t.Error("a value that is not known has a series")
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
