package agent

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/filter"
	"telemetry/wire"
)

// TestPowerFailTakesWhatSourcesHoldBack: the delay line of a filter comes out when its
// source ends, and a source may take a moment for its last rows.
func TestPowerFailTakesWhatSourcesHoldBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want, held := map[point]int{}, map[point]int{} // of one source each
		slow := group("slow", 2)
		g := wire.Group{Name: "pot", Lane: wire.LaneFull, RateMilliHz: 100_000, Channels: []wire.Channel{{Name: "pot_fl", Type: wire.TypeInt, Bits: 16, Scale: 1}}}
		steady := &script{groups: []wire.Group{g}, runs: []func(context.Context, sensors.Sink) error{
			func(ctx context.Context, out sensors.Sink) error {
				for i := int64(0); ctx.Err() == nil; i++ {
					tick := bootBase + i*10_000_000
					want[point{channel: "pot_fl", tick: tick, raw: 7}]++
					if err := out.Append(sensors.Rows{Ticks: []int64{tick}, Values: []int64{7}}); err != nil {
						return err
					}
					select {
					case <-time.After(10 * time.Millisecond):
					case <-ctx.Done():
					}
				}
				return nil
			},
		}}
		smooth, err := filter.Smooth(steady, []filter.Cut{{Hz: 10}})
		if err != nil {
			t.Fatal(err)
		}
		late := &script{groups: []wire.Group{slow}, runs: []func(context.Context, sensors.Sink) error{
			func(ctx context.Context, out sensors.Sink) error {
				<-ctx.Done()
				time.Sleep(lastRows / 2)
				return out.Append(randomRows(rand.New(rand.NewPCG(9, 9)), 0, slow, 1e14, 5, false, held))
			},
		}}
		c := newCar(t, 0, nil, namedSource{name: "smooth", source: smooth}, namedSource{name: "late", source: late})
		c.start(t)
		time.Sleep(3 * time.Second)
		if _, err := c.PowerFail(t.Context()); err != nil {
			t.Error(err)
		}
		_ = c.end() // it may say that nothing more is written
		maps.Copy(want, held)
		c.spooled(t).checkFull(t, c.own(), want)
	})
}

// TestPowerFailDoesNotWaitForASourceThatHangs: what the others gave is durable all
// the same.
func TestPowerFailDoesNotWaitForASourceThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := map[point]int{}
		g, release := group("g", 2), make(chan struct{})
		hangs := &script{groups: []wire.Group{group("h", 1)}, runs: []func(context.Context, sensors.Sink) error{
			func(context.Context, sensors.Sink) error { <-release; return nil },
		}}
		src := &script{groups: []wire.Group{g}, runs: []func(context.Context, sensors.Sink) error{feed(g, 2, 50, want)}}
		c := newCar(t, 0, nil, namedSource{name: "s", source: src}, namedSource{name: "hangs", source: hangs})
		c.start(t)
		time.Sleep(5 * time.Second)
		begun := time.Now()
		if _, err := c.PowerFail(t.Context()); err != nil {
			t.Error(err)
		}
		if d := time.Since(begun); d > 2*lastRows {
			t.Errorf("it took %v", d)
		}
		_ = c.end() // it may say that nothing more is written
		close(release)
		c.spooled(t).checkFull(t, c.own(), want)
	})
}

// TestNothingIsWrittenOnceItIsDark: neither commands nor the end of Run write the
// session's, the links' or a modem's file on the rest of the supply.
func TestNothingIsWrittenOnceItIsDark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCar(t, 1, func(cfg *config.Agent) { cfg.Links[0].Interface = "lo" })
		c.start(t)
		time.Sleep(3 * time.Second)
		s, err := c.Agent.sessions()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.start("Q1"); err != nil {
			t.Fatal(err)
		}
		c.mu.Lock()
		r := c.running
		c.mu.Unlock()
		r.care.used.save()
		if _, err := c.PowerFail(t.Context()); err != nil {
			t.Error(err)
		}
		files := []string{sessionFile, usageName}
		for _, name := range files {
			if err := os.Remove(filepath.Join(c.dir, name)); err != nil {
				t.Errorf("it was not there before: %v", err)
			}
		}
		if on, _ := s.mark("too late"); on == nil || !strings.Contains(on.Unkept, errDark.Error()) {
			t.Errorf("a mark that is not written says: %+v", on)
		}
		if err := r.write(filepath.Join(c.dir, "modem-a.json"), []byte("{}")); !errors.Is(err, errDark) {
			t.Errorf("a modem's file: %v", err)
		}
		_ = c.end() // it may say that nothing more is written
		for _, name := range append(files, "modem-a.json") {
			if _, err := os.Stat(filepath.Join(c.dir, name)); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s was written: %v", name, err)
			}
		}
	})
}

// TestPowerFailEndsWithinItsLimit: a disk that hangs with the session's file does not
// keep those waiting who switch the board off.
func TestPowerFailEndsWithinItsLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := openPit(t, ringTrack(), t.TempDir(), 1)
		p.write = func(string, []byte) error { time.Sleep(time.Minute); return nil }
		p.mu.Lock()
		p.begin("Q1", p.now)
		p.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), holdUp)
		defer cancel()
		begun := time.Now()
		if err := p.sessions.last(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the limit", err)
		}
		if d := time.Since(begun); d != holdUp {
			t.Errorf("it took %v, want %v", d, holdUp)
		}
		time.Sleep(time.Minute) // virtual: the write ends
	})
}
