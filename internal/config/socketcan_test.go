package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// readSource reads a configuration with one source.
func readSource(t *testing.T, source string) (*Agent, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "a.yaml")
	text := "version: 1\ncar: car-7\nspool: {dir: spool}\nsources:\n  - {name: bus, " + source + "}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return ReadAgent(file)
}

func TestSocketcan(t *testing.T) {
	c, err := readSource(t, "socketcan: {dbc: a.dbc}")
	if err != nil {
		t.Fatal(err)
	}
	got := *c.Sources[0].Socketcan
	if len(got.DBC) != 1 || !filepath.IsAbs(got.DBC[0]) {
		t.Errorf("dbc: %s", got.DBC)
	}
	got.DBC = nil
	if want := (Socketcan{Interface: "can0", ListenOnly: "auto", Filter: "auto", ReceiveBuffer: 4 << 20}); !reflect.DeepEqual(got, want) {
		t.Errorf("defaults: got %+v, want %+v", got, want)
	}
	c, err = readSource(t, "socketcan: {interface: can1, bitrate: 500kbit/s, data_bitrate: 2Mbit/s, restart: 100ms, listen_only: false, filter: none, receive_buffer: 1MiB, raw: true}")
	if err != nil {
		t.Fatal(err)
	}
	want := Socketcan{
		Interface: "can1", Bitrate: 500_000, DataBitrate: 2_000_000, Restart: Duration(100 * time.Millisecond), ListenOnly: "false", Filter: "none",
		ReceiveBuffer: 1 << 20, Raw: true,
	}
	if got := *c.Sources[0].Socketcan; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSocketcanFaults(t *testing.T) {
	for _, tc := range []struct{ name, source, path string }{
		{"nothing to decode with", "socketcan: {interface: can0}", "sources[0].socketcan.dbc"},
		{"unknown filter", "socketcan: {raw: true, filter: some}", "sources[0].socketcan.filter"},
		{"restart of a foreign interface", "socketcan: {raw: true, restart: 1s}", "sources[0].socketcan.restart"},
		{"restart below what the kernel counts in, which would be never", "socketcan: {raw: true, bitrate: 500kbit/s, restart: 500us}", "sources[0].socketcan.restart"},
		{"restart with a part of a millisecond", "socketcan: {raw: true, bitrate: 500kbit/s, restart: 1500us}", "sources[0].socketcan.restart"},
		{"restart beyond the kernel's 32 bits", "socketcan: {raw: true, bitrate: 500kbit/s, restart: 1200h}", "sources[0].socketcan.restart"},
		{"unknown listen mode", "socketcan: {raw: true, listen_only: perhaps}", "sources[0].socketcan.listen_only"},
		{"two kinds", "socketcan: {raw: true}, sim: {}", "sources[0]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := readSource(t, tc.source)
			var faults Faults
			if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Path != tc.path || strings.TrimSpace(faults[0].Message) == "" {
				t.Errorf("got %v, want a fault of %s", err, tc.path)
			}
		})
	}
}

func TestSeveralDatabasesAndChannelRules(t *testing.T) {
	c, err := readSource(t, `socketcan: {dbc: [a.dbc, sub/b.dbc]}, include: "Engine.*", exclude: [crc, "*.crc"], rename: {Engine.rpm: engine_speed},
     channels: [{match: "Brake*", lane: critical, deadband: 0.5}, {match: [a, b], deadband: 0, preview: {rate: 5Hz, statistic: max}}, {match: c, preview: {off: true}}]`)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Sources[0]
	dbc := s.Socketcan.DBC
	if len(dbc) != 2 || filepath.Base(dbc[0]) != "a.dbc" || filepath.Dir(dbc[1]) != filepath.Join(filepath.Dir(dbc[0]), "sub") {
		t.Errorf("dbc: %q", dbc)
	}
	half, zero := Band(0.5), Band(0)
	want := Shape{
		Include: Patterns{"Engine.*"}, Exclude: Patterns{"crc", "*.crc"}, Rename: map[string]string{"Engine.rpm": "engine_speed"},
		Channels: []ChannelRule{
			{Match: Patterns{"Brake*"}, Lane: "critical", Deadband: &half},
			{Match: Patterns{"a", "b"}, Deadband: &zero, Preview: &ChannelPreview{Rate: 5000, Statistic: "max"}},
			{Match: Patterns{"c"}, Preview: &ChannelPreview{Off: true}},
		},
	}
	if !reflect.DeepEqual(s.Shape, want) {
		t.Errorf("got  %+v\nwant %+v", s.Shape, want)
	}
	if got := c.Fault("sources[0].rename.Engine.rpm", "x"); got.Line != 5 || got.Column < 100 {
		t.Errorf("a key with a dot is at %d:%d", got.Line, got.Column)
	}
}

