package live

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/live/coverage"
)

// shown is the data of the event "charts", as a page reads it.
type shown struct {
	NowMS    int64               `json:"now_ms"`
	KeptMS   int64               `json:"kept_from_ms"`
	StepMS   int64               `json:"step_ms"`
	Reset    bool                `json:"reset"`
	Series   [][]json.RawMessage `json:"series"`
	Coverage struct {
		Lanes map[string][][]any `json:"lanes"`
	} `json:"coverage"`
}

// page keeps what a page knows of charts: by channel, the extremes of each step.
type chartPage struct {
	step  int64
	steps map[int]map[int64][2]float64
}

// take applies one frame as pages do.
func (p *chartPage) take(t *testing.T, data []byte) shown {
	t.Helper()
	var f shown
	if err := json.Unmarshal(data, &f); err != nil {
		t.Fatalf("%v: %.300s", err, data)
	}
	if f.Reset || p.steps == nil {
		p.step, p.steps = f.StepMS, map[int]map[int64][2]float64{}
	}
	if f.StepMS != p.step {
		t.Fatalf("steps of %d ms became %d without a reset", p.step, f.StepMS)
	}
	for _, s := range f.Series {
		var id int
		var slot int64
		var values []*float64
		for i, to := range []any{&id, &slot, &values} {
			if err := json.Unmarshal(s[i], to); err != nil {
				t.Fatal(err)
			}
		}
		if p.steps[id] == nil {
			p.steps[id] = map[int64][2]float64{}
		}
		for i := 0; i < len(values); i += 2 {
			k := slot + int64(i/2)
			delete(p.steps[id], k)
			if values[i] != nil {
				p.steps[id][k] = [2]float64{*values[i], *values[i+1]}
			}
		}
	}
	return f
}

// frame reads one frame of a store's charts.
func frame(t *testing.T, s *store, plots []plot, step, span, nowMS int64, reset bool, p *chartPage) shown {
	t.Helper()
	var f chartFrame
	if !s.read(&f, "c", plots, step, span, reset, nowMS) {
		t.Fatal("the car is not known")
	}
	return p.take(t, f.append(nil))
}

const day = int64(1_800_000_000_000)

// rateRow is one row of a 1,500 Hz group.
func rateRow(i int64, seq uint64, fields string) string {
	ns := day*1e6 + i*1e9/1500
	return fmt.Sprintf(`{"car":"c","session":"3-00000000000000aa","epoch":3,"nonce":"00000000000000aa","lane":"full","seq":%d,"row":"%d/150",`+
		`"group":"fast","ts_ns":%d,"ts_ms":%d,"boot_ns":%d,"clock":"synced","clock_unc_ns":9,"segment":1%s}`, seq, 1+i%150, ns, ns/1e6, i*1e9/1500, fields)
}

// Every peak of 64 channels at 1,500 Hz is in what a page has drawn, however its
// frames fall.
func TestNoPeakOf64ChartsIsLost(t *testing.T) {
	s := quietStore()
	var plots []plot
	for i := range MaxCharts {
		plots = append(plots, plot{id: i})
	}
	peaks := map[int]map[int64]float64{} // by channel and step
	var p chartPage
	now := day
	for i := range int64(4500) {
		var b strings.Builder
		for ch := range MaxCharts {
			v := math.Sin(float64(i) / 50)
			if (i*7+int64(ch)*13)%997 == 0 {
				v = float64(1000 + i)
				if peaks[ch] == nil {
					peaks[ch] = map[int64]float64{}
				}
				k := (day + i*1000/1500) / 20
				peaks[ch][k] = max(peaks[ch][k], v)
			}
			fmt.Fprintf(&b, `,"v%d":%g`, ch, v)
		}
		now = day + i*1000/1500
		put(t, s, inOrder, now, rateRow(i, uint64(1+i/150), b.String()))
		if i%75 == 0 {
			frame(t, s, plots, 20, 10_000, now, i == 0, &p)
		}
	}
	frame(t, s, plots, 20, 10_000, now, false, &p)
	seen := 0
	for ch, list := range peaks {
		for k, v := range list {
			if k == day/20 { // before the first frame, known in steps of 100 ms
				k = (day + 50) / 20
			}
			if got, ok := p.steps[ch][k]; !ok || got[1] != v {
				t.Fatalf("channel %d: the peak %g at step %d is drawn as %v (%v)", ch, v, k, got, ok)
			}
			seen++
		}
	}
	if seen < 4*MaxCharts {
		t.Errorf("only %d peaks", seen)
	}
	if n := s.counters(); n.Strips != MaxCharts || n.StripBytes == 0 || n.StripBytes > 64<<20 {
		t.Errorf("%d strips, %d bytes", n.Strips, n.StripBytes)
	}
}

