package live

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"telemetry/receiver/sequence"
	"telemetry/wire"
)

// While no clock is known, a chart has the rows as far apart as they were, and the
// last value has the time of arrival.
func TestChartsWithoutAClock(t *testing.T) {
	s := quietStore()
	at := func(logMS, bootMS int64, v int) {
		text := rowText("c", "full", logMS, fmt.Sprintf(`,"rpm":%d`, v))
		text = strings.Replace(text, `"clock":"synced"`, `"clock":"unsynced"`, 1)
		put(t, s, inOrder, logMS, atBoot(text, bootMS*1e6))
	}
	at(day, 500, 1)
	plots := []plot{{id: 0}}
	var p chartPage
	frame(t, s, plots, 1, 1500, day+500, true, &p)
	for i := range int64(100) { // one batch: one time in the log
		at(day+150, 501+i, 2)
	}
	at(day+2000, 650, 3) // late on its way: it moves nothing
	frame(t, s, plots, 1, 1500, day+500, false, &p)
	for _, ms := range []int64{1, 60, 100, 149, 150} {
		want, there := 2.0, ms != 149
		if ms == 150 {
			want = 3
		}
		if got, ok := p.steps[0][day+ms]; ok != there || ok && got != [2]float64{want, want} {
			t.Errorf("after %d ms: %v, %v", ms, got, ok)
		}
	}
	values, _, _ := s.changed("c", []int{0}, 0)
	if len(values) != 1 || values[0][2] != float64(day+2000) || values[0][4] != 0 {
		t.Errorf("last value %v", values)
	}
	at(day+2100, 3000, 4) // much sooner than guessed: there was a delay before
	if k := s.cars["c"].clock; k.guess != (day-900)*1e6 {
		t.Errorf("guess %d ms", k.guess/1e6-day)
	}
	put(t, s, inOrder, day+3000, atBoot(rowText("c", "full", day+2900, `,"rpm":5`), 2900e6))
	if utc, synced := s.cars["c"].clock.at(3000e6, day+9000); utc != (day+3000)*1e6 || !synced {
		t.Errorf("with a clock: %d ms, %v", utc/1e6-day, synced)
	}
}

func TestSessionsAreReadFromTheirBeginning(t *testing.T) {
	log := newLog()
	name := log.Names().Sessions
	log.add(name, says("Q1", "session_start", 0, `,"state":"running","name":"first"`))
	for i := range tailRecords + 500 {
		log.add(name, says("Q1", "session_mark", int64(i), fmt.Sprintf(`,"mark":%d`, i%maxSessionMarks)))
	}
	s := start(t, Options{Source: log})
	eventually(t, "the session is known", func() bool {
		code, body := get(t, s, "/api/v1/cars/c/laps")
		return code == 200 && strings.Contains(body, `"name":"first"`)
	})
	if at := log.follows(name); len(at) != 1 || at[0] != 0 {
		t.Errorf("read from %v", at)
	}
	if code, body := get(t, s, "/api/v1/cars/d/laps"); code != 404 {
		t.Errorf("of no car: %d %s", code, body)
	}
	if code, body := get(t, s, "/api/v1/cars/d/track"); code != 404 {
		t.Errorf("of no car: %d %s", code, body)
	}
}

func TestCataloguesAreAskedForOnce(t *testing.T) {
	cat := &wire.Catalogue{Car: "c"}
	source := &asked{catalogues: catalogues{cat.Hash(): cat.Append(nil)}}
	k := NewKnownCatalogues(source)
	for range 1000 {
		if k.Of(t.Context(), cat.Hash()) == nil || k.Of(t.Context(), wire.CatalogueHash{9}) != nil {
			t.Fatal("a catalogue is lost, or made of nothing")
		}
	}
	if source.n > 100 {
		t.Errorf("asked %d times", source.n)
	}
	if NewKnownCatalogues(nil).Of(t.Context(), cat.Hash()) != nil {
		t.Error("a catalogue of nobody")
	}
	for i := range 2 * maxKnownCatalogues {
		k.Of(t.Context(), wire.CatalogueHash{1, byte(i), byte(i >> 8)})
	}
	if len(k.unknown) > maxKnownCatalogues {
		t.Errorf("%d unknown ones are remembered", len(k.unknown))
	}
}

// asked counts how often it is asked.
type asked struct {
	catalogues
	n int
}

func (a *asked) Get(ctx context.Context, h wire.CatalogueHash) ([]byte, bool, error) {
	a.n++
	return a.catalogues.Get(ctx, h)
}

// BenchmarkArrivals is one second of 50 channels at 1,500 Hz, in ten batches, as they
// arrive at ingest, all of them charted.
func BenchmarkArrivals(b *testing.B) {
	cat := &wire.Catalogue{Car: "c", Groups: []wire.Group{{Name: "fast", Lane: wire.LaneFull}}}
	block := wire.Block{}
	for i := range 50 {
		cat.Groups[0].Channels = append(cat.Groups[0].Channels, wire.Channel{Name: fmt.Sprint("v", i), Type: wire.TypeInt, Scale: 0.01})
		col := wire.Column{Type: wire.TypeInt}
		for k := range int64(150) {
			col.Values = append(col.Values, k*k%977)
		}
		block.Columns = append(block.Columns, col)
	}
	for k := range int64(150) {
		block.Ticks = append(block.Ticks, k*1e9/1500)
	}
	s := bareServer()
	a := s.Arrivals()
	batch := &sequence.Batch{ID: wire.ID{Stream: wire.Stream{Car: "c", Epoch: epoch3, Lane: wire.LaneFull}}, Hash: cat.Hash(), Catalogue: cat, Blocks: []wire.Block{block}}
	b.ReportAllocs()
	for b.Loop() {
		for range 10 {
			batch.ID.Seq++
			if err := a.Show(batch); err != nil {
				b.Fatal(err)
			}
			for k := range block.Ticks {
				block.Ticks[k] += 1e8
			}
		}
		for i := range 50 {
			s.store.chart(s.store.cars["c"].channels[i], 1)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1e6, "cores")
}
