package live

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"testing"

	"telemetry/receiver/live/strip"
	"telemetry/wire"
)

func TestParseRow(t *testing.T) {
	cases := []struct {
		name, in string
		bad      bool
		fields   int
	}{
		{"a row", rowText("c", "full", 5, `,"rpm":1.5e3,"gear":-1`), false, 2},
		{"text and null are no values", rowText("c", "full", 5, `,"a":"x","b":null,"c":1`), false, 1},
		{"a comma, colon and brace in a name", rowText("c", "full", 5, `,"a,b":1,"c:}{\"":2`), false, 2},
		{"empty", ``, true, 0},
		{"no object", `[1]`, true, 0},
		{"no car", `{"lane":"full","a":1}`, true, 0},
		{"cut off", rowText("c", "full", 5, `,"a":1`)[:180], true, 0},
		{"an open string", `{"car":"c","lane":"full","a\"}`, true, 0},
		{"no number", rowText("c", "full", 5, `,"a":12x`), true, 0},
		{"a nested object", rowText("c", "full", 5, `,"a":{"b":1}`), true, 0},
		{"a comma at the end", `{"car":"c","lane":"full",}`, true, 0},
		{"time is text", `{"car":"c","lane":"full","ts_ns":"x"}`, true, 0},
		{"too many values", rowText("c", "full", 5, strings.Repeat(`,"a":1`, maxRowFields+1)), true, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var r row
			err := parseRow([]byte(c.in), &r)
			if (err != nil) != c.bad || err == nil && len(r.fields) != c.fields {
				t.Fatalf("error %v, %d fields", err, len(r.fields))
			}
			if err == nil && (string(r.car) != "c" || string(r.lane) != "full" || r.tsNS != 5*1e6 || !r.synced || !r.first || r.seq != 9) {
				t.Errorf("head: %+v", r)
			}
		})
	}
}

func TestParseNumberAgreesWithStrconv(t *testing.T) {
	for _, c := range []string{
		"0", "-0", "7", "-7", "0.1", "-12.345", "1e3", "-2.5E-7", "9007199254740993", "9007199254740991", "123456789.123456", "0.30000000000000004",
		"18446744073709551615", "1234567890123456", "0.00000000000001", "900719925474099.3", "", "-", ".", "-.", "1.", ".5", "1.2.3", "1-2", "x", "1e999",
	} {
		want, err := strconv.ParseFloat(c, 64)
		if got, ok := parseNumber([]byte(c)); ok != (err == nil) || ok && got != want {
			t.Errorf("%q: got %v %v, want %v %v", c, got, ok, want, err)
		}
	}
}

func FuzzParseRow(f *testing.F) {
	f.Add([]byte(rowText("c", "full", 5, `,"rpm":1,"x\"y":-2e5`)))
	f.Add([]byte(`{"car":"c\\","lane":"`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r row
		if parseRow(b, &r) != nil {
			return
		}
		s := newStore(func(wire.CatalogueHash) bool { return true })
		s.apply(&r, origin{hash: wire.CatalogueHash{1}, nowMS: 1e12, fresh: true})
		if n := len(s.list()); n > 1 {
			t.Errorf("%d cars of one row", n)
		}
	})
}

// put applies one row to a store.
func put(t *testing.T, s *store, to sink, nowMS int64, text string) {
	t.Helper()
	var r row
	if err := parseRow([]byte(text), &r); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	s.apply(&r, origin{to: to, nowMS: nowMS, fresh: true})
}

func quietStore() *store { return newStore(func(wire.CatalogueHash) bool { return false }) }

