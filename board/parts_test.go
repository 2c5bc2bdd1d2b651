package board

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"
)

func TestProfilesOfTheBoardsInUse(t *testing.T) {
	for compatible, want := range map[string]string{
		"raspberrypi,4-compute-module\x00brcm,bcm2711\x00":                      "raspberry-pi-cm4",
		"raspberrypi,5-compute-module\x00brcm,bcm2712\x00":                      "raspberry-pi-cm5",
		"ti,am335x-bone-black\x00ti,am335x-bone\x00":                            "beaglebone-black",
		"toradex,verdin-imx8mp-wifi\x00toradex,verdin-imx8mp\x00fsl,imx8mp\x00": "verdin-imx8mp",
		"ti,j721e-evm\x00ti,j721e\x00":                                          "ti-j721e",
	} {
		p, err := Detect(fstest.MapFS{"proc/device-tree/compatible": {Data: []byte(compatible)}})
		if err != nil || p.Name != want {
			t.Errorf("%q: got %q, %v, want %q", compatible, p.Name, err, want)
		}
	}
	ps, err := Profiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		lines := map[string]bool{}
		for _, s := range p.Modems {
			for _, pin := range []*Pin{s.PowerKey, s.Reset} {
				if pin == nil {
					continue
				}
				if pin.Line == "" || lines[pin.Line] {
					t.Errorf("%s: line %q of modem %s is missing or used twice", p.Name, pin.Line, s.Name)
				}
				lines[pin.Line] = true
			}
		}
	}
}

func TestAliveNamesWhatStandsStill(t *testing.T) {
	var a Alive
	var samples, sent uint64
	busy := true
	a.Watch("sampling", 5*time.Second, func() (uint64, bool) { return samples, true })
	a.Watch("uplink", 5*time.Second, func() (uint64, bool) { return sent, busy })
	step := func(now time.Duration) error { return a.Check(now) }
	for now := time.Duration(0); now <= 20*time.Second; now += time.Second {
		samples++
		if now > 10*time.Second {
			busy = false // nothing to send is no fault
		}
		if err := step(now); (err != nil) != (now > 5*time.Second && now <= 10*time.Second) {
			t.Fatalf("at %v: got %v", now, err)
		}
	}
	err := step(30 * time.Second)
	if err == nil || !strings.Contains(err.Error(), "sampling") || strings.Contains(err.Error(), "uplink") {
		t.Errorf("got %v, want sampling named, and nothing else", err)
	}
}

type dog struct {
	mu     sync.Mutex
	fed    []time.Time
	closed bool
}

func (d *dog) Interval() time.Duration { return 8 * time.Second }
func (d *dog) Feed() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fed = append(d.fed, time.Now())
	return nil
}

func (d *dog) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	return nil
}

func TestWatchdogIsFedOnlyWhileThereIsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &dog{}
		start := time.Now()
		alive := func() error {
			if time.Since(start) >= time.Minute {
				return errors.New("stuck")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Guard(ctx, d, alive, slog.New(slog.DiscardHandler)) }()
		time.Sleep(2 * time.Minute)
		d.mu.Lock()
		last := d.fed[len(d.fed)-1].Sub(start)
		if last < time.Minute || last > time.Minute+2*time.Second || len(d.fed) < 30 {
			t.Errorf("fed %d times, last after %v; want until the first fault and not beyond the second", len(d.fed), last)
		}
		for i := 1; i < len(d.fed); i++ {
			if gap := d.fed[i].Sub(d.fed[i-1]); gap > d.Interval()/2 {
				t.Errorf("%v between two feedings", gap)
			}
		}
		d.mu.Unlock()
		cancel()
		if err := <-done; err != nil || !d.closed {
			t.Errorf("end: got %v, closed %v, want a disarmed watchdog", err, d.closed)
		}
	})
}

func TestIgnitionPolicy(t *testing.T) {
	g := Ignition{Drain: time.Minute}
	for _, s := range []struct {
		at      time.Duration
		on      bool
		backlog int64
		want    Power
	}{
		{0, true, 5, Run},
		{time.Second, false, 5, Run}, // cranking
		{2 * time.Second, true, 5, Run},
		{10 * time.Second, false, 5, Run},
		{12 * time.Second, false, 5, Drain},
		{40 * time.Second, false, 0, Stop},
		{41 * time.Second, true, 9, Run}, // on again
		{50 * time.Second, false, 9, Run},
		{100 * time.Second, false, 9, Drain},
		{113 * time.Second, false, 9, Stop}, // time is up with a backlog
	} {
		if got := g.Step(s.at, s.on, s.backlog); got != s.want {
			t.Errorf("at %v, on %v, backlog %d: got %v, want %v", s.at, s.on, s.backlog, got, s.want)
		}
	}
}

// A line that is broken, or that this process may not read, says off from the
// start: a car that is driven must not be switched off for it.
func TestALineThatWasNeverOnSwitchesNothingOff(t *testing.T) {
	g := Ignition{}
	for now := time.Duration(0); now < time.Hour; now += time.Minute {
		if got := g.Step(now, false, 0); got != Run {
			t.Fatalf("at %v: got %v", now, got)
		}
	}
	g.Step(time.Hour, true, 0)
	g.Step(time.Hour+time.Second, false, 0)
	if got := g.Step(time.Hour+4*time.Second, false, 0); got != Stop {
		t.Errorf("after it was on: got %v, want Stop", got)
	}
	known := Ignition{Seen: true} // by an earlier process
	known.Step(0, false, 0)
	if got := known.Step(3*time.Second, false, 0); got != Stop {
		t.Errorf("a line that is known to work: got %v, want Stop", got)
	}
}

