package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"telemetry/wire"
)

func readLinks(t *testing.T, uplink, link string) (*Agent, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "car.yaml")
	text := "version: 1\ncar: car-1\nspool: {dir: /tmp/x}\nsources: [{name: sim, sim: {channels: 1}}]\n" + uplink +
		"links: [{name: a, addresses: [\"tcp://h:1\"]" + link + "}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadAgent(file)
}

func TestMeteredLink(t *testing.T) {
	c, err := readLinks(t, "uplink: {full_share: 10%}\n", ", congestion: bbr, meter: {lanes: [critical, live], per_day: 500MB}")
	if err != nil {
		t.Fatal(err)
	}
	m := c.Links[0].Meter
	if m.PerDay != 500e6 || !slices.Equal(m.LaneList(), []wire.Lane{wire.LaneCritical, wire.LaneLive}) || c.Links[0].Congestion != "bbr" || c.Uplink.FullShare != 10 {
		t.Errorf("got %+v of %+v and %+v", m, c.Links[0], c.Uplink)
	}
	if c, err = readLinks(t, "", ""); err != nil {
		t.Fatal(err)
	}
	if c.Uplink.FullShare != 5 || c.Links[0].Meter.LaneList() != nil {
		t.Errorf("defaults: %+v, %+v", c.Uplink, c.Links[0])
	}
}

func TestFaultsOfLinks(t *testing.T) {
	tests := []struct{ name, uplink, link, fault string }{
		{"a meter without a limit", "", ", meter: {}", "limits nothing"},
		{"no lane", "", ", meter: {lanes: [fast]}", "no lane"},
		{"a budget without a unit", "", ", meter: {per_day: 500}", "no unit"},
		{"congestion control", "", ", congestion: vegas", "not known"},
		{"a share without a unit", "uplink: {full_share: 5}\n", "", "no unit"},
		{"no share", "uplink: {full_share: 0%}\n", "", "1% to 50%"},
		{"too much", "uplink: {full_share: 51%}\n", "", "1% to 50%"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := readLinks(t, tt.uplink, tt.link); err == nil || !strings.Contains(err.Error(), tt.fault) {
				t.Errorf("got %v, want a fault about %q", err, tt.fault)
			}
		})
	}
}