func TestNewestValueIsShown(t *testing.T) {
	const now = int64(1_800_000_000_000)
	s := quietStore()
	put(t, s, inOrder, now, rowText("c", "live", now-100, `,"rpm":1`))
	put(t, s, inOrder, now, rowText("c", "full", now-60_000, `,"rpm":2`)) // backlog
	values, version, ok := s.changed("c", []int{0, 7}, 0)
	if !ok || len(values) != 1 || values[0] != (Value{0, 1, float64(now - 100), float64(wire.LaneLive), 1}) {
		t.Fatalf("after a backlog row: %v", values)
	}
	put(t, s, inOrder, now, rowText("c", "full", now-50, `,"rpm":3`))
	if values, version, _ = s.changed("c", []int{0}, version); len(values) != 1 || values[0][1] != 3 || values[0][3] != float64(wire.LaneFull) {
		t.Fatalf("a newer full row: %v", values)
	}
	if values, _, _ = s.changed("c", []int{0}, version); len(values) != 0 {
		t.Errorf("nothing new, got %v", values)
	}
	// A clock that is years ahead must not hide what comes after it.
	put(t, s, inOrder, now, rowText("c", "full", now+1e11, `,"rpm":4`))
	put(t, s, inOrder, now+10, rowText("c", "full", now+5, `,"rpm":5`))
	if values, _, _ = s.changed("c", []int{0}, version); values[0][1] != 5 {
		t.Errorf("after a wrong clock: %v", values)
	}
}

func TestLateAndGapsAreCounted(t *testing.T) {
	const now = int64(1_800_000_000_000)
	s := quietStore()
	put(t, s, late, now, rowText("c", "full", now-90_000, `,"rpm":1`))
	put(t, s, late, now, strings.Replace(rowText("c", "full", now-90_000, `,"rpm":1`), `"1/2"`, `"2/2"`, 1))
	s.gap(&gapRow{Car: "c", Lane: "full", First: 3, Last: 9, Count: 7, Change: "settled", Reason: "quota"}, now, true)
	s.gap(&gapRow{Car: "c", Lane: "full", First: 4, Last: 5, Count: 2, Change: "withdrawn", Reason: "none"}, now, true)
	s.gap(&gapRow{Car: "c", Lane: "full", First: 1, Last: 2, Count: 2, Change: "settled", Reason: "quota"}, now, false)
	d, ok := s.detail("c", now)
	if !ok || d.Lanes[2].Lane != "full" || d.Lanes[2].Late != 1 || d.Lanes[2].Missing != 5 {
		t.Fatalf("got %+v", d.Lanes)
	}
	if len(d.Events) != 3 || d.Events[2].Text != "full #3…9 settled: quota" {
		t.Errorf("events: %+v", d.Events)
	}
	if d.Channels != 0 {
		t.Errorf("a late row is no last value: %d channels", d.Channels)
	}
}

func TestChannelsAreFoundAndSorted(t *testing.T) {
	s := quietStore()
	put(t, s, inOrder, 1e12, rowText("c", "full", 1e11, `,"ch10":1,"ch9":2,"Rpm":3,"ch009":4`))
	var names []string
	total, found, ok := s.find("c", "", 0, 10)
	for _, c := range found {
		names = append(names, c.Name)
	}
	if got := strings.Join(names, " "); !ok || total != 4 || got != "ch9 ch009 ch10 Rpm" {
		t.Errorf("got %s", got)
	}
	if total, found, _ = s.find("c", "CH engine", 1, 1); total != 3 || len(found) != 1 || found[0].Name != "ch009" {
		t.Errorf("second of a search: %d %v", total, found)
	}
	if _, _, ok = s.find("d", "", 0, 10); ok {
		t.Error("an unknown car was found")
	}
}

