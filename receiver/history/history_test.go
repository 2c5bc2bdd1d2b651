package history_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/history"
)

const utc = int64(1_800_000_000_000_000_000)

var window = history.Window{Car: "gt3-7", Channel: history.Channel{Group: "Engine", Name: "rpm"}, FromNS: utc, ToNS: utc + 1e9}

// store answers as a store does, and notes what it was asked.
func store(t *testing.T, kind string, change func(*history.Config), answer func(path string, q url.Values) (int, string)) (history.Reader, *[]string) {
	t.Helper()
	asked := &[]string{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*asked = append(*asked, r.URL.Path+" "+r.URL.Query().Get("query")+r.URL.Query().Get("match[]"))
		code, text := answer(r.URL.Path, r.URL.Query())
		if user, pass, ok := r.BasicAuth(); ok && user+pass != "teampw" {
			code, text = http.StatusUnauthorized, "who are you"
		}
		w.WriteHeader(code)
		fmt.Fprint(w, text)
	}))
	t.Cleanup(s.Close)
	cfg := history.Config{Kind: kind, URL: s.URL + "/select/0/prometheus", User: "team", Password: "pw"}
	if change != nil {
		change(&cfg)
	}
	r, err := history.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r, asked
}

func TestVictoriaBins(t *testing.T) {
	r, asked := store(t, history.VictoriaMetrics, nil, func(_ string, q url.Values) (int, string) {
		if q.Get("start") != "1800000000.099" || q.Get("end") != "1800000000.999" || q.Get("step") != "100ms" || q.Get("nocache") != "1" {
			t.Errorf("asked %v", q)
		}
		v := `[1800000000.099,"-1.5"],[1800000000.399,"NaN"]`
		if strings.HasPrefix(q.Get("query"), "max") {
			v = `[1800000000.099,"7e300"],[1800000000.399,"+Inf"]`
		}
		return 200, `{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[` + v + `]},{"metric":{},"values":[[1800000000.099,"3"]]}]}}`
	})
	bins, err := r.Bins(t.Context(), window, 100e6)
	if err != nil || len(bins) != 2 || bins[0] != (history.Bin{At: 0, Min: -1.5, Max: 7e300}) || bins[1].At != 3 {
		t.Errorf("%+v, %v", bins, err)
	}
	if want := `/select/0/prometheus/api/v1/query_range min_over_time({__name__="Engine_rpm",car="gt3-7"}[100ms])`; (*asked)[0] != want {
		t.Errorf("asked %s", (*asked)[0])
	}
}

func TestVictoriaPoints(t *testing.T) {
	r, _ := store(t, history.VictoriaMetrics, func(c *history.Config) {
		c.Metric, c.Match = `{channel}"x`, map[string]string{"vehicle": "{car}", "lane": "full"}
	}, func(path string, q url.Values) (int, string) {
		if !strings.HasSuffix(path, "/api/v1/export") || q.Get("match[]") != `{__name__="rpm\"x",lane="full",vehicle="gt3-7"}` || q.Get("end") != "1800000000.999" {
			t.Errorf("asked %s %v", path, q)
		}
		return 200, `{"metric":{},"values":[1,2.5],"timestamps":[1800000000000,1800000000200]}` + "\n" + `{"metric":{},"values":[null,9],"timestamps":[1800000000050,1800000000100]}`
	})
	var got []history.Point
	err := r.Points(t.Context(), window, func(p history.Point) error { got = append(got, p); return nil })
	if err != nil || fmt.Sprint(got) != fmt.Sprint([]history.Point{{TNS: utc, Value: 1}, {TNS: utc + 100e6, Value: 9}, {TNS: utc + 200e6, Value: 2.5}}) {
		t.Errorf("%v, %v", got, err)
	}
	stop := errors.New("enough")
	if err := r.Points(t.Context(), window, func(history.Point) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("stopped: %v", err)
	}
}

