package drive

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"telemetry/lab/simulate"
)

func TestAFailingSeedIsToldWithItsReplay(t *testing.T) {
	var out bytes.Buffer
	tell(&out, &Answer{Seed: 17, Violations: []string{"order: x comes after y"}, Plan: "seed 17: a plan\n", Drop: []int{0, 3}})
	for _, want := range []string{
		"order: x comes after y", "seed 17: a plan",
		"replay: go run ./cmd/lab sim --first 17 --seeds 1 --trace --drop 0,3\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not told in:\n%s", want, out.String())
		}
	}
}

func TestALongRunMustMeetEveryKind(t *testing.T) {
	var out bytes.Buffer
	s := Summary{Faults: map[string]int{}}
	for range enough {
		s.add(&Answer{})
	}
	if err := s.finish(&out); !errors.Is(err, ErrFailed) || len(s.Missing) == 0 {
		t.Errorf("a run in which nothing happened: %v", err)
	}
	for _, k := range append(simulate.Kinds(), simulate.Effects()...) {
		s.Faults[string(k)] = 1
	}
	s.Missing = nil
	if err := s.finish(&out); err != nil {
		t.Errorf("a run in which all happened: %v", err)
	}
	s.add(&Answer{Seed: 3, Violations: []string{"x"}})
	if err := s.finish(&out); !errors.Is(err, ErrFailed) || s.Violations != 1 {
		t.Errorf("a run with a failing seed: %v", err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if last := lines[len(lines)-1]; !strings.HasPrefix(last, `{"seeds":1001,`) || !strings.Contains(last, `"violations":1,"failed":[3]`) {
		t.Errorf("last line: %s", last)
	}
}
