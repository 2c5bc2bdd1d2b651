package demo

import (
	"reflect"
	"testing"
	"time"

	"telemetry/lab/link"
)

func TestScriptSilencesOneLinkAndCutsAnother(t *testing.T) {
	for _, run := range []time.Duration{3 * time.Second, 10 * time.Second, 30 * time.Second, 2 * time.Minute} {
		for seed := range uint64(5) {
			s := WriteScript(run, 3, seed)
			silent, cut := map[int]bool{}, map[int]bool{}
			for _, i := range s {
				if i.To <= i.From || i.To > run {
					t.Fatalf("%v, seed %d: incident %+v outside the run", run, seed, i)
				}
				if !i.Told {
					continue
				}
				if i.State == link.Silent {
					silent[i.Link] = true
				} else {
					cut[i.Link] = true
				}
				if s.StateAt(i.Link, i.From) != i.State {
					t.Errorf("%v, seed %d: %+v does not happen", run, seed, i)
				}
			}
			if len(silent) == 0 || len(cut) == 0 {
				t.Errorf("%v, seed %d: %d links silenced, %d cut", run, seed, len(silent), len(cut))
			}
			for l := range 3 {
				if s.StateAt(l, run) != link.Up {
					t.Errorf("%v, seed %d: link %d is not up at the end", run, seed, l)
				}
			}
		}
	}
}

func TestScriptNeverTakesAllLinksByWhatItTells(t *testing.T) {
	s := WriteScript(5*time.Minute, 3, 4)
	for at := time.Duration(0); at < 5*time.Minute; at += 50 * time.Millisecond {
		n := 0
		for _, i := range s {
			if i.Told && i.From <= at && at < i.To {
				n++
			}
		}
		if n > 1 {
			t.Fatalf("%d links are taken at %v", n, at)
		}
	}
}

func TestScriptIsDecidedByItsSeed(t *testing.T) {
	if !reflect.DeepEqual(WriteScript(time.Minute, 3, 9), WriteScript(time.Minute, 3, 9)) {
		t.Error("two scripts of one seed differ")
	}
	if reflect.DeepEqual(WriteScript(time.Minute, 3, 9), WriteScript(time.Minute, 3, 10)) {
		t.Error("two seeds have one script")
	}
}

func TestNextChangeLeadsThroughTheScript(t *testing.T) {
	s := Script{
		{Link: 0, From: time.Second, To: 3 * time.Second, State: link.Silent},
		{Link: 0, From: 2 * time.Second, To: 4 * time.Second, State: link.Down},
	}
	var at time.Duration
	var states []link.State
	for next := s.Next(at); next > 0; next = s.Next(at) {
		at = next
		states = append(states, s.StateAt(0, at))
	}
	if want := []link.State{link.Silent, link.Down, link.Down, link.Up}; !reflect.DeepEqual(states, want) {
		t.Errorf("got %v, want %v", states, want)
	}
}
