package agent

import (
	"log/slog"
	"strings"
	"testing"
	"testing/fstest"
)

const filteredYAML = `sources:
  - name: board
    serial:
      port: /dev/serial/by-id/usb-board
      baud: 1000000
      packets:
        - name: shock
          rate: 1.5kHz
          row: [{name: pot, type: i16, count: 4, scale: 0.01, unit: mm}]
        - name: dash
          head: [{type: u8, is: equal, value: 2}]
          row: [{name: gear, type: u8}, {name: oil, type: i16}]
    channels:
      - {match: "pot_*", low_pass: 50Hz}
      - {match: shock.pot_003, low_pass: 20Hz, deadband: 0.1}
      - {match: [gear, oil], low_pass: 1Hz}
      - {match: pot_001, lane: critical}
`

// TestLowPassOfAChannel: the last rule that has one counts, the channel says what was
// done to it, and what cannot be filtered is named.
func TestLowPassOfAChannel(t *testing.T) {
	a, err := Prepare(configure(t, filteredYAML, map[string]string{}), fstest.MapFS{}, slog.New(slog.DiscardHandler))
	if err != nil || len(a.Faults()) > 0 {
		t.Fatal(err, a.Faults())
	}
	groups := a.sources[0].source.Groups()
	for i, hz := range []string{"50 Hz", "50 Hz", "50 Hz", "20 Hz"} {
		if text := groups[0].Channels[i].Description; !strings.Contains(text, "linear-phase low pass of "+hz) || !strings.Contains(text, "delay 0") {
			t.Errorf("%s: %q", groups[0].Channels[i].Name, text)
		}
	}
	for _, c := range groups[1].Channels {
		if c.Description != "" {
			t.Errorf("%s: %q", c.Name, c.Description)
		}
	}
	w := a.Warnings()
	if len(w) != 1 || w[0].Path != "sources[0].channels[2].low_pass" || !strings.Contains(w[0].Message, "gear") || !strings.Contains(w[0].Message, "rate") {
		t.Errorf("warnings %+v", w)
	}
}
