package config

import (
	"errors"
	"os"
	"path/filepath"
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
	if !filepath.IsAbs(got.DBC) {
		t.Errorf("dbc: %s", got.DBC)
	}
	got.DBC = ""
	if want := (Socketcan{Interface: "can0", ListenOnly: "auto", Filter: "auto", ReceiveBuffer: 4 << 20}); got != want {
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
	if got := *c.Sources[0].Socketcan; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestSocketcanFaults(t *testing.T) {
	for _, tc := range []struct{ name, source, path string }{
		{"nothing to decode with", "socketcan: {interface: can0}", "sources[0].socketcan.dbc"},
		{"unknown filter", "socketcan: {raw: true, filter: some}", "sources[0].socketcan.filter"},
		{"restart of a foreign interface", "socketcan: {raw: true, restart: 1s}", "sources[0].socketcan.restart"},
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