func TestShapeFaults(t *testing.T) {
	for _, tc := range []struct{ name, rules, path, part string }{
		{"no pattern", `exclude: ["a", "[b"]`, "sources[0].exclude[1]", `"[b" is no pattern`},
		{"empty pattern", `include: ""`, "sources[0].include", "is no pattern"},
		{"new name with a line end", `rename: {a: "b\nc"}`, "sources[0].rename.a", "is no name"},
		{"one name for two", `rename: {a: c, b: c}`, "sources[0].rename.b", "is the new name of a too"},
		{"rule for nobody", `channels: [{lane: full}]`, "sources[0].channels[0].match", "is missing"},
		{"rule without words", `channels: [{match: a}]`, "sources[0].channels[0]", "says nothing"},
		{"the live lane", `channels: [{match: a, lane: live}]`, "sources[0].channels[0].lane", "want full or critical"},
		{"negative deadband", `channels: [{match: a, deadband: -1}]`, "sources[0].channels[0].deadband", "want 0, for any change"},
		{"deadband with a unit", `channels: [{match: a, deadband: 1bar}]`, "sources[0].channels[0].deadband", "want a number"},
		{"unknown statistic", `channels: [{match: a, preview: {statistic: median}}]`, "sources[0].channels[0].preview.statistic", "is no statistic"},
		{"preview too fast", `channels: [{match: a, preview: {rate: 2kHz}}]`, "sources[0].channels[0].preview.rate", "out of range"},
		{"preview on and off", `channels: [{match: a, preview: {off: true, rate: 5Hz}}]`, "sources[0].channels[0].preview.off", "stands beside"},
		{"misspelt key", `chanels: []`, "sources[0].chanels", `did you mean "channels"?`},
		{"a file twice", `candump: {file: l, dbc: [a, a]}`, "sources[0].candump.dbc[1]", "named twice"},
		{"a file without a name", `candump: {file: l, dbc: [a, ""]}`, "sources[0].candump.dbc[1]", "is empty"},
		{"files as a mapping", `candump: {file: l, dbc: {a: b}}`, "sources[0].candump.dbc", "want a text, or a list"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rules := tc.rules
			if !strings.Contains(rules, "candump") {
				rules = "sim: {}, " + rules
			}
			_, err := readSource(t, rules)
			var faults Faults
			if !errors.As(err, &faults) || len(faults) != 1 || faults[0].Path != tc.path || !strings.Contains(faults[0].Message, tc.part) || faults[0].Line != 5 || faults[0].Column < 17 {
				t.Errorf("got %v, want %s: %s", err, tc.path, tc.part)
			}
		})
	}
}

func TestPatterns(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b", true}, {"a*", "a/b", true}, {"a/?", "a/b", true}, {"?", "/", true}, {"[a-c]x", "bx", true}, {"a", "ab", false}, {"A", "a", false},
	} {
		if got := (Patterns{"none", tc.pattern}).Match("other", tc.name) == 1; got != tc.want {
			t.Errorf("%q fits %q: %v", tc.pattern, tc.name, got)
		}
	}
}
