package spool

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"telemetry/wire"
)

// TestMain lets this test binary be the child that the laboratory starts.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "spool" && os.Args[2] == "child" {
		if err := Child(context.Background(), os.Args[3], os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestCrash breaks a few spools in the ways that need no root.
func TestCrash(t *testing.T) {
	for mode, runs := range map[string]int{"torn": 20, "flip": 40, "zero": 40, "kill": 6} {
		t.Run(mode, func(t *testing.T) {
			if testing.Short() {
				t.Skip("starts processes")
			}
			res, err := Crash(t.Context(), CrashConfig{Mode: mode, Runs: runs, Seed: 3, Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			if err := res.Err(); err != nil {
				t.Errorf("%v\n%s", err, strings.Join(res.Notes, "\n"))
			}
			if res.Runs != runs || res.Acked == 0 {
				t.Errorf("%+v", res)
			}
			if (mode == "flip" || mode == "zero") && res.ReportedLost == 0 {
				t.Errorf("damage that loses nothing: %+v", res)
			}
		})
	}
}

// TestJudge: the laboratory sees what it is there to see.
func TestJudge(t *testing.T) {
	id := func(seq uint64) wire.ID {
		return wire.ID{Stream: wire.Stream{Car: car, Epoch: wire.Epoch{Counter: 1, Nonce: 2}, Lane: wire.LaneFull}, Seq: seq}
	}
	for _, tc := range []struct {
		name   string
		writer []string
		reader []string
		want   verdict
	}{
		{"all there", []string{"A full 1 2 1 77"}, []string{"H full 1 2 1 77"}, verdict{acked: 1}},
		{"lost in silence", []string{"A full 1 2 1 77"}, nil, verdict{acked: 1, lost: 1}},
		{"lost and named", []string{"A full 1 2 4 77"}, []string{"L full 1 2 3 9 corrupt"}, verdict{acked: 1, lost: 1, reported: 1}},
		{"dropped for room", []string{"A full 1 2 4 77"}, []string{"L full 1 2 3 9 quota"}, verdict{acked: 1, lost: 1, reported: 1}},
		{"the cloud has it", []string{"A full 1 2 1 77", "S full 1 2 1"}, nil, verdict{acked: 1}},
		{"wrong bytes", []string{"A full 1 2 1 77"}, []string{"H full 1 2 1 78"}, verdict{acked: 1, wrong: 1}},
		{"there and named as lost", []string{"A full 1 2 1 77"}, []string{"H full 1 2 1 77", "L full 1 2 1 1 corrupt"}, verdict{acked: 1, wrong: 1}},
		{"twice", []string{"A full 1 2 1 77"}, []string{"H full 1 2 1 77", "H full 1 2 1 77"}, verdict{acked: 1, phantom: 1}},
		{"never promised", nil, []string{"H full 1 2 1 77"}, verdict{}},
		{"a reader's phantom", nil, []string{"X phantom full 1 2 1: nobody wrote it"}, verdict{phantom: 1}},
		{"a writer's fault", []string{"X wrong full 1 2 1"}, nil, verdict{wrong: 1}},
		{"a line cut short", []string{"A full 1 2"}, nil, verdict{wrong: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, s := newOracle(), newSeen()
			for _, l := range tc.writer {
				o.hear(l)
			}
			for _, l := range tc.reader {
				s.hear(l)
			}
			got := o.judge(s)
			got.notes = nil
			if fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("got %+v, want %+v", got, tc.want)
			}
		})
	}
	if got, rest, ok := parseID("full 1 2 3 tail of it"); !ok || got != id(3) || rest != "tail of it" {
		t.Errorf("%v %q %v", got, rest, ok)
	}
}

func TestPayloadKnowsItself(t *testing.T) {
	b := make([]byte, 300)
	want := tag{epoch: wire.Epoch{Counter: 5, Nonce: 6}, lane: wire.LaneFull, n: 9}
	makePayload(b, want)
	if got, err := readPayload(b); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	for _, at := range []int{21, payloadHead, len(b) - 1} {
		b[at] ^= 1
		if _, err := readPayload(b); err == nil {
			t.Errorf("byte %d changed, and nobody saw", at)
		}
		b[at] ^= 1
	}
}
