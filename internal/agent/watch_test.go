package agent

import (
	"testing"

	"telemetry/wire"
)

func TestWatchKeepsTheLatestValueOfEachChannel(t *testing.T) {
	p := &plan{catalogue: wire.Catalogue{Groups: []wire.Group{
		{Name: "g", Source: "s", Lane: wire.LaneFull, Channels: []wire.Channel{
			{Name: "speed", Unit: "m/s", Type: wire.TypeUint, Bits: 16, Scale: 0.5, Offset: 1},
			{Name: "gear", Type: wire.TypeInt, Bits: 4, Scale: 1, Enum: []wire.EnumValue{{Raw: -1, Name: "reverse"}}},
			{Name: "never", Type: wire.TypeUint, Bits: 1, Scale: 1},
		}},
		{Name: "live.g", Source: "s", Lane: wire.LaneLive, Channels: []wire.Channel{{Name: "speed"}}},
	}}}
	p.watches = newWatches(p)
	p.watches[0].take(&rowChunk{ticks: []int64{5e6, 6e6}, values: []int64{1, -1, 1, 20, 7, 0}, present: []uint64{0b001_011 << 5}, bit: 5})
	p.watches[0].take(&rowChunk{ticks: []int64{9e6}, values: []int64{30, 0, 0}, present: []uint64{0b001}})
	a := &Agent{plan: p, clock: fixedClock{}}
	got := a.Channels()
	if len(got) != 3 {
		t.Fatalf("%d channels, want those of the full lane: %+v", len(got), got)
	}
	speed, gear, never := got[0], got[1], got[2]
	if speed.Value == nil || *speed.Value != 16 || speed.TickNS != 9e6 || speed.AgeMS != 1 || speed.Rows != 3 || speed.Unit != "m/s" {
		t.Errorf("speed: %+v", speed)
	}
	if gear.Value == nil || *gear.Value != -1 || gear.Text != "reverse" || gear.TickNS != 5e6 {
		t.Errorf("gear: %+v", gear)
	}
	if never.Value != nil || never.TickNS != 0 || never.Rows != 3 {
		t.Errorf("never: %+v", never)
	}
}

// fixedClock stands at 10 ms since boot.
type fixedClock struct{ clocks }

func (fixedClock) BootNS() int64 { return 10e6 }
