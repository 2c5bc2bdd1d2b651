package agent

import (
	"log/slog"
	"slices"
	"testing"
	"testing/fstest"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/gnss"
	"telemetry/sensors/poll"
	"telemetry/wire"
)

const deviceYAML = `sources:
  - name: gps
    gnss: {port: /dev/serial/by-id/usb-gps, baud: [115200, 9600], protocol: ubx, rate: 25Hz, latency: 60ms, latency_error: 20ms, pps: pps0, not_before: 2024-01-01}
  - name: board
    serial:
      port: /dev/serial/by-id/usb-board
      baud: 1000000
      packets:
        - name: shock
          rate: 1.5kHz
          tick: 1us
          head: [{type: u8, is: equal, value: 1}, {type: u16, is: sequence}, {type: u32, is: tick}, {type: u8, is: count}]
          row: [{name: pot, type: i16, count: 4, scale: 0.01, unit: mm}, {type: pad}, {name: temp, type: u8, offset: -40, unit: degC}]
  - name: ecu
    udp:
      listen: 0.0.0.0:5600
      group: 239.1.2.3
      streams: [{id: 7, name: fast, rate: 1.5kHz, row: [{name: ch, type: i16, count: 700}]}]
  - name: imu
    imu: {bus: spi0.0, rate: 1.5kHz, accel: 8, low_pass: 250Hz, thread: {realtime: 50}}
  - name: adc
    adc: {chip: ads1115, bus: i2c-1, rate: 100Hz, filter: {oversample: 2}, inputs: [{pin: 0, name: oil, unit: bar, scale: 2.5}]}
session: {track: Spa, start: {a: "50.4370, 5.9710", b: "50.4368, 5.9713", direction: left}, shortest_lap: 90s}
`

func TestDevicesOfAConfiguration(t *testing.T) {
	cfg := configure(t, deviceYAML, map[string]string{})
	a, err := Prepare(cfg, fstest.MapFS{}, slog.New(slog.DiscardHandler))
	if err != nil || len(a.Faults()) > 0 {
		t.Fatal(err, a.Faults())
	}
	byName := map[string]sensors.Source{}
	for _, s := range a.sources {
		byName[s.name] = s.source
	}
	if _, ok := byName["gps"].(*gnss.Source); !ok {
		t.Errorf("gps is %T", byName["gps"])
	}
	if _, ok := byName["imu"].(*poll.Source); !ok {
		t.Errorf("imu is %T", byName["imu"])
	}
	for name, want := range map[string]struct {
		channels int
		rate     uint64
		first    string
	}{
		"gps": {17, 25_000, "gnss_utc"}, "board": {5, 1_500_000, "pot_000"}, "ecu": {700, 1_500_000, "ch_000"},
		"imu": {7, 1_500_000, "imu_accel_x"}, "adc": {1, 100_000, "oil"},
	} {
		g := byName[name].Groups()[0]
		if len(g.Channels) != want.channels || g.RateMilliHz != want.rate || g.Channels[0].Name != want.first {
			t.Errorf("%s: %d channels at %d mHz, first %s, want %+v", name, len(g.Channels), g.RateMilliHz, g.Channels[0].Name, want)
		}
	}
	if s := cfg.Session; s.Track != "Spa" || s.Latitude != "gnss_lat" || s.Start.Direction != "left" || s.Start.A != (config.Position{Lat: 50.437, Lon: 5.971}) {
		t.Errorf("%+v", s)
	}
}

func TestJudgeOfAnchors(t *testing.T) {
	var j anchorJudge
	at := func(bootS, utcS, uncMS int64, s wire.AnchorSource) *wire.Anchor {
		return &wire.Anchor{BootNS: bootS * 1e9, UTCNS: utcS * 1e9, UncertaintyNS: uncMS * 1e6, Source: s}
	}
	var got []uint32
	for _, a := range []*wire.Anchor{
		at(1, 1, 5000, wire.AnchorRTC),              // 1970
		at(40, 1_700_000_040, 150, wire.AnchorGNSS), // the truth
		at(41, 41, 5000, wire.AnchorRTC),            // 1970 still: kept back
		at(50, 1_700_000_050, 10, wire.AnchorNTP),   // set since: agrees
		at(51, 1_700_000_052, 10, wire.AnchorNTP),   // 2 s off: kept back
		at(60, 1_700_000_060, 1, wire.AnchorPPS),
		at(61, 1_700_003_661, 150, wire.AnchorGNSS),  // an hour off, against the pulse
		at(700, 1_700_003_661, 150, wire.AnchorGNSS), // nothing better for ten minutes
	} {
		if j.admit(a) {
			got = append(got, a.ID)
		} else {
			got = append(got, 0)
		}
	}
	if want := []uint32{1, 2, 0, 3, 0, 4, 0, 5}; !slices.Equal(got, want) || j.refused != 3 {
		t.Errorf("got %v with %d kept back, want %v", got, j.refused, want)
	}
}

func TestJitterOfASource(t *testing.T) {
	if jitterOf(broken{}) != nil {
		t.Error("a source that is not polled has jitter")
	}
	j := jitterOf(timed{})
	if j == nil || j.Reads != 100 || j.P50US != 40 || j.P99US != 40 || j.MaxUS != 2000 || len(j.Buckets) != 2 {
		t.Errorf("%+v", j)
	}
}

type timed struct{ broken }

func (timed) Lateness() sensors.Lateness {
	return sensors.Lateness{Count: 100, MaxNS: 2_000_000, Buckets: []sensors.LatenessBucket{{UpToNS: 40_000, Count: 99}, {UpToNS: 2_048_000, Count: 1}}}
}
