package live

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// get returns status and body of one request.
func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + s.Addr() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// sse is one server-sent event.
type sse struct{ name, data string }

// open opens a stream; it ends with the test.
func open(t *testing.T, s *Server, query string) (*http.Response, func(name string) sse) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.Addr()+"/api/v1/events?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	return resp, func(name string) sse {
		t.Helper()
		var e sse
		for lines.Scan() {
			switch k, v, _ := strings.Cut(lines.Text(), ": "); {
			case k == "event":
				e.name = v
			case k == "data":
				e.data = v
			case k == "" && e.name == name:
				return e
			}
		}
		t.Fatalf("the stream ended before %q: %v", name, lines.Err())
		return e
	}
}

func waitCar(t *testing.T, s *Server, name string) {
	t.Helper()
	eventually(t, name+" is known", func() bool { code, _ := get(t, s, "/api/v1/cars/"+name); return code == http.StatusOK })
}

func TestStreamFollowsTheTopics(t *testing.T) {
	cat := &wire.Catalogue{Car: "c", Groups: []wire.Group{{Name: "Engine", Lane: wire.LaneFull, Channels: []wire.Channel{
		{Name: "rpm", Type: wire.TypeInt, Unit: "1/min", Description: "crank"},
		{Name: "gear", Type: wire.TypeInt, Enum: []wire.EnumValue{{Raw: 1, Name: "first"}}},
		{Name: "seq", Type: wire.TypeInt, Unit: "s"},
	}}}}
	log := newLog()
	names := log.Names()
	hash := topic.Header{Key: topic.HeaderCatalogue, Value: []byte(cat.Hash().String())}
	now := time.Now().UnixMilli()
	log.add(names.Samples, rowText("c", "full", now-1000, `,"rpm":900,"gear":1,"seq_":4`), hash)
	s := start(t, Options{Source: log, Catalogues: catalogues{cat.Hash(): cat.Append(nil)}})
	waitCar(t, s, "c")
	var l ChannelList
	eventually(t, "units are known", func() bool {
		_, body := get(t, s, "/api/v1/cars/c/channels")
		return json.Unmarshal([]byte(body), &l) == nil && l.Total == 3 && l.Channels[1].Unit == "1/min"
	})
	if l.Channels[0].Enum[1] != "first" || l.Channels[2].Name != "seq_" || l.Channels[2].Unit != "s" || l.Instance == "" {
		t.Errorf("channels: %+v", l)
	}
	_, next := open(t, s, fmt.Sprintf("car=c&channels=%d,%d&charts=%d", l.Channels[1].ID, l.Channels[0].ID, l.Channels[1].ID))
	if e := next("cars"); !strings.Contains(e.data, `"car":"c"`) {
		t.Errorf("cars: %s", e.data)
	}
	next("car")
	var v valuesFrame
	if err := json.Unmarshal([]byte(next("values").data), &v); err != nil || len(v.Values) != 2 || v.Values[0][1] != 900 {
		t.Fatalf("first values: %+v, %v", v, err)
	}
	log.add(names.Live, rowText("c", "live", now-10, `,"rpm":950`))
	if err := json.Unmarshal([]byte(next("values").data), &v); err != nil || len(v.Values) != 1 || v.Values[0][1] != 950 {
		t.Fatalf("next values: %+v, %v", v, err)
	}
	for !strings.Contains(next("charts").data, ",950]") {
	}
	log.add(names.Events, strings.Replace(rowText("c", "critical", now, `,"event":"lap","detail":"lap 2"`), `"group":"Engine",`, "", 1))
	log.add(names.Gaps, `{"car":"c","lane":"full","first":2,"last":3,"count":2,"change":"settled","reason":"quota","at_ms":5}`)
	log.add(names.Gaps, ``)
	log.add(names.Gaps, `no json`)
	var d CarDetail
	eventually(t, "event and gap are shown", func() bool {
		return json.Unmarshal([]byte(next("car").data), &d) == nil && len(d.Events) == 2 && d.Lanes[2].Missing == 2
	})
	eventually(t, "the malformed record is counted", func() bool { return s.Counters().Malformed == 1 })
}

