package e2e

import (
	"bytes"
	"compress/gzip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telemetry/lab/link"
)

const threeFrames = "(10.000000) can0 100#00\nnoise\n(10.500000) can0 100#01\n(12.000000) can0 100#02"

func TestCopyLogStopsAtTheLimit(t *testing.T) {
	cases := []struct {
		name   string
		limit  time.Duration
		want   string
		length time.Duration
	}{
		{"all", 0, threeFrames, 2 * time.Second},
		{"up to the limit", 500 * time.Millisecond, "(10.000000) can0 100#00\nnoise\n(10.500000) can0 100#01\n", 500 * time.Millisecond},
		{"the first frame only", time.Nanosecond, "(10.000000) can0 100#00\nnoise\n", 0},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			length, err := copyLog(&out, strings.NewReader(threeFrames), c.limit)
			if err != nil || out.String() != c.want || length != c.length {
				t.Errorf("got %q, %v, %v", out.String(), length, err)
			}
		})
	}
	if _, err := copyLog(&bytes.Buffer{}, strings.NewReader("noise\n"), 0); err == nil {
		t.Error("a log without a frame was taken")
	}
}

func TestPrepareLogReadsGzipAndCuts(t *testing.T) {
	dir := t.TempDir()
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write([]byte(threeFrames)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "car.log.gz")
	if err := os.WriteFile(log, packed.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := &run{Config: Config{Log: log, Speed: 10}, dir: dir}
	if err := whole.prepareLog(); err != nil || whole.Log != log || whole.length != 200*time.Millisecond {
		t.Errorf("whole: %s, %v, %v", whole.Log, whole.length, err)
	}
	part := &run{Config: Config{Log: log, Speed: 10, Play: 100 * time.Millisecond}, dir: dir}
	if err := part.prepareLog(); err != nil || part.length != 50*time.Millisecond {
		t.Errorf("part: %v, %v", part.length, err)
	}
	if b, err := os.ReadFile(part.Log); err != nil || strings.Count(string(b), "can0") != 2 {
		t.Errorf("part: %q, %v", b, err)
	}
}

func TestPlanHasBothOutagesAndEndsThem(t *testing.T) {
	for _, length := range []time.Duration{0, time.Second, 9 * time.Second, time.Hour} {
		r := &run{Config: Config{Silence: 10 * time.Second}, length: length}
		state := map[role]link.State{}
		var began, last time.Duration
		for i, ev := range r.plan() {
			if i > 0 && ev.at < last {
				t.Errorf("%v: event %d at %v comes after %v", length, i, ev.at, last)
			}
			if state[ev.role] == ev.state {
				t.Errorf("%v: event %d changes nothing", length, i)
			}
			if ev.state == link.Silent {
				began = ev.at
			}
			if ev.role == silenced && ev.state == link.Up && ev.at-began != 10*time.Second {
				t.Errorf("%v: silent for %v", length, ev.at-began)
			}
			state[ev.role], last = ev.state, ev.at
		}
		if state[silenced] != link.Up || state[closed] != link.Up || len(state) != 2 {
			t.Errorf("%v: at the end the links are %v", length, state)
		}
	}
}

func TestADatabaseMustFitTheFirstInterface(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	db := file("car.dbc", "BO_ 256 A: 1 X\n SG_ a : 0|8@1+ (1,0) [0|0] \"\" X\n")
	for _, tt := range []struct{ name, log, want string }{
		{"it fits", "(1.0) can0 7FF#00\n(2.0) can0 100#00\n", ""},
		{"another interface", "(1.0) can0 7FF#00\n(1.5) can0 7FE#00\n(2.0) can1 100#00\n", "knows none of the 2 ids of can0"},
		{"says which", "(1.0) can0 7FF#00\n(2.0) can1 100#00\n", "it knows some of can1"},
		{"extended is another id", "(1.0) can0 00000100#00\n", "is it of this car?"},
		{"requests hold no values", "(1.0) can0 100#R\n", "knows none"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := fits(file("lap.log", tt.log), db)
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if err := fits(filepath.Join(dir, "lap.log"), filepath.Join(dir, "no.dbc")); err == nil {
		t.Error("no file was taken for a database")
	}
}
