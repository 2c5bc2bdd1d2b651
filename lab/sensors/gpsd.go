package sensors

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"time"

	"telemetry/internal/clock"
	"telemetry/sensors"
	"telemetry/sensors/gnss"
	"telemetry/wire"
)

// Agreement is how a source's fixes compare with gpsd's of the same bytes.
type Agreement struct {
	File      string  `json:"file"`
	Fixes     int     `json:"fixes"`      // ours with time and position
	Foreign   int     `json:"gpsd_fixes"` // gpsd's, repeated reports of an instant counted once
	Equal     int     `json:"equal"`      // both, same time to 1 ms and same position as one of gpsd's to 2e-9 degrees
	Differing int     `json:"differing"`  // same time, another position
	Missing   int     `json:"missing"`    // gpsd's alone
	Extra     int     `json:"extra"`      // ours alone
	WorstDeg  float64 `json:"worst_deg"`  // largest difference of a coordinate at the same time
	FirstOff  string  `json:"first_difference,omitempty"`
}

// place is a position in 1e-9 degrees.
type place struct{ lat, lon int64 }

// off returns how far p is from the nearest of others.
func (p place) off(others []place) int64 {
	least := int64(math.MaxInt64)
	for _, o := range others {
		least = min(least, max(abs(p.lat-o.lat), abs(p.lon-o.lon)))
	}
	return least
}

// toleranceNano is how far decimal roundings may be apart.
const toleranceNano = 2

// CompareGPSD decodes a recorded stream with a source of package gnss and with
// gpsdecode, and compares times and positions.
func CompareGPSD(ctx context.Context, file string) (*Agreement, error) {
	raw, err := readAll(file)
	if err != nil {
		return nil, err
	}
	theirs, err := decodeGPSD(ctx, raw)
	if err != nil {
		return nil, err
	}
	return compare(ctx, file, theirs)
}

// CompareReports is [CompareGPSD] with reports that gpsd has made before.
func CompareReports(ctx context.Context, file, reports string) (*Agreement, error) {
	raw, err := readAll(reports)
	if err != nil {
		return nil, err
	}
	theirs, err := parseTPV(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return compare(ctx, file, theirs)
}

func compare(ctx context.Context, file string, theirs map[int64][]place) (*Agreement, error) {
	ours, err := decodeOurs(ctx, file)
	if err != nil {
		return nil, err
	}
	a := &Agreement{File: file, Fixes: len(ours), Foreign: len(theirs)}
	for ms, want := range theirs {
		got, ok := ours[ms]
		if !ok {
			a.Missing++
			a.note("gpsd alone has %s", ms)
			continue
		}
		d := got.off(want)
		a.WorstDeg = math.Max(a.WorstDeg, float64(d)/1e9)
		if d > toleranceNano {
			a.Differing++
			a.note("at %s %v, gpsd %v", ms, got, want)
			continue
		}
		a.Equal++
	}
	for ms := range ours {
		if _, ok := theirs[ms]; !ok {
			a.Extra++
		}
	}
	return a, nil
}

func (a *Agreement) note(format string, ms int64, args ...any) {
	if a.FirstOff == "" {
		a.FirstOff = fmt.Sprintf(format, append([]any{time.UnixMilli(ms).UTC().Format(time.RFC3339Nano)}, args...)...)
	}
}

func abs(v int64) int64 { return max(v, -v) }

func readAll(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if !strings.HasSuffix(file, ".gz") {
		return io.ReadAll(f)
	}
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// fixSink keeps fixes by their time in ms.
type fixSink struct {
	col    map[string]int
	places map[int64]place
}

func (s *fixSink) Append(r sensors.Rows) error {
	at := func(name string) (int64, bool) {
		i := s.col[name]
		return r.Values[i], sensors.Bit(r.Present, i)
	}
	utc, ok1 := at("gnss_utc")
	lat, ok2 := at("gnss_lat")
	lon, ok3 := at("gnss_lon")
	if ok1 && ok2 && ok3 {
		s.places[(utc+500_000)/1e6] = place{lat, lon}
	}
	return nil
}

func (s *fixSink) Event(wire.Event) error { return nil }

type systemClock struct{ clock.System }

func (c systemClock) Pair() (bootNS, utcNS int64) {
	r := c.Compare()
	return r.BootNS, r.UTCNS
}

func decodeOurs(ctx context.Context, file string) (map[int64]place, error) {
	src, err := gnss.New(gnss.Config{File: file, Unpaced: true, Clock: systemClock{}})
	if err != nil {
		return nil, err
	}
	sink := &fixSink{col: map[string]int{}, places: map[int64]place{}}
	for i, c := range src.Groups()[0].Channels {
		sink.col[c.Name] = i
	}
	return sink.places, src.Run(ctx, sink)
}

// ErrNoGPSD is returned when gpsdecode is not installed.
var ErrNoGPSD = errors.New("gpsdecode is not installed (package gpsd-clients)")

func decodeGPSD(ctx context.Context, raw []byte) (map[int64][]place, error) {
	path, err := exec.LookPath("gpsdecode")
	if err != nil {
		return nil, ErrNoGPSD
	}
	cmd := exec.CommandContext(ctx, path)
	cmd.Stdin = bytes.NewReader(raw)
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("gpsdecode: %w", err)
	}
	return parseTPV(bytes.NewReader(out))
}

// parseTPV reads gpsd's reports, one JSON object a line: the positions of each
// instant, by its time in ms. There are several where a receiver speaks two protocols
// that have not the same digits.
func parseTPV(r io.Reader) (map[int64][]place, error) {
	places := map[int64][]place{}
	d := json.NewDecoder(r)
	for {
		var tpv struct {
			Class string       `json:"class"`
			Time  time.Time    `json:"time"`
			Lat   *json.Number `json:"lat"`
			Lon   *json.Number `json:"lon"`
		}
		if err := d.Decode(&tpv); errors.Is(err, io.EOF) {
			return places, nil
		} else if err != nil {
			return nil, fmt.Errorf("gpsd report: %w", err)
		}
		if tpv.Class != "TPV" || tpv.Lat == nil || tpv.Lon == nil || tpv.Time.IsZero() {
			continue
		}
		lat, err1 := tpv.Lat.Float64()
		lon, err2 := tpv.Lon.Float64()
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("gpsd report: %w", err)
		}
		ms := tpv.Time.UnixMilli()
		places[ms] = append(places[ms], place{int64(math.Round(lat * 1e9)), int64(math.Round(lon * 1e9))})
	}
}