func TestStatusOfRequests(t *testing.T) {
	log := newLog()
	log.add(log.Names().Live, rowText("c", "live", 5, `,"a":1`))
	waits := []string{"partition 3 is loading"}
	s := start(t, Options{
		Source: log,
		Status: func(context.Context) any { return map[string]bool{"ready": false} },
		Ready:  func(context.Context) []string { return waits },
	})
	waitCar(t, s, "c")
	cases := []struct {
		name, path string
		code       int
		body       string
	}{
		{"page", "/", 200, "<!doctype html>"},
		{"script", "/app.js", 200, "import"},
		{"style", "/style.css", 200, ":root"},
		{"icon", "/icon.svg", 200, "<svg"},
		{"no such page", "/admin", 404, ""},
		{"no folder", "/page/", 404, ""},
		{"health", "/healthz", 200, "ok"},
		{"readiness", "/readyz", 503, "partition 3 is loading"},
		{"status", "/api/v1/status", 200, `"ready":false`},
		{"cars", "/api/v1/cars", 200, `"car":"c"`},
		{"unknown car", "/api/v1/cars/d", 404, `no car "d"`},
		{"track of a car without a position", "/api/v1/cars/c/track", 200, `"lat_id":null,"lon_id":null,"line":[]`},
		{"channels of an unknown car", "/api/v1/cars/d/channels", 404, `no car "d"`},
		{"stream of an unknown car", "/api/v1/events?car=d", 404, `no car "d"`},
		{"offset is no number", "/api/v1/cars/c/channels?offset=-1", 400, "numbers"},
		{"channels are no ids", "/api/v1/events?car=c&channels=a,b", 400, "ids"},
		{"charts are no ids", "/api/v1/events?car=c&charts=1,x", 400, "charts has"},
		{"too many charts", "/api/v1/events?car=c&charts=" + strings.Repeat("1,", MaxCharts) + "1", 503, "at most 64 charts"},
		{"too long a span", "/api/v1/events?car=c&charts=1&span_ms=99000000", 400, "span_ms"},
		{"too many points", "/api/v1/events?car=c&charts=1&points=5000", 400, "from 16 to 1600"},
		{"too many channels", "/api/v1/events?car=c&channels=" + strings.Repeat("1,", MaxView) + "1", 503, "at most 200 channels"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if code, body := get(t, s, c.path); code != c.code || !strings.Contains(body, c.body) {
				t.Errorf("got %d %.200s", code, body)
			}
		})
	}
	if n := s.Counters(); n.StreamsRefused != 2 {
		t.Errorf("counters: %+v", n)
	}
}

func TestPageLoadsNothingFromElsewhere(t *testing.T) {
	s := start(t, Options{Source: newLog()})
	resp, err := http.Get("http://" + s.Addr() + "/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if p := resp.Header.Get("Content-Security-Policy"); !strings.Contains(p, "default-src 'none'") || strings.Contains(p, "unsafe") {
		t.Errorf("policy: %s", p)
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "" || resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers: %v", resp.Header)
	}
}

func TestOtherHostNamesAreRefused(t *testing.T) {
	s := start(t, Options{Source: newLog()})
	cases := []struct {
		host string
		code int
	}{
		{"localhost:8080", 200},
		{"LOCALHOST", 200},
		{"127.0.0.1", 200},
		{"[::1]:80", 200},
		{"evil.example:8080", 421},
		{"127.0.0.1.evil.example", 421},
		{"192.0.2.7", 421},
		{"", 421},
	}
	for _, c := range cases {
		t.Run(c.host, func(t *testing.T) {
			req := httptest.NewRequest(http.MethodGet, "/api/v1/cars", http.NoBody)
			req.Host = c.host
			w := httptest.NewRecorder()
			s.Handler().ServeHTTP(w, req)
			if w.Code != c.code {
				t.Errorf("got %d %s", w.Code, w.Body)
			}
		})
	}
	if n := s.Counters().HostsRefused; n != 4 {
		t.Errorf("%d refused", n)
	}
}

func TestStreamsAreLimited(t *testing.T) {
	s := start(t, Options{Source: newLog()})
	for range MaxStreams {
		if resp, _ := open(t, s, ""); resp.StatusCode != http.StatusOK {
			t.Fatalf("status %d", resp.StatusCode)
		}
	}
	if code, body := get(t, s, "/api/v1/events"); code != http.StatusServiceUnavailable || !strings.Contains(body, "32 pages") {
		t.Errorf("one too many: %d %s", code, body)
	}
	if n := s.Counters(); n.StreamsRefused != 1 || n.Streams != MaxStreams {
		t.Errorf("counters: %+v", n)
	}
}

