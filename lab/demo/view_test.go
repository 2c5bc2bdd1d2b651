package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"telemetry/lab/link"
)

func someView(at time.Duration) *View {
	return &View{
		Elapsed: at, For: 30 * time.Second, Phase: phaseDriving, Car: "200 channels", LiveURL: "http://127.0.0.1:1/", Kafka: "127.0.0.1:2",
		Made: 1234567, Delivered: 1234000, Lag: 120 * time.Millisecond, FirstData: 900 * time.Millisecond, Now: "lte-b falls silent",
		Links: []LinkView{{Name: "lte-a", Agent: "up", RTTMS: 60}, {Name: "lte-b", Relay: link.Silent, Agent: "suspect"}, {Name: "umts-c", Relay: link.Down}},
	}
}

func TestNoControlCodesOffATerminal(t *testing.T) {
	var out bytes.Buffer
	s := NewScreen(&out, nil, true)
	now := time.Unix(1000, 0)
	for i := range 100 {
		at := time.Duration(i) * drawEvery
		s.Draw(someView(at), now.Add(at))
		if i%10 == 0 {
			s.Say(at, "lte-b falls silent")
		}
	}
	for i, b := range out.Bytes() {
		if b < ' ' && b != '\n' || b == 0x7f {
			t.Fatalf("control code %#x at byte %d", b, i)
		}
	}
	if got, want := strings.Count(out.String(), "made "), 13; got != want {
		t.Errorf("%d lines in 25 s, want %d: one every 2 s", got, want)
	}
	if !strings.Contains(out.String(), "lte-b SILENT") || !strings.Contains(out.String(), "umts-c CUT OFF") {
		t.Errorf("the links' states are not told:\n%s", out.String())
	}
}

func TestTheTerminalIsRedrawnInPlace(t *testing.T) {
	for _, c := range []struct{ width, height int }{{80, 24}, {200, 60}, {30, 8}, {1, 1}} {
		t.Run(fmt.Sprintf("%dx%d", c.width, c.height), func(t *testing.T) {
			var out bytes.Buffer
			s := NewScreen(&out, func() (int, int) { return c.width, c.height }, false)
			s.Draw(someView(0), time.Now())
			first := strings.Count(out.String(), "\n")
			if c.height > 1 && first >= c.height {
				t.Errorf("%d lines on a terminal of %d", first, c.height)
			}
			if c.width > 1 {
				for _, l := range strings.Split(out.String(), "\n") {
					l = strings.NewReplacer("\x1b[K", "", "\x1b[J", "", "\r", "").Replace(l)
					if n := utf8.RuneCountInString(l); n >= c.width {
						t.Errorf("a line of %d wraps on a terminal of %d: %q", n, c.width, l)
					}
				}
			}
			out.Reset()
			s.Say(time.Second, "something")
			if out.Len() > 0 {
				t.Error("an event writes into the middle of the summary")
			}
			s.Draw(someView(time.Second), time.Now())
			if want := fmt.Sprintf("\x1b[%dA\r", first); !strings.HasPrefix(out.String(), want) {
				t.Errorf("the second view begins with %q, want %q", out.String()[:8], want)
			}
		})
	}
}

func TestTheLastLineIsJSONOfFourKeys(t *testing.T) {
	for _, c := range []struct {
		name string
		out  Outcome
		good bool
	}{
		{"good", Outcome{Critical: Result{1, 1, 0, 0}, Full: Result{10, 10, 0, 0}}, true},
		{"missing", Outcome{Full: Result{10, 9, 1, 0}}, false},
		{"double", Outcome{Full: Result{10, 10, 0, 1}}, false},
		{"wrong values", Outcome{Full: Result{10, 10, 0, 0}, Faults: []string{"3 values are wrong"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			err := report(&c.out, &out, &errs)
			if (err == nil) != c.good {
				t.Errorf("error %v", err)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			var got map[string]uint64
			if err := json.Unmarshal([]byte(lines[len(lines)-1]), &got); err != nil {
				t.Fatalf("%v in %q", err, lines[len(lines)-1])
			}
			sum := c.out.Critical.add(c.out.Full)
			if len(got) != 4 || got["made"] != sum.Made || got["delivered"] != sum.Delivered || got["missing"] != sum.Missing || got["duplicates"] != sum.Duplicates {
				t.Errorf("got %v, want %+v", got, sum)
			}
		})
	}
}
