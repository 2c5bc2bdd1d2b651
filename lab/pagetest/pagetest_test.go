package pagetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"telemetry/sensors/sim"
)

// someTruth is a second of a car, at UTC = boot + 1e9.
func someTruth(t *testing.T) *Truth {
	t.Helper()
	tr := &Truth{groups: map[string]int{}, rows: map[string]map[int64]int64{}}
	var err error
	if tr.model, err = sim.NewModel(sim.Config{Channels: 40, RateMilliHz: 100_000, Seed: 3}); err != nil {
		t.Fatal(err)
	}
	tr.start = 7_000_000
	for i, g := range tr.model.Groups() {
		tr.groups[g.Name], tr.rows[g.Name] = i, map[int64]int64{}
		for tick := int64(0); tr.model.TickNS(i, tick) < 1e9; tick++ {
			boot := tr.start + tr.model.TickNS(i, tick)
			tr.rows[g.Name][boot+1e9] = boot
		}
	}
	return tr
}

// tables are what a right file holds.
func tables(t *testing.T, tr *Truth, channels []string, from, to int64) []Table {
	t.Helper()
	var out []Table
	for g := range tr.model.Groups() {
		tab := Table{Columns: map[string][]*float64{}}
		for tick := int64(0); tr.model.TickNS(g, tick) < 1e9; tick++ {
			boot := tr.start + tr.model.TickNS(g, tick)
			if ts := boot + 1e9; ts < from || ts >= to {
				continue
			}
			tab.TSNS, tab.BootNS = append(tab.TSNS, boot+1e9), append(tab.BootNS, boot)
			for _, name := range channels {
				if k, c, ok := tr.find(name); ok && k == g {
					x, _ := tr.value(g, c, boot)
					tab.Columns[name] = append(tab.Columns[name], &x)
				}
			}
		}
		if len(tab.Columns) > 0 {
			out = append(out, tab)
		}
	}
	return out
}

func TestWhatIsTakenHomeIsCompared(t *testing.T) {
	channels := []string{"speed", "gear", "g_lat"}
	const from, to = 1_100_000_000, 1_600_000_000
	one := 1.0
	for _, c := range []struct {
		name   string
		change func([]Table) []Table
		good   bool
	}{
		{"as it was measured", func(l []Table) []Table { return l }, true},
		{"another value", func(l []Table) []Table { l[0].Columns["speed"][3] = &one; return l }, false},
		{"a value is absent", func(l []Table) []Table { l[0].Columns["gear"][0] = nil; return l }, false},
		{"a row is absent", func(l []Table) []Table { return append(l[1:], cut(l[0], 1)) }, false},
		{"a row is double", func(l []Table) []Table { return append(l, l[0]) }, false},
		{"a table is absent", func(l []Table) []Table { return l[1:] }, false},
		{"a channel is absent", func(l []Table) []Table { delete(l[0].Columns, "gear"); return l }, false},
		{"a row of another time", func(l []Table) []Table { l[0].TSNS[2]++; return l }, false},
		{"a row of another boot time", func(l []Table) []Table { l[0].BootNS[2]++; return l }, false},
		{"a channel that the car has not", func(l []Table) []Table { l[0].Columns["ghost"] = l[0].Columns["gear"]; return l }, false},
		{"nothing", func([]Table) []Table { return nil }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := someTruth(t)
			got := tr.Compare(c.change(tables(t, tr, channels, from, to)), channels, from, to)
			if got.good() != c.good || (got.First == "") != c.good {
				t.Errorf("%+v", got)
			}
		})
	}
}

// cut returns a table without its first rows.
func cut(t Table, n int) Table {
	out := Table{TSNS: t.TSNS[n:], BootNS: t.BootNS[n:], Columns: map[string][]*float64{}}
	for name, c := range t.Columns {
		out.Columns[name] = c[n:]
	}
	return out
}

