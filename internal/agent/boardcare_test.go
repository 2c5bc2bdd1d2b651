package agent

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"

	"telemetry/board"
	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/wire"
)

// pins gives the agent lines of the test's own, by name.
func pins(ps ...*gpiotest.Pin) func(board.Pin) (gpio.PinIO, error) {
	return func(p board.Pin) (gpio.PinIO, error) {
		for _, x := range ps {
			if x.N == p.Line {
				return x, nil
			}
		}
		return nil, errors.New("no such pin")
	}
}

// onCM4 asks for the lines of a board that has them.
func onCM4(c *config.Agent) {
	c.Board = "raspberry-pi-cm4"
	c.Power = config.Power{Ignition: true, Fail: true, Drain: config.Duration(time.Minute)}
}

const ignitionLine, powerFailLine = "GPIO23", "GPIO22" // of the CM4's profile

func TestIgnitionOffSendsTheBacklogAndStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := map[point]int{}
		g := group("g", 2)
		src := &script{groups: []wire.Group{g}, runs: []func(context.Context, sensors.Sink) error{feed(g, 1, 50, want)}}
		c := newCar(t, 2, onCM4, namedSource{name: "s", source: src})
		key := &gpiotest.Pin{N: ignitionLine, L: gpio.High, EdgesChan: make(chan gpio.Level, 1)}
		fail := &gpiotest.Pin{N: powerFailLine, L: gpio.High, EdgesChan: make(chan gpio.Level, 1)}
		c.openPin = pins(key, fail)
		c.cloud.hold(true) // nothing is durable: there is a backlog
		done := make(chan error, 1)
		go func() { done <- c.Run(t.Context()) }()
		time.Sleep(5 * time.Second)
		if err := key.Out(gpio.Low); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if s := c.Status(); !s.Draining || s.Lanes["full"].Pending == 0 {
			t.Errorf("10 s after the key: got draining %v, %d pending", s.Draining, s.Lanes["full"].Pending)
		}
		c.cloud.hold(false)
		if err := <-done; !errors.Is(err, ErrPower) {
			t.Errorf("got %v, want ErrPower", err)
		}
		c.cloud.read(t, &c.plan.catalogue).checkFull(t, c.own(), want)
	})
}

func TestPowerFailLineMakesEverythingDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		want := map[point]int{}
		g := group("g", 2)
		src := &script{groups: []wire.Group{g}, runs: []func(context.Context, sensors.Sink) error{feed(g, 2, 50, want)}}
		c := newCar(t, 0, onCM4, namedSource{name: "s", source: src})
		key := &gpiotest.Pin{N: ignitionLine, L: gpio.High, EdgesChan: make(chan gpio.Level, 1)}
		fail := &gpiotest.Pin{N: powerFailLine, L: gpio.High, EdgesChan: make(chan gpio.Level, 1)}
		c.openPin = pins(key, fail)
		done := make(chan error, 1)
		go func() { done <- c.Run(t.Context()) }()
		time.Sleep(5 * time.Second)
		if err := fail.Out(gpio.Low); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, ErrPower) {
			t.Errorf("got %v, want ErrPower", err)
		}
		c.spooled(t).checkFull(t, c.own(), want)
	})
}

// warmFS is a machine whose one thermal zone a test heats while it is read.
type warmFS struct {
	fstest.MapFS
	mu   sync.Mutex
	temp string
}

func (f *warmFS) heat(milliC string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.temp = milliC
}

// ReadFile implements fs.ReadFileFS.
func (f *warmFS) ReadFile(name string) ([]byte, error) {
	if name != "sys/class/thermal/thermal_zone0/temp" {
		return f.MapFS.ReadFile(name)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return []byte(f.temp), nil
}

func TestAHotBoardShedsWhatIsSentAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCar(t, 1, func(c *config.Agent) { c.Thermal.Shed = 60 })
		root := &warmFS{MapFS: rootFS(), temp: "51000"}
		c.board = board.Open(board.Profile{Name: "generic"}, root)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		await := func(temp, want string) {
			t.Helper()
			root.heat(temp)
			for range 60 {
				if c.Status().Shed == want {
					return
				}
				time.Sleep(time.Second)
			}
			t.Errorf("at %s: shed %q, want %q", temp, c.Status().Shed, want)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		await("51000", "nothing")
		await("70000", "full")
		before := c.Status().Lanes["full"]
		time.Sleep(5 * time.Second)
		if after := c.Status().Lanes["full"]; after.Samples == before.Samples || after.Pending <= before.Pending {
			t.Errorf("while hot: from %+v to %+v, want samples taken and waiting", before, after)
		}
		await("40000", "nothing")
		if err := c.Drain(ctx); err != nil {
			t.Errorf("after it cooled: %v", err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// The service manager is told when the car runs, and fed while it does.
func TestServiceManagerIsToldAndFed(t *testing.T) {
	sock := filepath.Join(t.TempDir(), "notify")
	pc, err := net.ListenPacket("unixgram", sock)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pc.Close() }()
	t.Setenv("NOTIFY_SOCKET", sock)
	t.Setenv("WATCHDOG_USEC", "400000")
	c := newCar(t, 0, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	said := map[string]int{}
	b := make([]byte, 1024)
	for said["WATCHDOG=1"] < 3 || said["READY=1"] == 0 {
		if err := pc.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, _, err := pc.ReadFrom(b)
		if err != nil {
			t.Fatalf("said so far %v: %v", said, err)
		}
		for l := range strings.Lines(string(b[:n])) {
			said[strings.TrimSpace(l)]++
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