func TestLampsBlink(t *testing.T) {
	for lamp, want := range map[Lamp]int{Dark: 0, Lit: 0, Slow: 2, Fast: 4} { // changes in a second
		changes, was := 0, lamp.Shines(0)
		for now := time.Duration(0); now < time.Second; now += time.Millisecond {
			if is := lamp.Shines(now); is != was {
				was = is
				changes++
			}
		}
		if lamp.Shines(time.Second) != was {
			changes++
		}
		if changes != want || (lamp == Lit) != lamp.Shines(700*time.Millisecond) && lamp < Slow {
			t.Errorf("lamp %d: %d changes in a second, want %d", lamp, changes, want)
		}
	}
}

func TestHeatShedsTheLowestLaneFirstAndComesBack(t *testing.T) {
	var h Heat
	var got []Shed
	for i, temp := range []int64{70, 86, 86, 86, 83, 82, 79, 79, 79, 79} {
		got = append(got, h.Step(time.Duration(i)*10*time.Second, temp*1000))
	}
	want := []Shed{ShedNothing, ShedLive, ShedFull, ShedFull, ShedFull, ShedFull, ShedLive, ShedNothing, ShedNothing, ShedNothing}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if h.Step(91*time.Second, 90_000) != ShedLive || h.Step(92*time.Second, 90_000) != ShedLive {
		t.Error("two steps within ten seconds")
	}
}

func TestStorageHealth(t *testing.T) {
	root := fstest.MapFS{
		"sys/block/mmcblk0/stat":                {Data: []byte("  1 2 3 4 5 6 2048 8 9 10 11\n")},
		"sys/block/mmcblk0/ro":                  {Data: []byte("0\n")},
		"sys/block/mmcblk0/device/life_time":    {Data: []byte("0x02 0x03\n")},
		"sys/block/mmcblk0/device/pre_eol_info": {Data: []byte("0x02\n")},
		"sys/block/loop0/stat":                  {Data: []byte("1\n")},
		"sys/block/sda/stat":                    {Data: []byte("rotten\n")},
		"sys/block/sda/ro":                      {Data: []byte("1\n")},
	}
	got, err := Open(Profile{}, root).Storages()
	want := []Storage{
		{Device: "mmcblk0", WrittenBytes: 1 << 20, WearPercent: 30, Reserve: "80% used"},
		{Device: "sda", WearPercent: -1, ReadOnly: true},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %+v, %v, want %+v", got, err, want)
	}
}

func TestHoldReleasesTheLineWhateverHappens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pin := &gpiotest.Pin{N: "pwrkey", L: gpio.High}
		start := time.Now()
		if err := Hold(t.Context(), pin, Pin{Line: "pwrkey", ActiveLow: true}, 600*time.Millisecond); err != nil {
			t.Fatal(err)
		}
		if time.Since(start) != 600*time.Millisecond || pin.Read() != gpio.High {
			t.Errorf("held %v, then %v", time.Since(start), pin.Read())
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Hold(ctx, pin, Pin{Line: "pwrkey"}, time.Hour); !errors.Is(err, context.Canceled) || pin.Read() != gpio.Low {
			t.Errorf("cancelled: got %v, line %v", err, pin.Read())
		}
	})
}

func TestUSBDevicesByTheirPlace(t *testing.T) {
	root := fstest.MapFS{}
	for name, data := range map[string]string{
		"1-1.2/idVendor": "2c7c\n", "1-1.2/idProduct": "0125\n", "1-1.2/product": "EC25\n",
		"1-1.2:1.0/ttyUSB4": "", "1-1.2:1.2/ttyUSB6": "", "1-1.2:1.4/net/wwan1/address": "",
		"1-1.3/idVendor": "0403\n", "1-1.3:1.0/ttyUSB9": "", // a serial adapter is no modem
	} {
		root["sys/bus/usb/devices/"+name] = &fstest.MapFile{Data: []byte(data)}
	}
	b := Open(Profile{}, root)
	u := b.USBDevice("1-1.2")
	if !u.Present || u.Vendor != "2c7c" || u.Name != "EC25" || u.TTYs[2] != "ttyUSB6" || !slices.Equal(u.Nets, []string{"wwan1"}) {
		t.Errorf("got %+v", u)
	}
	if b.USBDevice("1-9").Present {
		t.Error("a missing device is present")
	}
	if ms := b.Modems(); len(ms) != 1 || ms[0].Path != "1-1.2" {
		t.Errorf("modems: got %+v", ms)
	}
}

func TestReauthoriseBringsTheDeviceBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var wrote []string
		write := func(name string, b []byte) error { wrote = append(wrote, name+"="+string(b)); return nil }
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := ReauthoriseUSB(ctx, "1-1.2", write); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		want := []string{"sys/bus/usb/devices/1-1.2/authorized=0", "sys/bus/usb/devices/1-1.2/authorized=1"}
		if !slices.Equal(wrote, want) {
			t.Errorf("got %q, want %q", wrote, want)
		}
		if err := ReauthoriseUSB(t.Context(), "9-9", func(string, []byte) error { return fs.ErrNotExist }); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("missing device: got %v", err)
		}
	})
}

func TestOpenPinSaysWhatIsMissing(t *testing.T) {
	_, err := OpenPin(Pin{Line: "no such line"})
	if err == nil || !strings.Contains(err.Error(), "no such line") {
		t.Errorf("got %v", err)
	}
}
