package agent

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/wire"
)

func TestStepOf(t *testing.T) {
	const s = int64(1e9)
	tests := []struct {
		name         string
		boot, utc    int64 // since the last anchor
		want         int64
		first, noise bool
	}{
		{name: "first anchor", first: true, boot: s, utc: 9 * s},
		{name: "no step", boot: 10 * s, utc: 10 * s},
		{name: "noise", boot: 10 * s, utc: 10*s + 9e6},
		{name: "slewed by 500 ppm for a minute", boot: 60 * s, utc: 60*s + 30e6},
		{name: "forward", boot: 10 * s, utc: 12 * s, want: 2 * s},
		{name: "back by three hours", boot: 10 * s, utc: 10*s - 3*3600*s, want: -3 * 3600 * s},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			last := wire.Anchor{ID: 1, BootNS: s, UTCNS: 1000 * s}
			if tt.first {
				last = wire.Anchor{}
			}
			if got := stepOf(last, wire.Anchor{ID: 2, BootNS: s + tt.boot, UTCNS: 1000*s + tt.utc}); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

func TestAnchorsAtOnceThenByIntervalAndAtASyncedClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, noLive, []wire.Group{group("g", 1)})
		c := newClock()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- anchorLoop(ctx, c, 10*time.Second, b.encoder, silent()) }()
		time.Sleep(time.Second)
		c.set(0, true)
		time.Sleep(10 * time.Second)
		c.set(-3*3600e9, true)
		time.Sleep(10 * time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		b.stop()
		got := b.received(t)
		var ids []uint64
		var sources []wire.AnchorSource
		for _, ctl := range got.controls {
			if a := ctl.Anchor; a != nil {
				ids, sources = append(ids, uint64(a.ID)), append(sources, a.Source)
			}
		}
		if !slices.Equal(ids, []uint64{1, 2, 3}) || !slices.Equal(sources, []wire.AnchorSource{wire.AnchorRTC, wire.AnchorNTP, wire.AnchorNTP}) {
			t.Errorf("anchors %v from %v", ids, sources)
		}
		if ev := got.events(); !slices.Equal(ev, []string{"clock_step"}) {
			t.Errorf("events %v", ev)
		}
		for _, body := range b.spool.bodies {
			if body.Lane != wire.LaneCritical {
				t.Errorf("a batch in %s", body.Lane)
			}
		}
	})
}
