package agent

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"

	"telemetry/board"
	"telemetry/internal/config"
	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/wire"
)

func TestLampsSayHowLinksAndSpoolAre(t *testing.T) {
	const now = time.Hour
	heard := func(ages ...time.Duration) (out []uplink.LinkSnapshot) {
		for _, a := range ages {
			l := uplink.LinkSnapshot{}
			if a >= 0 {
				l.HeardNS = int64(now - a)
			}
			out = append(out, l)
		}
		return out
	}
	waits := func(age time.Duration) spool.Stats {
		return spool.Stats{Lanes: map[wire.Lane]spool.LaneStats{wire.LaneFull: {OldestSealedNS: int64(now - age)}}}
	}
	for name, c := range map[string]struct {
		got, want board.Lamp
	}{
		"no links":          {linkLamp(now, spool.Stats{}, nil), board.Dark},
		"all flow":          {linkLamp(now, spool.Stats{}, heard(0, time.Second)), board.Lit},
		"one is silent":     {linkLamp(now, spool.Stats{}, heard(0, time.Minute)), board.Slow},
		"none was heard":    {linkLamp(now, spool.Stats{}, heard(-1, time.Minute)), board.Fast},
		"spool moves":       {spoolLamp(now, waits(time.Second), heard(0)), board.Lit},
		"backlog":           {spoolLamp(now, waits(time.Minute), heard(0)), board.Slow},
		"backlog, no links": {spoolLamp(now, waits(time.Minute), nil), board.Lit},
		"disk is sick":      {spoolLamp(now, spool.Stats{Degraded: true}, heard(0)), board.Fast},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %d, want %d", name, c.got, c.want)
		}
	}
}

func TestTheBoardsLightsShineAndGoOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCar(t, 1, func(c *config.Agent) { c.Board, c.LEDs = "raspberry-pi-cm4", true })
		link, store := &gpiotest.Pin{N: "GPIO24"}, &gpiotest.Pin{N: "GPIO25"}
		c.openPin = pins(link, store)
		c.start(t)
		time.Sleep(5 * time.Second)
		if link.Read() != gpio.High || store.Read() != gpio.High {
			t.Errorf("while data flows: link %v, spool %v", link.Read(), store.Read())
		}
		if err := c.end(); err != nil {
			t.Error(err)
		}
		if link.Read() != gpio.Low || store.Read() != gpio.Low {
			t.Errorf("at the end: link %v, spool %v", link.Read(), store.Read())
		}
	})
}

// logged is a logger whose lines a test reads.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logged) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), s)
}

// noEdges is a line whose driver knows no edges.
type noEdges struct{ gpiotest.Pin }

func (*noEdges) In(gpio.Pull, gpio.Edge) error { return errors.New("edges are not supported") }

func TestAPowerFailLineThatCannotBeWatchedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCar(t, 0, func(c *config.Agent) { c.Board, c.Power.Fail = "raspberry-pi-cm4", true })
		var log logged
		c.log = slog.New(slog.NewTextHandler(&log, nil))
		c.openPin = func(board.Pin) (gpio.PinIO, error) { return &noEdges{gpiotest.Pin{N: powerFailLine}}, nil }
		c.start(t)
		time.Sleep(2 * time.Second)
		if n := log.count("power-fail line is not watched"); n != 1 {
			t.Errorf("told %d times, want once", n)
		}
		if err := c.end(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnIgnitionThatWasNeverOnStopsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		var log logged
		key := &gpiotest.Pin{N: ignitionLine, L: gpio.Low, EdgesChan: make(chan gpio.Level, 1)}
		start := func() *car {
			c := newCar(t, 0, func(c *config.Agent) {
				c.Board, c.Power, c.Spool.Dir = "raspberry-pi-cm4", config.Power{Ignition: true}, filepath.Join(dir, "spool")
			})
			c.log = slog.New(slog.NewTextHandler(&log, nil))
			c.openPin = pins(key)
			return c
		}
		c := start()
		c.start(t)
		time.Sleep(2 * time.Minute)
		if c.Status().Car == "" || c.Status().Draining || log.count("never seen on") != 1 {
			t.Errorf("off from the start: draining %v, told %d times", c.Status().Draining, log.count("never seen on"))
		}
		if err := c.end(); err != nil {
			t.Error(err)
		}
		if err := key.Out(gpio.High); err != nil {
			t.Fatal(err)
		}
		c = start()
		c.start(t)
		time.Sleep(time.Second)
		if err := c.end(); err != nil {
			t.Error(err)
		}
		// The line works: a process that starts while it is off ends again.
		if err := key.Out(gpio.Low); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := start().Run(ctx); !errors.Is(err, ErrPower) {
			t.Errorf("off after it was seen on: got %v, want ErrPower", err)
		}
	})
}

// The hardware watchdog is fed while the pipeline moves, and not when sampling
// stands still.
func TestTheHardwareWatchdogIsFedOnlyWhileThePipelineMoves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		device := filepath.Join(t.TempDir(), "watchdog")
		if err := os.WriteFile(device, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		c := newCar(t, 1, func(c *config.Agent) {
			c.Watchdog = config.Watchdog{Kind: "device", Timeout: config.Duration(20 * time.Second)}
		})
		c.board = board.Open(board.Profile{Name: "generic", Watchdog: device}, rootFS())
		fed := func() int {
			b, err := os.ReadFile(device)
			if err != nil {
				t.Fatal(err)
			}
			return len(b)
		}
		c.start(t)
		time.Sleep(time.Minute)
		before := fed()
		if before < 10 {
			t.Errorf("fed %d times in a minute", before)
		}
		c.mu.Lock()
		r := c.running
		c.mu.Unlock()
		r.stopSources() // as sources that hang: nobody said that it was on purpose
		time.Sleep(stuckSampling + 20*time.Second)
		stuck := fed()
		time.Sleep(time.Minute)
		if after := fed(); after != stuck {
			t.Errorf("fed %d times more although nothing is sampled", after-stuck)
		}
		if err := c.end(); err != nil {
			t.Error(err)
		}
		if b, err := os.ReadFile(device); err != nil || !bytes.HasSuffix(b, []byte("V")) {
			t.Errorf("not disarmed at the end: %v", err)
		}
	})
}