// TestSlowBrowserMissesFrames lets one browser not read at all while rows come:
// rows are taken at full speed, and what it reads then is the newest state.
func TestSlowBrowserMissesFrames(t *testing.T) {
	log := newLog()
	name := log.Names().Live
	log.add(name, rowText("c", "live", 5, `,"a":0`))
	s := start(t, Options{Source: log})
	waitCar(t, s, "c")
	conn, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(1024); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /api/v1/events?car=c&channels=0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
	eventually(t, "the stream is open", func() bool { return s.Counters().Streams == 1 })
	const rows = 20_000
	for i := range rows {
		log.add(name, rowText("c", "live", int64(10+i), fmt.Sprintf(`,"a":%d`, i+1)))
	}
	eventually(t, "all rows are taken", func() bool { return s.Counters().Rows == rows+1 })
	// One value at a time stands for the channel, however many came.
	values, _, _ := s.store.changed("c", []int{0}, 0)
	if len(values) != 1 || values[0][1] != rows {
		t.Fatalf("values: %v", values)
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, 1<<20)
	frames := 0
	for lines.Scan() {
		if !strings.HasPrefix(lines.Text(), `data: {"now_ms"`) || !strings.Contains(lines.Text(), `"values":`) {
			continue
		}
		if frames++; strings.Contains(lines.Text(), fmt.Sprintf("[0,%d,", rows)) {
			break
		}
	}
	if frames == 0 || frames > rows/10 {
		t.Errorf("%d frames for %d rows", frames, rows)
	}
}

func TestSamplesAreFollowedOnlyForSomebody(t *testing.T) {
	log := newLog()
	names := log.Names()
	s := start(t, Options{Source: log})
	eventually(t, "live is followed", func() bool { return len(log.follows(names.Live)) == 1 })
	if n := len(log.follows(names.Samples)); n != 0 {
		t.Fatalf("samples followed %d times for nobody", n)
	}
	get(t, s, "/healthz")
	if s.watched() {
		t.Error("a health check counts as somebody")
	}
	get(t, s, "/api/v1/cars")
	eventually(t, "samples are followed", func() bool { return len(log.follows(names.Samples)) == 1 })
}

func TestStartReadsTheTail(t *testing.T) {
	log := newLog()
	name := log.Names().Live
	for i := range tailRecords + 500 {
		log.add(name, rowText("c", "live", int64(10+i), `,"a":1`))
	}
	s := start(t, Options{Source: log})
	eventually(t, "the tail is read", func() bool { return s.Counters().Rows == tailRecords })
	if d, _ := s.store.detail("c", 0); d.Lanes[1].BatchesS != 0 || log.follows(name)[0] != 500 {
		t.Errorf("lanes %+v, from %v", d.Lanes, log.follows(name))
	}
}

func TestKafkaErrorsAreShownAndTriedAgain(t *testing.T) {
	log := newLog()
	log.fail = fmt.Errorf("broker 3 is away")
	s := start(t, Options{Source: log})
	eventually(t, "the error is shown", func() bool { return strings.Contains(s.Counters().KafkaError, "broker 3") })
	log.mu.Lock()
	log.fail = nil
	log.mu.Unlock()
	log.add(log.Names().Live, rowText("c", "live", 5, `,"a":1`))
	waitCar(t, s, "c")
	eventually(t, "the error is gone", func() bool { return s.Counters().KafkaError == "" })
}

func TestReportsOfOtherRoles(t *testing.T) {
	rep := Report{Ingest: true, Sequence: true, Cars: map[string]CarReport{"c": {
		Credit: 1000, Conns: []Conn{{Link: 1, Gen: 4, Bytes: 5000, SilentMS: 30}},
		Lanes: map[string]LaneReport{"full": {In: 40, Duplicates: 3, Late: 2, Missing: 1, Holes: 6, LagMS: 70}},
	}}}
	s := quietStore()
	put(t, s, inOrder, 1e12, strings.Replace(rowText("c", "full", 1e11, `,"link_a_rtt":12,"link_a_state":2,"link_b_state":4`), "Engine", "agent.links", 1))
	s.step(rep, 0.5, 1e12)
	rep.Cars["c"].Conns[0].Bytes += 1000
	s.step(rep, 0.5, 1e12)
	d, _ := s.detail("c", 1e12)
	if len(d.Links) != 2 || d.Links[0].Name != "a" || *d.Links[0].RTTMS != 12 || d.Links[0].HeardMS != nil {
		t.Fatalf("links: %+v", d.Links)
	}
	if b := d.Links[1]; b.State != "4" || *b.HeardMS != 30 || *b.InBS != rateWeight*2000 {
		t.Errorf("link b: %+v in %v", b, *b.InBS)
	}
	if l := d.Lanes[2]; *l.Holes != 6 || *l.Duplicates != 3 || l.Missing != 1 || l.Late != 2 || *l.LagMS != 70 || d.Credit != 1000 {
		t.Errorf("lane: %+v", l)
	}
	s.step(Report{}, 0.5, 1e12) // the other roles run elsewhere
	if d, _ = s.detail("c", 1e12); d.Sequence || d.Lanes[2].Holes != nil || d.Links[1].HeardMS != nil {
		t.Errorf("without roles: %+v", d)
	}
}