func TestDegreesAreFoundAsThePageWritesThem(t *testing.T) {
	s := quietStore()
	put(t, s, inOrder, 1e12, rowText("c", "full", 1e11, `,"oil":1,"yaw":2,"rpm":3`))
	s.describe(wire.CatalogueHash{1}, &wire.Catalogue{Car: "c", Groups: []wire.Group{{Name: "engine", Channels: []wire.Channel{{Name: "oil", Unit: "degC"}, {Name: "yaw", Unit: "deg/s"}, {Name: "rpm", Unit: "1/min"}}}}})
	for query, want := range map[string]string{"°C": "oil", "degc": "oil", "°/s": "yaw", "deg/s": "yaw", "°": "oil yaw", "1/min": "rpm"} {
		_, found, _ := s.find("c", query, 0, 10)
		var names []string
		for _, c := range found {
			names = append(names, c.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// What somebody types is more often a name, or how one of its words begins, than a part
// of a word.
func TestTheBestFitIsFoundFirst(t *testing.T) {
	s := quietStore()
	put(t, s, inOrder, 1e12, rowText("c", "full", 1e11, `,"a_speedy":1,"brake_temp":2,"gnss.speed":3,"Speed":4,"speed_fl":5,"state":6,"temp":7,"wheelspeed":8`))
	for _, c := range []struct {
		query         string
		offset, limit int
		want          string
		total         int
	}{
		{"speed", 0, 10, "Speed speed_fl a_speedy gnss.speed wheelspeed", 5},
		{" SPEED ", 0, 2, "Speed speed_fl", 5},
		{"speed", 1, 2, "speed_fl a_speedy", 5},
		{"speed", 4, 2, "wheelspeed", 5},
		{"speed", 5, 2, "", 5},
		{"te", 0, 10, "temp brake_temp state", 3},
		{"temp engine", 0, 1, "temp", 2},
		{"nothing", 0, 10, "", 0},
	} {
		total, found, _ := s.find("c", c.query, c.offset, c.limit)
		var names []string
		for _, ch := range found {
			names = append(names, ch.Name)
		}
		if got := strings.Join(names, " "); got != c.want || total != c.total {
			t.Errorf("%q from %d, %d: %d %q, want %d %q", c.query, c.offset, c.limit, total, got, c.total, c.want)
		}
	}
}

func TestLimits(t *testing.T) {
	const now = int64(1e12)
	s := quietStore()
	for i := range MaxCars + 3 {
		put(t, s, inOrder, now, rowText(fmt.Sprintf("car-%d", i), "full", now, `,"a":1`))
	}
	if n := s.counters(); n.CarsDropped != 3 || len(s.list()) != MaxCars || !s.full() {
		t.Errorf("cars: %+v, %d listed", n, len(s.list()))
	}
	put(t, s, inOrder, now+forgetCarMS, rowText("new", "full", now, `,"a":1`))
	if _, ok := s.detail("new", now); !ok || len(s.list()) != MaxCars {
		t.Error("a silent car did not make room")
	}
	for i := 0; i < MaxCarChannels+100; i += 1000 {
		var b strings.Builder
		for k := range 1000 {
			fmt.Fprintf(&b, `,"c%d":1`, i+k)
		}
		put(t, s, inOrder, now+forgetCarMS, rowText("new", "full", now, b.String()))
	}
	d, _ := s.detail("new", now)
	if n := s.counters(); d.Channels != MaxCarChannels || n.ChannelsDropped == 0 {
		t.Errorf("%d channels, %d dropped", d.Channels, n.ChannelsDropped)
	}
	if s.histories > maxHistories {
		t.Errorf("%d histories", s.histories)
	}
}

func TestHistoryKeepsLeastAndGreatest(t *testing.T) {
	var h history
	for i := range int64(2000) { // 200 s at 10 Hz, two values per step
		h.add(1e9+i*100, float64(i))
		h.add(1e9+i*100+50, float64(-i))
	}
	h.add(1e9, 1e9) // far older than the chart
	got := h.since(0)
	if len(got) != bins || got[0] != (Bin{(1e9 + 1400*100) / 100, -1400, 1400}) || got[bins-1][2] != 1999 {
		t.Fatalf("%d bins, first %v, last %v", len(got), got[0], got[len(got)-1])
	}
	if tail := h.since(int64(got[bins-1][0])); len(tail) != 1 {
		t.Errorf("tail: %v", tail)
	}
}

// What a strip is told of a history, in steps of a width: all that was added, at its
// place, as finely as it is known.
func TestAChartBeginsWithFineSteps(t *testing.T) {
	const from, end = day, day + 30_000
	cases := []struct {
		name   string
		every  int64 // ms between two values
		step   int64
		fineMS int64 // before the end; what is older is known in steps of 100 ms
	}{
		{"200 Hz in steps of 10 ms", 5, 10, fineBins * fineMS},
		{"200 Hz in steps of 5 ms", 5, 5, fineBins * fineMS},
		{"50 Hz in steps of 20 ms", 20, 20, fineBins * fineMS},
		{"10 Hz in steps of 20 ms", 100, 20, 0},
		{"1 Hz in steps of 20 ms", 1000, 20, 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var h history
			var st strip.Strip
			for ms := int64(from); ms < end; ms += c.every {
				h.add(ms, float64(ms-from))
			}
			h.add(end-4500, -1) // late
			h.fill(&st)
			runs, _ := st.Read(nil, nil, c.step, from/c.step, end/c.step, nil)
			least, n := map[int64]float64{}, 0
			for _, r := range runs {
				for i := 0; i < len(r.Values); i += 2 {
					if r.Values[i] == r.Values[i] {
						least[(r.First+int64(i/2))*c.step] = r.Values[i]
						n++
					}
				}
			}
			width := max(c.step, fineMS) // of what is known best
			fineFrom := (end - c.fineMS + StepMS) / StepMS * StepMS
			want := (min(fineFrom, int64(end))-from)/max(StepMS, c.every) + (end-min(fineFrom, end))/max(width, c.every)
			if int64(n) < want-1 || int64(n) > want+1 {
				t.Errorf("%d steps have something, want %d", n, want)
			}
			if v, ok := least[(end-4500+width/2)/c.step*c.step]; c.fineMS > 0 && (!ok || v != -1) {
				t.Errorf("a late value is told as %v, %v", v, ok)
			}
			if c.fineMS == 0 && h.fine != nil && c.every > StepMS {
				t.Error("fine steps are kept of a slow channel")
			}
		})
	}
}

func TestFineStepsOfAClockThatLeaps(t *testing.T) {
	var h history
	var st strip.Strip
	for ms := day; ms < day+1000; ms += 5 {
		h.add(ms, 1)
	}
	h.add(day+9_000_000, 2) // far ahead
	h.add(day+995, 9)       // behind all steps
	h.add(day+9_000_000, math.NaN())
	h.add(day+9_000_000, math.Inf(1))
	h.fill(&st)
	runs, _ := st.Read(nil, nil, 10, day/10, day/10+900_001, nil)
	if len(runs) != 1 || len(runs[0].Values) != 2 || runs[0].Values[1] != 2 {
		t.Errorf("got %+v", runs)
	}
}

func TestHostileNamesAreEscaped(t *testing.T) {
	name := `<img src=x onerror=alert(1)>"'&</script>` + "\u2028"
	quoted, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	s := quietStore()
	put(t, s, inOrder, 1e12, rowText("c", "full", 1e11, `,`+string(quoted)+`:1`))
	_, found, _ := s.find("c", "onerror", 0, 1)
	if len(found) != 1 || found[0].Name != name {
		t.Fatalf("got %+v", found)
	}
	text, err := json.Marshal(found)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(string(text), "<>&\u2028") {
		t.Errorf("markup in %s", text)
	}
}

// wideRow is a row of n channels.
func wideRow(n int) []byte {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `,"channel_%d":%d.25`, i, i)
	}
	return []byte(rowText("c", "full", 1e11, b.String()))
}

func TestRowsCostNoMemory(t *testing.T) {
	s, text := quietStore(), wideRow(200)
	var r row
	take := func() {
		if err := parseRow(text, &r); err != nil {
			t.Fatal(err)
		}
		s.apply(&r, origin{nowMS: 1e12, fresh: true})
	}
	take()
	if n := testing.AllocsPerRun(100, take); n > 0 {
		t.Errorf("%v allocations for a row of known channels", n)
	}
}

func BenchmarkRow(b *testing.B) {
	s, text := quietStore(), wideRow(200)
	var r row
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if err := parseRow(text, &r); err != nil {
			b.Fatal(err)
		}
		s.apply(&r, origin{nowMS: 1e12, fresh: true})
	}
}
