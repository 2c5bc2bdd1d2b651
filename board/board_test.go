package board

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"periph.io/x/conn/v3/gpio"
	"periph.io/x/conn/v3/gpio/gpiotest"
)

func TestEveryProfileParses(t *testing.T) {
	ps, err := Profiles()
	if err != nil {
		t.Fatal(err)
	}
	if len(ps) == 0 {
		t.Fatal("no profile")
	}
	for _, p := range ps {
		if got, err := Find(p.Name); err != nil || got.Name != p.Name {
			t.Errorf("Find(%q): got %q, %v", p.Name, got.Name, err)
		}
	}
}

func TestFindNamesWhatThereIs(t *testing.T) {
	_, err := Find("abacus")
	if err == nil || !strings.Contains(err.Error(), "generic") {
		t.Errorf("got %v, want an error that names generic", err)
	}
}

func TestParseProfileRefusesUnknownKeys(t *testing.T) {
	if _, err := ParseProfile([]byte(`{"name":"x","wheels":4}`)); err == nil {
		t.Error("an unknown key was accepted")
	}
	if _, err := ParseProfile([]byte(`{}`)); err == nil {
		t.Error("a profile without a name was accepted")
	}
}

func TestDetectFallsBackToGeneric(t *testing.T) {
	for name, root := range map[string]fstest.MapFS{
		"no device tree":  {},
		"unknown machine": {"proc/device-tree/compatible": {Data: []byte("acme,abacus\x00")}},
	} {
		if p, err := Detect(root); err != nil || p.Name != "generic" {
			t.Errorf("%s: got %q, %v", name, p.Name, err)
		}
	}
}

func TestTemperatures(t *testing.T) {
	root := fstest.MapFS{
		"sys/class/thermal/thermal_zone0/type": {Data: []byte("cpu-thermal\n")},
		"sys/class/thermal/thermal_zone0/temp": {Data: []byte("48312\n")},
		"sys/class/thermal/thermal_zone1/type": {Data: []byte("off\n")},
		"sys/class/thermal/thermal_zone2/type": {Data: []byte("cold\n")},
		"sys/class/thermal/thermal_zone2/temp": {Data: []byte("-5000\n")},
	}
	ts, err := Open(Profile{Name: "x"}, root).Temperatures()
	if err != nil || len(ts) != 2 || ts[0] != (Temperature{"cpu-thermal", 48312}) || ts[1] != (Temperature{"cold", -5000}) {
		t.Errorf("got %v, %v", ts, err)
	}
	ts, err = Open(Profile{Name: "x", Thermal: []string{"cold"}}, root).Temperatures()
	if err != nil || len(ts) != 1 || ts[0].Zone != "cold" {
		t.Errorf("chosen zones: got %v, %v", ts, err)
	}
}

func TestPowerFailNeedsTheDebounceTime(t *testing.T) {
	pin := &gpiotest.Pin{N: "power_fail", L: gpio.Low, EdgesChan: make(chan gpio.Level)}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- WatchPowerFail(ctx, pin, Pin{Line: "power_fail"}) }()
	for {
		select {
		case pin.EdgesChan <- gpio.High: // In may flush the first edges
		case err := <-done:
			if err != nil {
				t.Errorf("got %v, want nil", err)
			}
			return
		}
	}
}

func TestPowerFailEndsWithItsContext(t *testing.T) {
	pin := &gpiotest.Pin{N: "power_fail", L: gpio.High, EdgesChan: make(chan gpio.Level, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- WatchPowerFail(ctx, pin, Pin{Line: "power_fail", ActiveLow: true}) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
