package demo

import (
	"encoding/json"
	"fmt"
	"strconv"
	"testing"

	"telemetry/internal/agent"
	"telemetry/sensors/sim"
)

// rowOf writes a row as the receiver does.
func rowOf(t *testing.T, m *sim.Model, g int, tick, start int64, change func(map[string]any)) []byte {
	t.Helper()
	group := m.Groups()[g]
	values := make([]int64, len(group.Channels))
	m.Fill(g, tick, values)
	v := map[string]any{"car": "c", "lane": "full", "seq": 1, "row": "1/1", "group": group.Name, "boot_ns": start + m.TickNS(g, tick), "clock": "synced"}
	for i := range group.Channels {
		v[group.Channels[i].Name] = json.Number(strconv.FormatFloat(physical(&group.Channels[i], values[i]), 'f', -1, 64))
	}
	if change != nil {
		change(v)
	}
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestEveryValueIsComparedWithTheSimulation(t *testing.T) {
	cfg := sim.Config{Channels: 60, RateMilliHz: 200_000, Seed: 3}
	m, err := sim.NewModel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const start = 5_000_000_000
	name := m.Groups()[0].Channels[2].Name
	for _, c := range []struct {
		name   string
		change func(map[string]any)
		wrong  bool
	}{
		{"as it was measured", nil, false},
		{"another value", func(v map[string]any) { v[name] = json.Number("123456.5") }, true},
		{"a value is absent", func(v map[string]any) { delete(v, name) }, true},
		{"a value is no number", func(v map[string]any) { v[name] = "12" }, true},
		{"a channel too many", func(v map[string]any) { v["ghost"] = 1 }, true},
		{"between two ticks", func(v map[string]any) { v["boot_ns"] = v["boot_ns"].(int64) + 1 }, true},
		{"values of the tick before", func(v map[string]any) { v["boot_ns"] = v["boot_ns"].(int64) + m.TickNS(0, 1) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			check, err := NewChecker(cfg)
			if err != nil {
				t.Fatal(err)
			}
			rows := [][]byte{rowOf(t, m, 0, 0, start, nil), rowOf(t, m, 1, 0, start, nil), rowOf(t, m, 0, 777, start, c.change)}
			for _, b := range rows {
				r, err := parseRow(b)
				if err != nil {
					t.Fatal(err)
				}
				check.Check(&r)
			}
			check.End()
			if (check.Wrong > 0) != c.wrong || (check.First != "") != c.wrong || check.Checked == 0 {
				t.Errorf("%d of %d values are wrong: %q", check.Wrong, check.Checked, check.First)
			}
		})
	}
}

func TestATickMayComeInSeveralRows(t *testing.T) {
	cfg := sim.Config{Channels: 60, RateMilliHz: 200_000, Seed: 3}
	m, err := sim.NewModel(cfg)
	if err != nil {
		t.Fatal(err)
	}
	const start = 5_000_000_000
	group := m.Groups()[0]
	width := len(group.Channels)
	only := func(from, to int) func(map[string]any) {
		return func(v map[string]any) {
			for i := range group.Channels {
				if i < from || i >= to {
					delete(v, group.Channels[i].Name)
				}
			}
		}
	}
	for _, c := range []struct {
		name  string
		rows  []func(map[string]any)
		wrong uint64
	}{
		{"in two", []func(map[string]any){only(0, 2), only(2, width)}, 0},
		{"the last columns first", []func(map[string]any){only(3, width), only(1, 3), only(0, 1)}, 0},
		{"one of two is missing", []func(map[string]any){only(0, 2)}, uint64(width - 2)},
		{"one of three is missing", []func(map[string]any){only(0, 1), only(2, width)}, 1},
		{"whole, and a part once more", []func(map[string]any){nil, only(0, 1)}, uint64(width - 1)},
	} {
		t.Run(c.name, func(t *testing.T) {
			check, err := NewChecker(cfg)
			if err != nil {
				t.Fatal(err)
			}
			rows := [][]byte{rowOf(t, m, 0, 0, start, nil)}
			for _, change := range c.rows {
				rows = append(rows, rowOf(t, m, 0, 777, start, change))
			}
			for _, b := range rows {
				r, err := parseRow(b)
				if err != nil {
					t.Fatal(err)
				}
				check.Check(&r)
			}
			if check.Wrong != 0 {
				t.Errorf("%d values are wrong before the end: %q", check.Wrong, check.First)
			}
			check.End()
			if check.Wrong != c.wrong || (check.First != "") != (c.wrong > 0) {
				t.Errorf("%d values are wrong, want %d: %q", check.Wrong, c.wrong, check.First)
			}
		})
	}
}

func TestSamplesOfARow(t *testing.T) {
	for text, want := range map[string]int{
		`{"car":"c","boot_ns":1,"group":"g","a":1,"b":2.5}`:          2,
		`{"car":"c","boot_ns":1,"group":"g"}`:                        0,
		`{"car":"c","boot_ns":1,"event":"lap","detail":"lap 1"}`:     1,
		`{"car":"c","boot_ns":1,"segment":1,"clock":"synced","x":0}`: 1,
	} {
		r, err := parseRow([]byte(text))
		if err != nil || r.samples() != want {
			t.Errorf("%s has %d samples (%v), want %d", text, r.samples(), err, want)
		}
	}
	for _, bad := range []string{``, `[]`, `{"car":"c"}`, `{"boot_ns":1,"group":7}`, `{"boot_ns":1`} {
		if _, err := parseRow([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestWhatASourceMadeAndTheSpoolLacksIsMade(t *testing.T) {
	status := func(values, counter, events, full, critical uint64) *agent.Status {
		return &agent.Status{
			Draining: true,
			Sources:  []agent.SourceStatus{{Name: "car", Values: values, Events: events, Counters: map[string]uint64{"values": counter}}, {Name: "agent", Values: 14, Counters: map[string]uint64{"values_critical": 4}}},
			Lanes:    map[string]agent.LaneStatus{"full": {Samples: full}, "critical": {Samples: critical}},
		}
	}
	for _, c := range []struct {
		name           string
		st             *agent.Status
		full, critical uint64
		note           bool
	}{
		{"all agree", status(100, 100, 2, 110, 6), 110, 6, false},
		{"lost before the spool", status(100, 100, 2, 105, 6), 110, 6, true},
		{"lost before the supervisor", status(90, 100, 2, 100, 6), 110, 6, true},
		{"an event lost", status(100, 100, 3, 110, 6), 110, 7, true},
		{"the spool has more", status(100, 100, 2, 115, 6), 115, 6, true},
		{"events of the session", status(100, 100, 2, 110, 10), 110, 10, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := madeOf(c.st)
			if m.full != c.full || m.critical != c.critical || (m.note != "") != c.note {
				t.Errorf("got %+v", m)
			}
		})
	}
	if fmt.Sprint(madeOf(&agent.Status{})) != fmt.Sprint(made{}) {
		t.Error("an agent that has not answered has made something")
	}
}