func TestAChartBeginsWithWhatIsThere(t *testing.T) {
	s := quietStore()
	for i := range int64(300) { // 30 s at 10 Hz, nobody has charted it
		put(t, s, inOrder, day+i*100, rowText("c", "full", day+i*100, fmt.Sprintf(`,"rpm":%d`, i)))
	}
	now := day + 29_900
	var p chartPage
	f := frame(t, s, []plot{{id: 0}}, 100, 60_000, now, false, &p)
	if !f.Reset || len(p.steps[0]) != 300 || p.steps[0][day/100+7] != [2]float64{7, 7} || f.KeptMS > day || f.NowMS != now {
		t.Errorf("%d steps, reset %v, kept from %d", len(p.steps[0]), f.Reset, f.KeptMS-day)
	}
	if f = frame(t, s, []plot{{id: 0}}, 20, 10_000, now, false, &p); len(p.steps[0]) != 101 {
		t.Errorf("finer: %d steps, want one for each 100 ms of 10.1 s", len(p.steps[0]))
	}
	// A channel that is not there, and one that comes later.
	if f = frame(t, s, []plot{{id: 7}}, 20, 10_000, now, true, &p); len(f.Series) != 0 {
		t.Errorf("of no channel: %v", f.Series)
	}
}

// A strip that was given up is told anew.
func TestAStripThatMadeRoomIsFilledAgain(t *testing.T) {
	s := quietStore()
	var b strings.Builder
	for i := range maxStrips + 1 {
		fmt.Fprintf(&b, `,"v%d":%d`, i, i)
	}
	put(t, s, inOrder, day, rowText("c", "full", day, b.String()))
	mine := []plot{{id: 0}}
	var p chartPage
	frame(t, s, mine, 20, 10_000, day, false, &p)
	if f := frame(t, s, mine, 20, 10_000, day, false, &p); f.Reset || len(f.Series) != 0 {
		t.Errorf("nothing new: %+v", f)
	}
	others := make([]plot, maxStrips)
	for i := range others {
		others[i].id = 1 + i
	}
	var q chartPage
	frame(t, s, others, 20, 10_000, day+busyStripMS-1, false, &q)
	if n := s.counters(); n.Strips != maxStrips || n.ChartsRefused != 1 {
		t.Errorf("while all are looked at: %d strips, %d refused", n.Strips, n.ChartsRefused)
	}
	frame(t, s, others, 20, 10_000, day+busyStripMS, false, &q)
	if f := frame(t, s, mine, 20, 10_000, day+2*busyStripMS, false, &p); !f.Reset || len(p.steps[0]) == 0 {
		t.Errorf("after others had the room: %+v", f)
	}
	s.dropIdle(day + idleStripMS + 3*busyStripMS)
	if n := s.counters(); n.Strips != 0 || n.StripBytes != 0 {
		t.Errorf("nobody looks: %+v", n)
	}
}

