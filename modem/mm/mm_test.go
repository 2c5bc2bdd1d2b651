package mm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"telemetry/modem/keeper"
)

// fakeBus holds objects and notes calls.
type fakeBus struct {
	objects map[string]Object
	calls   []string
	fail    error
}

func (b *fakeBus) Objects(context.Context) (map[string]Object, error) { return b.objects, b.fail }
func (b *fakeBus) Call(_ context.Context, path, method string, args ...any) error {
	b.calls = append(b.calls, strings.TrimPrefix(path, Root)+" "+strings.TrimPrefix(method, Service+".")+fmt.Sprintf("%v", args))
	return b.fail
}
func (b *fakeBus) Changed() <-chan struct{}      { return nil }
func (b *fakeBus) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func modemObject(device string, props map[string]any) Object {
	m := map[string]any{"Device": device, "UnlockRequired": uint32(1), "State": int32(8), "Sim": Root + "/SIM/0"}
	for k, v := range props {
		m[k] = v
	}
	return Object{ifModem: m, if3GPP: {"RegistrationState": uint32(1)}}
}

func TestTheRightModemIsFound(t *testing.T) {
	bus := &fakeBus{objects: map[string]Object{
		Root + "/Modem/0":  modemObject("/sys/devices/usb1/1-1/1-1.1", map[string]any{"EquipmentIdentifier": "111"}),
		Root + "/Modem/1":  modemObject("/sys/devices/usb1/1-1/1-1.2", map[string]any{"EquipmentIdentifier": "222", "PrimaryPort": "cdc-wdm1"}),
		Root + "/Bearer/0": {ifBearer: {}},
	}}
	for device, want := range map[string]string{"1-1.2": "/Modem/1", "111": "/Modem/0", "cdc-wdm1": "/Modem/1", "/sys/devices/usb1/1-1/1-1.1": "/Modem/0"} {
		if p, _, err := NewControl(bus, Settings{Device: device}).find(t.Context()); err != nil || p != Root+want {
			t.Errorf("%q: got %q, %v, want %q", device, p, err, want)
		}
	}
	if _, _, err := NewControl(bus, Settings{Device: "1-9"}).find(t.Context()); !errors.Is(err, ErrNotThere) {
		t.Errorf("missing: got %v", err)
	}
	if _, _, err := NewControl(bus, Settings{}).find(t.Context()); err == nil || errors.Is(err, ErrNotThere) {
		t.Errorf("two and no name: got %v, want an error that asks for one", err)
	}
}

func TestStatesOfCardAndNetwork(t *testing.T) {
	for name, c := range map[string]struct {
		props map[string]any
		reg   any
		sim   string
		want  int
	}{
		"home":                {nil, uint32(1), "READY", 1},
		"roaming, SMS only":   {nil, uint32(7), "READY", 5},
		"emergency only":      {nil, uint32(8), "READY", 2},
		"denied":              {nil, uint32(3), "READY", 3},
		"PIN wanted":          {map[string]any{"UnlockRequired": uint32(2)}, uint32(0), "SIM PIN", 0},
		"PIN2 wanted":         {map[string]any{"UnlockRequired": uint32(3)}, uint32(1), "READY", 1},
		"PUK wanted":          {map[string]any{"UnlockRequired": uint32(4)}, uint32(0), "SIM PUK", 0},
		"network lock":        {map[string]any{"UnlockRequired": uint32(9)}, uint32(0), "PH-LOCK", 0},
		"SIM missing":         {map[string]any{"State": int32(-1), "StateFailedReason": uint32(2)}, uint32(0), "absent", 0},
		"failed otherwise":    {map[string]any{"State": int32(-1), "StateFailedReason": uint32(3)}, uint32(0), "failed", 0},
		"registration absent": {nil, nil, "READY", 0},
	} {
		o := modemObject("x", c.props)
		o[if3GPP]["RegistrationState"] = c.reg
		info, err := NewControl(&fakeBus{objects: map[string]Object{Root + "/Modem/0": o}}, Settings{}).Poll(t.Context())
		if err != nil || info.SIM != c.sim || info.Registration != c.want {
			t.Errorf("%s: got %q, %d, %v, want %q, %d", name, info.SIM, info.Registration, err, c.sim, c.want)
		}
	}
}

func TestRungsAsCalls(t *testing.T) {
	for rung, want := range map[string][]string{
		"redial":   {"/Modem/0 Modem.Simple.Disconnect[/]"},
		"reattach": {"/Modem/0 Modem.Simple.Disconnect[/]", "/Modem/0 Modem.Modem3gpp.Register[]"},
		"radio":    {"/Modem/0 Modem.Enable[false]", "/Modem/0 Modem.Enable[true]"},
		"reset":    {"/Modem/0 Modem.Reset[]"},
	} {
		bus := &fakeBus{objects: map[string]Object{Root + "/Modem/0": modemObject("x", nil)}}
		if err := NewControl(bus, Settings{}).Do(t.Context(), rung); err != nil || !slices.Equal(bus.calls, want) {
			t.Errorf("%s: got %q, %v, want %q", rung, bus.calls, err, want)
		}
	}
	bus := &fakeBus{objects: map[string]Object{Root + "/Modem/0": modemObject("x", nil)}}
	if err := NewControl(bus, Settings{}).Do(t.Context(), "power_key"); err == nil {
		t.Error("a rung that D-Bus cannot do was done")
	}
}

func TestFailuresAreToldAndCounted(t *testing.T) {
	boom := errors.New("boom")
	bus := &fakeBus{objects: map[string]Object{Root + "/Modem/0": modemObject("x", nil)}}
	c := NewControl(bus, Settings{APN: "internet", PDPType: "IPV6"})
	if err := c.Dial(t.Context()); err != nil || !strings.Contains(bus.calls[0], "apn:internet") || !strings.Contains(bus.calls[0], "ip-type:2") {
		t.Errorf("got %q, %v", bus.calls, err)
	}
	bus.fail = boom
	if _, err := c.Poll(t.Context()); !errors.Is(err, boom) || !errors.Is(err, keeper.ErrNoService) {
		t.Errorf("got %v, want that the service is at fault, not the modem", err)
	}
	bus.fail = errors.Join(keeper.ErrGone, boom)
	if _, err := c.Poll(t.Context()); !errors.Is(err, keeper.ErrGone) || errors.Is(err, keeper.ErrNoService) {
		t.Errorf("a lost bus: got %v", err)
	}
}