func TestQuestDB(t *testing.T) {
	for unit, name := range map[int64]string{1000: "TIMESTAMP", 1: "TIMESTAMP_NS"} {
		r, asked := store(t, history.QuestDB, nil, func(_ string, q url.Values) (int, string) {
			sql := q.Get("query")
			switch {
			case strings.Contains(sql, "table_columns"):
				return 200, "\"type\"\r\n\"" + name + "\"\r\n"
			case strings.Contains(sql, "GROUP BY"):
				return 200, "\"b\",\"min\",\"max\"\r\n0,-1.0,2.5\r\n7,3,3\r\n"
			default:
				return 200, fmt.Sprintf("\"cast\",\"rpm\"\r\n%d,4.25\r\n", (utc+5e6)/unit)
			}
		})
		bins, err := r.Bins(t.Context(), window, 100e6)
		if err != nil || fmt.Sprint(bins) != "[{0 -1 2.5} {7 3 3}]" {
			t.Errorf("%s: %v, %v", name, bins, err)
		}
		want := fmt.Sprintf(`/select/0/prometheus/exp SELECT b, min(v), max(v) FROM (SELECT (cast("timestamp" AS long) - %d) / %d b, "rpm" v FROM "Engine" WHERE `+
			`"timestamp" >= '2027-01-15T08:00:00.000000000Z' AND "timestamp" < '2027-01-15T08:00:01.000000000Z' AND "rpm" IS NOT NULL AND "car" = 'gt3-7') GROUP BY b ORDER BY b`, utc/unit, 100e6/int64(unit))
		if (*asked)[1] != want {
			t.Errorf("%s asked\n%s, want\n%s", name, (*asked)[1], want)
		}
		var got []history.Point
		err = r.Points(t.Context(), window, func(p history.Point) error { got = append(got, p); return nil })
		if err != nil || len(got) != 1 || got[0] != (history.Point{TNS: utc + 5e6, Value: 4.25}) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestQuestDBHasNoSuchTable(t *testing.T) {
	for _, text := range []string{`{"error":"table does not exist [table=Engine]"}`, `{"error":"Invalid column: rpm"}`} {
		r, _ := store(t, history.QuestDB, nil, func(string, url.Values) (int, string) { return 400, text })
		bins, err := r.Bins(t.Context(), window, 100e6)
		perr := r.Points(t.Context(), window, func(history.Point) error { return errors.New("a point") })
		if err != nil || perr != nil || bins != nil {
			t.Errorf("%s: %v, %v, %v", text, bins, err, perr)
		}
	}
}

func TestNamesThatSayMore(t *testing.T) {
	var asked *[]string
	r, asked := store(t, history.QuestDB, nil, func(string, url.Values) (int, string) { return 200, "type\r\n" })
	w := window
	w.Car = "x' OR '1'='1"
	if _, err := r.Bins(t.Context(), w, 100e6); err != nil {
		t.Error(err)
	}
	if sql := (*asked)[1]; !strings.Contains(sql, `"car" = 'x'' OR ''1''=''1'`) {
		t.Errorf("asked %s", sql)
	}
	w.Channel.Name = `a" FROM secrets --`
	if _, err := r.Bins(t.Context(), w, 100e6); err == nil || len(*asked) != 2 {
		t.Errorf("%v after %v", err, *asked)
	}
}

func TestStoresThatDoNotServe(t *testing.T) {
	cases := []struct {
		name, kind string
		code       int
		text       string
		want       string
	}{
		{"refused", history.VictoriaMetrics, 422, "cannot parse", "422 Unprocessable Entity: cannot parse"},
		{"no JSON", history.VictoriaMetrics, 200, "<html>", "not what query_range gives"},
		{"an error as an answer", history.VictoriaMetrics, 200, `{"status":"error","error":"too many points"}`, "too many points"},
		{"moved", history.QuestDB, 302, "", "302 Found"},
		{"not CSV", history.QuestDB, 200, "a\n\"", "not what /exp gives"},
		{"down", history.QuestDB, 503, strings.Repeat("x", 5000), "503"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			r, _ := store(t, c.kind, nil, func(string, url.Values) (int, string) { return c.code, c.text })
			_, err := r.Bins(t.Context(), window, 100e6)
			if !errors.Is(err, history.ErrStore) || !strings.Contains(err.Error(), c.want) || len(err.Error()) > 3000 {
				t.Errorf("%.300v", err)
			}
		})
	}
	r, err := history.Open(history.Config{Kind: history.QuestDB, URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Bins(t.Context(), window, 100e6); !errors.Is(err, history.ErrStore) || !strings.Contains(err.Error(), "live.history.url") {
		t.Errorf("nobody there: %v", err)
	}
}

func TestPatience(t *testing.T) {
	hang := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}))
	defer s.Close()
	defer close(hang)
	r, err := history.Open(history.Config{Kind: history.VictoriaMetrics, URL: s.URL, Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Bins(t.Context(), window, 100e6); !errors.Is(err, history.ErrStore) || !strings.Contains(err.Error(), "20ms") {
		t.Errorf("after its time: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Bins(ctx, window, 100e6); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestConfigurations(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  history.Config
		want string
	}{
		{"no url", history.Config{Kind: history.QuestDB}, "want http://"},
		{"no kind", history.Config{URL: "http://h:1"}, "victoriametrics or questdb"},
		{"a brace too many", history.Config{Kind: history.QuestDB, URL: "http://h:1", Table: "{grp}"}, "{car}, {group} and {channel} only"},
		{"no such ca", history.Config{Kind: history.QuestDB, URL: "https://h:1", CA: "/nowhere.pem"}, "ca: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := history.Open(c.cfg); !errors.Is(err, history.ErrConfig) || !strings.Contains(err.Error(), c.want) {
				t.Error(err)
			}
		})
	}
	r, err := history.Open(history.Config{Kind: history.QuestDB, URL: "http://h:1"})
	if err != nil || r.Name() != "questdb" {
		t.Error(err)
	}
	for _, step := range []int64{0, 1000, 1_500_000, 10_000, 3e6} {
		if _, err := r.Bins(t.Context(), window, step); err == nil || errors.Is(err, history.ErrStore) {
			t.Errorf("steps of %d ns: %v", step, err)
		}
	}
}