func TestLateRowsFillChartsAndHoles(t *testing.T) {
	s := quietStore()
	plots := []plot{{id: 0}}
	var p chartPage
	now := day
	send := func(to sink, i int64) {
		now = max(now, day+i*1000/1500)
		put(t, s, to, now, rateRow(i, uint64(1+i/150), fmt.Sprintf(`,"rpm":%d`, i)))
	}
	send(inOrder, 0)
	frame(t, s, plots, 20, 10_000, now, false, &p)
	for i := int64(1); i < 1500; i++ {
		if i/150 != 4 { // the fifth batch does not come
			send(inOrder, i)
		}
	}
	later := now + coverage.SettleMS
	frame(t, s, plots, 20, 10_000, now, false, &p)
	hole := (day + 500) / 20
	if _, ok := p.steps[0][hole-6]; !ok {
		t.Fatal("no data in front of the hole")
	}
	if got, ok := p.steps[0][hole-1]; ok && got[0] > 600 {
		t.Errorf("data in the hole: %v", got)
	}
	holes, _ := s.holes(nil, "c", 10_000, later)
	if len(holes) != 1 || holes[0].FromMS != day+399 || holes[0].ToMS != day+500 || holes[0].State != coverage.Open {
		t.Fatalf("holes %+v", holes)
	}
	s.gap(&gapRow{Car: "c", Epoch: 3, Nonce: "00000000000000aa", Lane: "full", First: 5, Last: 5, Count: 1, Change: "settled", Reason: "gap"}, now, true)
	if holes, _ = s.holes(nil, "c", 10_000, later); len(holes) != 1 || holes[0].State != coverage.Late {
		t.Errorf("after its window: %+v", holes)
	}
	s.gap(&gapRow{Car: "c", Epoch: 3, Nonce: "00000000000000aa", Lane: "full", First: 5, Last: 5, Count: 1, Change: "refined", Reason: "quota"}, now, true)
	if holes, _ = s.holes(nil, "c", 10_000, later); len(holes) != 1 || holes[0].State != coverage.Lost || holes[0].Reason != "quota" {
		t.Errorf("after a loss record: %+v", holes)
	}
	if got := string(appendHoles(nil, holes)); got != fmt.Sprintf(`[[%d,%d,"lost","quota"]]`, day+399, day+500) {
		t.Errorf("as JSON: %s", got)
	}
	for i := int64(600); i < 750; i++ {
		send(late, i)
	}
	if holes, _ = s.holes(nil, "c", 10_000, later); len(holes) != 0 {
		t.Errorf("after it came: %+v", holes)
	}
	frame(t, s, plots, 20, 10_000, now, false, &p)
	for k := (day + 400) / 20; k < (day+500)/20; k++ {
		if got, ok := p.steps[0][k]; !ok || got[0] < 600 || got[1] >= 750 {
			t.Errorf("step %d: %v, %v", k, got, ok)
		}
	}
	values, _, _ := s.changed("c", []int{0}, 0)
	if values[0][1] != 1499 {
		t.Errorf("a late row is the last value: %v", values)
	}
}

// Rows of other epochs, of a long past, must not push out what is known of this one.
func TestGapsOfThePastDoNotHideTheHole(t *testing.T) {
	s := quietStore()
	for i := range int64(600) {
		if i/150 != 2 {
			put(t, s, inOrder, day+1000, rateRow(i, uint64(1+i/150), `,"rpm":1`))
		}
	}
	for e := range uint32(3) {
		s.gap(&gapRow{Car: "c", Epoch: e, Nonce: "00000000000000bb", Lane: "full", First: 5, Last: 5, Count: 1, Change: "settled", Reason: "gap"}, day, false)
	}
	if holes, _ := s.holes(nil, "c", 10_000, day+2000); len(holes) != 1 {
		t.Errorf("holes %+v", holes)
	}
	s.passed()
	if holes, _ := s.holes(nil, "c", 10_000, day+2000); len(holes) != 0 {
		t.Errorf("after records were passed over: %+v", holes)
	}
}

