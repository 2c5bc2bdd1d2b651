package past_test

import (
	"context"
	"encoding/csv"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/past"
)

func TestExportedValues(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("s", "km/h", 1, [2]float64{})})
	resp, err := s.Client().Get(s.URL + "/api/v1/cars/gt3-7/export?format=csv&lap=Q1/1&channels=Engine.*")
	check(t, err)
	defer resp.Body.Close()
	_, p, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition"))
	if err != nil || p["filename"] != "gt3-7-20270115T080140Z.csv" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/csv") {
		t.Errorf("%v %v", p, resp.Header)
	}
	rows, err := csv.NewReader(resp.Body).ReadAll()
	check(t, err)
	if len(rows) != int(timeA*100)+1 || strings.Join(rows[0], " ") != "ts_ns boot_ns epoch synced rpm gear" {
		t.Fatalf("%d rows of %v", len(rows), rows[0])
	}
	for i, r := range rows[1:] {
		at := startA + float64(i)/100 + 0.003
		want := strconv.FormatInt(utc(at), 10)
		rpm, err := strconv.ParseFloat(r[4], 64)
		share := (at - startA) / timeA
		if r[0] != want || err != nil || rpm != 1000+100*share || r[5] != strconv.Itoa(1+int(share*5)) {
			t.Fatalf("row %d: %v, want %s and %v", i, r, want, 1000+100*share)
		}
	}
}

func TestExportOfSeveralGroups(t *testing.T) {
	s := serve(t, past.Options{Archive: tour("sgd", "km/h", 1, [2]float64{})})
	resp, err := s.Client().Get(s.URL + "/api/v1/cars/gt3-7/export?format=parquet&lap=Q1/1")
	check(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	check(t, err)
	if resp.Header.Get("Content-Type") != "application/zip" || !strings.HasPrefix(string(b), "PK") || !strings.HasSuffix(resp.Header.Get("Content-Disposition"), "gt3-7-20270115T080140Z.zip") {
		t.Errorf("%v, %d bytes", resp.Header, len(b))
	}
}

func TestBaseName(t *testing.T) {
	for _, tt := range []struct {
		from int64
		want string
	}{{1_800_000_100_000_000_000, "gt3-7-20270115T080140Z"}, {0, "gt3-7"}, {math.MinInt64, "gt3-7"}} {
		if got := past.BaseName("gt3-7", tt.from); got != tt.want {
			t.Errorf("from %d: %q, want %q", tt.from, got, tt.want)
		}
	}
}

// TestExportThatBreaksOff: after its first byte an answer cannot become an error, so
// the connection ends in the middle and nobody takes a part for the whole.
func TestExportThatBreaksOff(t *testing.T) {
	m := tour("s", "km/h", 1, [2]float64{})
	m.err, m.breakAt = errors.New("the broker is gone"), len(m.batches)
	s := serve(t, past.Options{Archive: m})
	if code, body := get(t, s, "cars/gt3-7/export?format=csv&lap=Q1/1&channels=rpm"); code != http.StatusServiceUnavailable || !strings.Contains(body, "broker is gone") {
		t.Errorf("before the first byte: %d %s", code, body)
	}
	for range 10 { // more than waits in memory
		m.batches = append(m.batches, m.batches[:18_000]...)
	}
	m.breakAt = len(m.batches)
	resp, err := s.Client().Get(s.URL + "/api/v1/cars/gt3-7/export?format=mcap&lap=Q1/1")
	check(t, err)
	defer resp.Body.Close()
	n, err := io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK || err == nil || n == 0 {
		t.Errorf("after it: %d, %d bytes, %v", resp.StatusCode, n, err)
	}
}

func TestWhatIf(t *testing.T) {
	var asked []time.Duration
	rows := []past.WhatIfRow{{Window: "10ms", Lane: "full", Delayed: 3, P99MS: 12.5, Late: 1}}
	s := serve(t, past.Options{
		Archive: tour("", "", 1, [2]float64{}),
		WhatIf: func(_ context.Context, q archive.Query, windows []time.Duration, progress archive.Progress) ([]past.WhatIfRow, error) {
			asked = windows
			progress(1, 2)
			if q.Car != "gt3-7" || q.FromNS != utc(startA) || len(q.Lanes) != 2 {
				t.Errorf("query %+v", q)
			}
			return rows, nil
		},
	})
	got := answer[struct{ Rows []past.WhatIfRow }](t, s, "cars/gt3-7/whatif?lap=Q1/1&windows=10ms,1m,none")
	if len(got.Rows) != 1 || got.Rows[0] != rows[0] || len(asked) != 3 || asked[1] != time.Minute || asked[2] >= 0 {
		t.Errorf("%+v, asked %v", got, asked)
	}
	for _, w := range []string{"soon", "-1s", "25h", strings.Repeat("1s,", 17)} {
		if code, body := get(t, s, "cars/gt3-7/whatif?lap=Q1/1&windows="+w); code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", w, code, body)
		}
	}
}

func TestTimes(t *testing.T) {
	for in, want := range map[string]int64{
		"1800000000000": 1_800_000_000_000_000_000, "1800000000000.5": 1_800_000_000_000_500_000, "1800000000000.123456": 1_800_000_000_000_123_456,
		"2027-01-15T08:00:00Z": 1_800_000_000_000_000_000, "2027-01-15T09:00:00.000000001+01:00": 1_800_000_000_000_000_001,
	} {
		if got, err := past.ParseTime(in); err != nil || got != want {
			t.Errorf("%s is %d, %v, want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "0", "-5", "1e12", "tomorrow", "9223372036854775807", "1800000000000.x", "2300-01-01T00:00:00Z"} {
		if got, err := past.ParseTime(in); err == nil {
			t.Errorf("%q is %d", in, got)
		}
	}
}

func TestSelections(t *testing.T) {
	s := past.ParseSelection("Engine.rpm, gear", "can0.raw.*")
	for _, c := range []struct {
		group, channel string
		want           bool
	}{
		{"Engine", "rpm", true}, {"Other", "rpm", false}, {"Any", "gear", true}, {"can0.raw", "id", true}, {"can0", "raw.*", true}, {"can0", "id", false},
	} {
		if got := s.Takes(c.group, c.channel); got != c.want {
			t.Errorf("%s.%s: %v", c.group, c.channel, got)
		}
	}
	if all := past.ParseSelection(""); !all.All() || all.Take() != nil || !all.WantsEvents() || s.WantsEvents() {
		t.Error("no name selects everything, events too")
	}
}
