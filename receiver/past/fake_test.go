package past_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"telemetry/receiver/archive"
	"telemetry/receiver/past"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/sequence/columns/columnstest"
	"telemetry/wire"
)

// utc is a time of the recording.
func utc(s float64) int64 { return columnstest.UTC + int64(s*1e9) }

// memory is an archive of rows in memory.
type memory struct {
	groups   []wire.Group
	batches  []*sequence.Batch // one row each, in order of time
	sessions []archive.Session
	gaps     []archive.Gap
	err      error         // of every reading
	breakAt  int           // rows after which err comes; 0: at once
	block    chan struct{} // a reading waits for it before its first row; nil: it does not
	reads    atomic.Int32
	ended    atomic.Int32
}

// row adds a row of a group: raw values by channel, NaN-boxed absent values are not
// needed here.
func (m *memory) row(group int, at float64, raw ...int64) {
	b := columnstest.Batch()
	b.Events = nil
	b.ID.Seq = uint64(len(m.batches) + 1)
	b.Hash = wire.CatalogueHash{byte(len(m.groups)), 7}
	b.Catalogue = &wire.Catalogue{Car: "gt3-7", Groups: m.groups}
	blk := wire.Block{Group: uint32(group), Ticks: []int64{int64(at * 1e9)}}
	for i, v := range raw {
		blk.Columns = append(blk.Columns, wire.Column{Type: m.groups[group].Channels[i].Type, Values: []int64{v}})
	}
	b.Blocks = []wire.Block{blk}
	m.batches = append(m.batches, b)
}

func (m *memory) Read(ctx context.Context, q archive.Query, fn func(*archive.Rows) error, progress archive.Progress) (archive.Report, error) {
	m.reads.Add(1)
	defer m.ended.Add(1)
	rep := archive.Report{Gaps: m.gaps}
	if m.block != nil {
		select {
		case <-m.block:
		case <-ctx.Done():
			return rep, ctx.Err()
		}
	}
	r := columns.NewReader(q.Take)
	for i, b := range m.batches {
		if ctx.Err() != nil {
			return rep, ctx.Err()
		}
		if m.err != nil && i >= m.breakAt {
			return rep, m.err
		}
		if progress != nil {
			progress(int64(i), int64(len(m.batches)))
		}
		at := b.Blocks[0].Ticks[0] + columnstest.UTC
		if at < q.FromNS || at >= q.ToNS {
			continue
		}
		_, err := r.Read(b, func(t *columns.Table) error {
			return fn(&archive.Rows{Table: t, ID: b.ID, Car: q.Car, AtNS: at})
		})
		if errors.Is(err, archive.ErrStop) {
			return rep, nil
		}
		if err != nil {
			return rep, err
		}
	}
	if m.err != nil {
		return rep, m.err
	}
	return rep, nil
}

func (m *memory) Sessions(context.Context, string) ([]archive.Session, error) { return m.sessions, nil }

func (m *memory) Span(_ context.Context, _, what string) (int64, int64, error) {
	for i := range m.sessions {
		s := &m.sessions[i]
		if s.ID == what {
			return s.StartNS, s.EndNS, nil
		}
		for _, l := range s.Laps {
			if what == s.ID+"/"+string(rune('0'+l.N)) {
				return l.StartNS, l.EndNS, nil
			}
		}
	}
	return 0, 0, archive.ErrUnknown
}

// serve returns a server over an archive.
func serve(t testing.TB, opt past.Options) *httptest.Server {
	t.Helper()
	opt.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	s := httptest.NewServer(past.New(ctx, opt))
	t.Cleanup(func() { cancel(); s.Close() })
	return s
}

// get asks and returns status and body.
func get(t testing.TB, s *httptest.Server, path string) (int, string) {
	t.Helper()
	return do(t, s, http.MethodGet, path, "")
}

// asked is a table of requests about the car, and what is in their answers.
type asked []struct {
	name, path string
	code       int
	want       string
}

func (a asked) check(t *testing.T, s *httptest.Server) {
	t.Helper()
	for _, c := range a {
		t.Run(c.name, func(t *testing.T) {
			if code, body := get(t, s, "cars/gt3-7/"+c.path); code != c.code || !strings.Contains(body, c.want) {
				t.Errorf("%d %s", code, body)
			}
		})
	}
}