func TestTablesOfTheReader(t *testing.T) {
	got, err := parseTables([]byte(`{"ts_ns":["1","2"],"boot_ns":["3","4"],"columns":{"a":["0x1.8p+1",null]}}` + "\n"))
	if err != nil || len(got) != 1 || *got[0].Columns["a"][0] != 3 || got[0].Columns["a"][1] != nil || got[0].TSNS[1] != 2 || got[0].BootNS[0] != 3 {
		t.Errorf("%+v %v", got, err)
	}
	for _, bad := range []string{
		`{"ts_ns":["x"],"boot_ns":["1"],"columns":{}}` + "\n", `{"ts_ns":["1"],"boot_ns":["1"],"columns":{"a":[]}}` + "\n",
		`{"ts_ns":["1"],"boot_ns":["1"],"columns":{"a":["no"]}}` + "\n", `{` + "\n", `{"ts_ns":[]`,
	} {
		if _, err := parseTables([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestResults(t *testing.T) {
	var out bytes.Buffer
	l := newLedger(&out)
	l.atMost("low", 1, 2, "ms")
	l.atMost("high", 3, 2, "ms")
	l.atLeast("many", 3, 2, "")
	l.atLeast("few", 1, 2, "")
	l.told("told", 7, "x")
	l.check("holds", true, "never said")
	l.check("does not hold", false, "because %d", 5)
	if got := fmt.Sprint(l.failed()); got != "[high few does not hold]" {
		t.Errorf("failed: %s", got)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 7 || !strings.Contains(lines[6], "because 5") || strings.Contains(lines[5], "never") {
		t.Errorf("%s", out.String())
	}
	for _, line := range lines {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil || r["name"] == nil || r["ok"] == nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestProcessorTime(t *testing.T) {
	const stat = "4711 (a (strange) name) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14"
	if got, err := parseStat(stat); err != nil || got != 3*time.Second {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "1 (x) S 1 2", "1 (x) S 1 2 3 4 5 6 7 8 9 10 a b 13"} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestAViewerCountsAndHearsItsPace(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/events" || r.Header.Get("Cookie") != "k=v" || r.URL.Query().Get("car") != "c" {
			http.Error(w, "no", http.StatusTeapot)
			return
		}
		for i := range 5 {
			fmt.Fprintf(w, "event: charts\ndata: {\"n\":%d}\n\n", i)
		}
		fmt.Fprint(w, "event: pace\ndata: {\"level\":3,\"why\":\"slow\"}\n\nevent: pace\ndata: {\"level\":0}\n\n")
	}))
	defer srv.Close()
	for _, perSecond := range []int{0, 20_000} {
		api := &API{base: srv.URL + "/", cookie: "k=v"}
		v, err := api.View(t.Context(), url.Values{"car": {"c"}}, perSecond)
		if err != nil {
			t.Fatal(err)
		}
		<-v.done // the server has ended it
		if level, words := v.Pace(); v.Count("charts") != 5 || level != 3 || words != `{"level":0}` || v.Err() == nil {
			t.Errorf("%d charts, level %d, %s, %v", v.Count("charts"), level, words, v.Err())
		}
		if err := v.Close(); err != nil {
			t.Error(err)
		}
	}
	other := &API{base: srv.URL + "/"}
	v, err := other.View(t.Context(), url.Values{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	<-v.done
	if v.Err() == nil || !strings.Contains(v.Err().Error(), "418") {
		t.Errorf("got %v", v.Err())
	}
	if err := v.Close(); err != nil {
		t.Error(err)
	}
}

func TestTheSuitesCars(t *testing.T) {
	if _, err := fastChannels(speedCar(), speedPlots); err != nil {
		t.Error(err)
	}
	if _, err := fastChannels(wallCar(), 1); err == nil {
		t.Error("the light car has channels at 1,500 Hz")
	}
	m, err := sim.NewModel(wallCar())
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, g := range m.Groups() {
		for _, c := range g.Channels {
			known[c.Name] = true
		}
	}
	for _, name := range append(home(), strings.FieldsFunc(wallPlots, func(r rune) bool { return r == ';' || r == ',' })...) {
		if !known[name] {
			t.Errorf("the car has no channel %s", name)
		}
	}
}

func TestPicturesBecomeSmall(t *testing.T) {
	img := image.NewNRGBA(image.Rect(0, 0, 400, 300))
	for y := range 300 {
		for x := range 400 {
			img.Set(x, y, color.NRGBA{R: uint8(x / 40 * 20), G: uint8(y / 100 * 40), B: 200, A: 255})
		}
	}
	for i := range 1000 { // a thousand other colours, once each
		img.Set(i%400, i/400, color.NRGBA{R: uint8(i), G: uint8(i >> 2), B: uint8(i >> 4), A: 255})
	}
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		t.Fatal(err)
	}
	small, err := shrink(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	got, err := png.Decode(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := got.(*image.Paletted); !ok || len(p.Palette) != 256 {
		t.Errorf("it is a %T, want 256 colours", got)
	}
	if got.Bounds() != img.Bounds() || color.NRGBAModel.Convert(got.At(200, 250)) != img.At(200, 250) {
		t.Errorf("%v, %v is not %v", got.Bounds(), got.At(200, 250), img.At(200, 250))
	}
	if _, err := shrink([]byte("no picture")); err == nil {
		t.Error("no picture was shrunk")
	}
}

func TestStepsBringWhatTheyNeed(t *testing.T) {
	all := []step{{"open", nil, nil}, {"keys", nil, []string{"open"}}, {"address", nil, []string{"open", "keys"}}, {"laps", nil, []string{"open"}}, {"replay", nil, []string{"laps"}}}
	for _, c := range []struct {
		name string
		only []string
		want string
	}{
		{"all", nil, "open keys address laps replay"},
		{"one that needs another, which needs one", []string{"replay"}, "open laps replay"},
		{"several", []string{"address", "laps"}, "open keys address laps"},
		{"of another part", []string{"speed"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, st := range (&Config{Only: c.only}).wanted(all) {
				got = append(got, st.name)
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("got %v, want %s", got, c.want)
			}
		})
	}
	if p := (&Config{Pictures: "x"}).parts(); len(p) != 1 || p[0].name != "pictures" {
		t.Errorf("%+v", p)
	}
	// What is needed stands before, and is there.
	for _, part := range (&Config{}).parts() {
		seen := map[string]bool{}
		for _, st := range part.steps {
			for _, n := range st.needs {
				if !seen[n] {
					t.Errorf("%s needs %s, which does not stand before it", st.name, n)
				}
			}
			seen[st.name] = true
		}
	}
}