func TestAWindowOfThePast(t *testing.T) {
	log := newLog()
	s := start(t, Options{Source: log})
	now := time.Now().UnixMilli()
	log.add(log.Names().Live, rowText("c", "live", now-5000, `,"rpm":5`))
	waitCar(t, s, "c")
	get(t, s, fmt.Sprintf("/api/v1/cars/c/window?charts=0&from_ms=%d&to_ms=%d", now-10_000, now)) // charted from now on
	log.add(log.Names().Live, rowText("c", "live", now-4000, `,"rpm":7`))
	var p chartPage
	var f shown
	eventually(t, "both values are in the window", func() bool {
		code, body := get(t, s, fmt.Sprintf("/api/v1/cars/c/window?charts=0&from_ms=%d&to_ms=%d&points=500", now-10_000, now))
		if code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		f = p.take(t, []byte(body))
		return p.steps[0][(now-4000)/20] == [2]float64{7, 7}
	})
	if f.StepMS != 20 || f.Coverage.Lanes["full"] == nil || p.steps[0][((now-5000)/100*100+50)/20] != [2]float64{5, 5} || f.KeptMS > now-5000 {
		t.Errorf("got %+v", f)
	}
	cases := []struct {
		name, query string
		code        int
	}{
		{"ends before it begins", "charts=0&from_ms=5&to_ms=4", 400},
		{"no number", "charts=0&from_ms=x", 400},
		{"too long", fmt.Sprintf("charts=0&from_ms=%d&to_ms=%d", now-40*3600*1000, now), 400},
		{"too many", "charts=" + strings.Repeat("1,", MaxCharts) + "1", 400},
		{"nothing asked for", "", 200},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if code, body := get(t, s, "/api/v1/cars/c/window?"+c.query); code != c.code {
				t.Errorf("got %d %s", code, body)
			}
		})
	}
	if code, _ := get(t, s, "/api/v1/cars/nobody/window?charts=0"); code != 404 {
		t.Errorf("of no car: %d", code)
	}
}

func TestChannelsByName(t *testing.T) {
	log := newLog()
	s := start(t, Options{Source: log})
	log.add(log.Names().Live, rowText("c", "live", 5, `,"a":1,"b b":2`))
	waitCar(t, s, "c")
	var l ChannelList
	_, body := get(t, s, "/api/v1/cars/c/channels?name=b+b&name=none&name=a")
	if err := json.Unmarshal([]byte(body), &l); err != nil || l.Total != 2 || l.Channels[0].Name != "b b" || l.Channels[0].Lane != "live" || l.Channels[1].Name != "a" {
		t.Errorf("got %s, %v", body, err)
	}
	if code, _ := get(t, s, "/api/v1/cars/c/channels?"+strings.Repeat("name=a&", MaxView+1)); code != 400 {
		t.Errorf("too many names: %d", code)
	}
	if code, _ := get(t, s, "/api/v1/cars/d/channels?name=a"); code != 404 {
		t.Errorf("of no car: %d", code)
	}
}

// One second of a car: 1,500 rows of 50 channels through the parser and the store,
// and the twenty frames of a stream that shows all of them.
func BenchmarkSecond(b *testing.B) {
	s := quietStore()
	var texts [][]byte
	for i := range int64(1500) {
		var f strings.Builder
		for ch := range 50 {
			fmt.Fprintf(&f, `,"channel_%d":%.2f`, ch, 100*math.Sin(float64(i)/30+float64(ch)))
		}
		texts = append(texts, []byte(rateRow(i, uint64(1+i/150), f.String())))
	}
	plots := make([]plot, 50)
	for i := range plots {
		plots[i].id = i
	}
	var r row
	var f chartFrame
	var out []byte
	second, sent := int64(0), 0
	b.ReportAllocs()
	for b.Loop() {
		for i, text := range texts {
			if err := parseRow(text, &r); err != nil {
				b.Fatal(err)
			}
			r.tsNS += second * 1e9
			r.seq += uint64(second) * 10
			s.apply(&r, origin{nowMS: r.tsNS / 1e6, fresh: true})
			if i%75 == 74 {
				s.read(&f, "c", plots, 20, 10_000, second == 0 && i == 74, r.tsNS/1e6)
				out = f.append(out[:0])
				sent += len(out)
			}
		}
		second++
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1e6, "cores")
	b.ReportMetric(float64(sent)/float64(b.N), "B/s")
}
