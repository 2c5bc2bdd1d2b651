package sequence_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// says returns an event with a detail.
func says(c *sequencetest.Car, bootNS int64, name, detail string) topic.Record {
	return c.Seal(wire.Body{
		Lane: wire.LaneCritical, FirstNS: bootNS, LastNS: bootNS, Samples: 1,
		Payload: wire.AppendEvent(nil, &wire.Event{BootNS: bootNS, Name: name, Detail: detail}),
	})
}

// board reads records of telemetry.sessions as a compacted topic holds them.
func board(t *testing.T, recs []topic.Record) map[string]map[string]any {
	t.Helper()
	out := map[string]map[string]any{}
	for _, r := range recs {
		if r.Topic != "telemetry.sessions" {
			continue
		}
		var v map[string]any
		if err := json.Unmarshal(r.Value, &v); err != nil {
			t.Fatal(err)
		}
		out[string(r.Key)] = v
	}
	return out
}

func TestSessionsHaveTheirOwnTopic(t *testing.T) {
	b, c := opened(t, config())
	b.apply(
		says(c, 2000*ms, "session_start", `{"id":"57-ab","name":"Q1","track":"Spa"}`),
		says(c, 3000*ms, "lap", "lap 2, last 20.000 s"), // of a simulated car: no session's
		says(c, 4000*ms, "sector", `{"id":"57-ab","lap":1,"sector":2,"time_ns":20000000000}`),
		says(c, 5000*ms, "lap", `{"id":"57-ab","lap":1,"time_ns":40000000000,"complete":false}`),
		says(c, 6000*ms, "session_mark", `{"id":"57-ab","n":1,"text":"new tyres"}`),
	)
	got := board(t, b.write())
	keys := []string{}
	for k := range got {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	if want := []string{"car-1/57-ab", "car-1/57-ab/lap/1", "car-1/57-ab/lap/1/sector/2", "car-1/57-ab/mark/1", "car-1/57-ab/start"}; !slices.Equal(keys, want) {
		t.Fatalf("keys %q, want %q", keys, want)
	}
	on := got["car-1/57-ab"]
	if on["state"] != "running" || on["name"] != "Q1" || on["track"] != "Spa" || on["clock"] != "synced" || on["car"] != "car-1" {
		t.Errorf("session %v", on)
	}
	if l := got["car-1/57-ab/lap/1"]; fmt.Sprint(l["time_ns"], l["complete"]) != "4e+10 false" {
		t.Errorf("lap %v", l)
	}
	if m := got["car-1/57-ab/mark/1"]; m["text"] != "new tyres" {
		t.Errorf("mark %v", m)
	}

	b.apply(says(c, 7000*ms, "session_stop", `{"id":"57-ab","name":"Q1","laps":1,"best_ns":40000000000}`))
	if on := board(t, b.write())["car-1/57-ab"]; on["state"] != "stopped" || fmt.Sprint(on["laps"], on["best_ns"]) != "1 4e+10" {
		t.Errorf("after its end: %v", on)
	}
}

func TestLateStartDoesNotReopenASession(t *testing.T) {
	b, c := opened(t, config())
	start := says(c, 2000*ms, "session_start", `{"id":"57-ab","name":"Q1"}`)
	b.apply(says(c, 7000*ms, "session_stop", `{"id":"57-ab","name":"Q1"}`))
	b.tick(time.Minute)
	if on := board(t, b.write())["car-1/57-ab"]; on["state"] != "stopped" {
		t.Fatalf("%v", on)
	}
	b.apply(start)
	got := board(t, b.write())
	if _, again := got["car-1/57-ab"]; again || got["car-1/57-ab/start"]["name"] != "Q1" {
		t.Errorf("%v", got)
	}
}
