package uplink

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/wire"
)

// deaf is a dialer whose receivers never answer.
type deaf struct{}

func (deaf) Dial(ctx context.Context, _ DialRequest) (Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

type bubbleClock struct{}

func (bubbleClock) BootNS() int64 {
	return time.Since(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC)).Nanoseconds()
}

// metredUplink is an uplink with one metered link and a ledger at path.
func meteredUplink(t *testing.T, path string, day *int64, log *slog.Logger) *Uplink {
	t.Helper()
	u, err := New(Config{Car: simCar, Epoch: simEpoch, Ledger: &Ledger{Path: path, Today: func() int64 { return *day }}}, newSimStore(),
		[]Link{{Name: "roaming", Addrs: []string{"tcp://a:1"}, Dialer: deaf{}, Meter: Meter{DayBytes: 1000}}}, bubbleClock{}, log)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func TestBudgetSurvivesARestartAndEndsWithTheDay(t *testing.T) {
	path := filepath.Join(t.TempDir(), "budgets.json")
	synctest.Test(t, func(t *testing.T) {
		day := int64(20_000)
		u := meteredUplink(t, path, &day, nil)
		u.engine.links[0].meter.count(1, 900)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx) }() // ends with ctx
		time.Sleep(ledgerEvery + time.Second)
		synctest.Wait()
		if all, err := u.cfg.Ledger.load(); err != nil || all["roaming"] != (Spent{Day: day, Top: day, Bytes: 900}) {
			t.Errorf("after %v the file says %v (%v), want 900 bytes", ledgerEvery, all, err)
		}
		u.post(func(u *Uplink, now int64) { u.engine.links[0].meter.count(now, 50) })
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		u = meteredUplink(t, path, &day, nil)
		if got := u.Snapshot().Links[0]; got.DayBytes != 950 || got.DayLimit != 1000 {
			t.Errorf("after a restart %d of %d bytes, want 950 of 1000", got.DayBytes, got.DayLimit)
		}
		if u.engine.links[0].meter.allows(1, wire.LaneFull, 100) {
			t.Error("a restart gave a new budget")
		}
		day++
		u = meteredUplink(t, path, &day, nil)
		if got := u.Snapshot().Links[0].DayBytes; got != 0 {
			t.Errorf("%d bytes on the next day, want 0", got)
		}
	})
}

func TestBudgetFileThatCannotBeReadStopsNothing(t *testing.T) {
	for name, text := range map[string]string{"no JSON": "{", "too large": strings.Repeat(" ", maxLedger+1)} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "budgets.json")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			day := int64(1)
			u := meteredUplink(t, path, &day, slog.New(slog.NewTextHandler(&said, nil)))
			if got := u.Snapshot().Links[0].DayBytes; got != 0 || !strings.Contains(said.String(), "begin anew") {
				t.Errorf("%d bytes, logged %q, want 0 and a warning", got, said.String())
			}
		})
	}
}

func TestBudgetsAreNotWrittenOncePowerIsGoing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "budgets.json")
	synctest.Test(t, func(t *testing.T) {
		var said strings.Builder
		day := int64(20_000)
		u := meteredUplink(t, path, &day, slog.New(slog.NewTextHandler(&said, nil)))
		var dark atomic.Bool
		written, refused := 0, 0
		u.cfg.Ledger.Write = func(name string, b []byte) error {
			if dark.Load() {
				refused++
				return errors.New("power is going")
			}
			written++
			return os.WriteFile(name, b, 0o600)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- u.Run(ctx) }() // ends with ctx
		time.Sleep(ledgerEvery + time.Second)
		synctest.Wait()
		if all, err := u.cfg.Ledger.load(); err != nil || written != 1 || all["roaming"].Day != day {
			t.Errorf("after %v the file was written %d times and says %v (%v), want once", ledgerEvery, written, all, err)
		}
		dark.Store(true)
		u.post(func(u *Uplink, now int64) { u.engine.links[0].meter.count(now, 50) })
		time.Sleep(ledgerEvery)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		es, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(es) != 1 || written != 1 || refused != 2 {
			t.Errorf("%d files, written %d times, refused %d times (%v), want 1, 1 and 2: once in its turn and once at the end", len(es), written, refused, err)
		}
		if !strings.Contains(said.String(), "not kept") {
			t.Errorf("logged %q", said.String())
		}
	})
}

func TestSystemDayIsTheCalendars(t *testing.T) {
	now := time.Now()
	if got := systemDay(); time.Unix(got*86400, 0).UTC().Format(time.DateOnly) != now.Format(time.DateOnly) && time.Unix(got*86400, 0).UTC().Format(time.DateOnly) != time.Now().Format(time.DateOnly) {
		t.Errorf("day %d, want that of %v", got, now)
	}
}