func do(t testing.TB, s *httptest.Server, method, path, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, s.URL+"/api/v1/"+path, strings.NewReader(body))
	check(t, err)
	resp, err := s.Client().Do(req)
	check(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(t, err)
	return resp.StatusCode, string(b)
}

// answer asks and parses JSON.
func answer[T any](t testing.TB, s *httptest.Server, path string) T {
	t.Helper()
	code, body := get(t, s, path)
	if code != http.StatusOK {
		t.Fatalf("%s: %d %s", path, code, body)
	}
	var v T
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Fatalf("%s: %v in %.300s", path, err, body)
	}
	return v
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func f64(x float64) int64 { return int64(math.Float64bits(x)) }

// The track: length in m, and how the pace changes over it.
const (
	track = 5000.0
	sway  = 0.3
	step  = 0.5 // m, of an odometer that counts in them
)

// place is how far the car is at a share of the lap's time, m.
func place(share float64) float64 {
	return track * (share + sway*math.Sin(2*math.Pi*share)/(2*math.Pi))
}

// Times of the two laps, s.
const (
	startA, timeA = 100.0, 90.0
	startB, timeB = 190.0, 92.0
)

// tour is a car that drives two laps: Engine at 100 Hz, gnss at 10 Hz, odo at 20 Hz.
// with takes the groups that tell the distance: s, g, d, or q for a d that counts in steps; hole leaves out of Engine
// the times [from, to).
func tour(with string, speedUnit string, factor float64, hole [2]float64) *memory {
	m := &memory{groups: []wire.Group{
		{Name: "Engine", Channels: []wire.Channel{
			{Name: "rpm", Unit: "1/min", Type: wire.TypeF64},
			{Name: "gear", Type: wire.TypeInt, Enum: []wire.EnumValue{{Raw: 1, Name: "first"}}},
		}},
		{Name: "Chassis", Channels: []wire.Channel{{Name: "speed", Unit: speedUnit, Type: wire.TypeF64}}},
		{Name: "gnss", Channels: []wire.Channel{{Name: "gnss_latitude", Unit: "deg", Type: wire.TypeF64}, {Name: "gnss_longitude", Unit: "deg", Type: wire.TypeF64}}},
		{Name: "odo", Channels: []wire.Channel{{Name: "Lap_Distance", Unit: "m", Type: wire.TypeF64}}},
	}}
	for i := range int((timeA + timeB) * 100) {
		at := startA + float64(i)/100 + 0.003
		start, lap := startA, timeA
		if at >= startB {
			start, lap = startB, timeB
		}
		share := (at - start) / lap
		v := track / lap * (1 + sway*math.Cos(2*math.Pi*share))
		if at < hole[0] || at >= hole[1] {
			m.row(0, at, f64(1000+100*share), int64(1+int(share*5)))
		}
		if strings.Contains(with, "s") {
			m.row(1, at, f64(v/factor))
		}
		if strings.Contains(with, "g") && i%10 == 0 { // a circle
			r := track / (2 * math.Pi) / 6_371_008.8 * 180 / math.Pi
			a := place(share) / track * 2 * math.Pi
			m.row(2, at, f64(48+r*math.Sin(a)), f64(11+r*math.Cos(a)/math.Cos(48*math.Pi/180)))
		}
		if strings.Contains(with, "d") && i%5 == 0 {
			m.row(3, at, f64(place(share)))
		}
		if strings.Contains(with, "q") { // counts in steps
			m.row(3, at, f64(math.Floor(place(share)/step+0.5)*step))
		}
	}
	lap := func(n int, from, length float64, complete bool) archive.Lap {
		return archive.Lap{N: n, StartNS: utc(from), EndNS: utc(from + length), TimeNS: int64(length * 1e9), Complete: complete}
	}
	m.sessions = []archive.Session{{
		ID: "Q1", Name: "qualifying", State: "stopped", Car: "gt3-7", StartNS: utc(startA), EndNS: utc(startB + timeB), UntilNS: utc(startB + timeB),
		Laps:  []archive.Lap{lap(1, startA, timeA, true), lap(2, startB, timeB, true), lap(3, startB, 40, false)},
		Marks: []archive.Mark{{N: 1, AtNS: utc(120), Text: "box"}},
	}}
	return m
}
