//go:build foreign

package mm_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"telemetry/modem"
	"telemetry/modem/keeper"
	"telemetry/modem/mm"
)

// busOnly starts a D-Bus of its own.
func busOnly(t *testing.T) (address string) {
	t.Helper()
	daemon := exec.Command("dbus-daemon", "--session", "--print-address=1", "--nofork", "--nosyslog")
	out, err := daemon.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := daemon.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = daemon.Process.Kill(); _ = daemon.Wait() })
	address, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(address)
}

// mockBus starts a D-Bus with python-dbusmock's ModemManager on it.
func mockBus(t *testing.T) (address string) {
	t.Helper()
	address = busOnly(t)
	mock := exec.Command("/usr/bin/python3", "-m", "dbusmock", "--session", "--template", "testdata/modemmanager.py")
	mock.Env = append(mock.Environ(), "DBUS_SESSION_BUS_ADDRESS="+address)
	var said bytes.Buffer
	mock.Stdout, mock.Stderr = &said, &said
	if err := mock.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = mock.Process.Kill()
		_ = mock.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	return address
}

func TestModemManagerOverDBus(t *testing.T) {
	bus, err := mm.Connect(t.Context(), mockBus(t))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	runCtx, stop := context.WithCancel(ctx)
	c := mm.NewControl(bus, mm.Settings{Device: "1-1.2", APN: "internet"})
	go func() { done <- c.Run(runCtx) }()
	poll := func(want string, ok func(modem.Info) bool) {
		t.Helper()
		info, err := c.Poll(ctx)
		if err != nil || !ok(info) {
			t.Errorf("%s: got %+v, %v", want, info, err)
		}
	}
	for { // until the mock has its name on the bus
		if _, err = c.Poll(ctx); err == nil || ctx.Err() != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(c.BringUp(ctx))
	poll("locked card, roaming, signal", func(i modem.Info) bool {
		return i.SIM == "SIM PIN" && i.Registration == 5 && i.Numbers["rsrp_dbm"] == -97 && i.Texts["operator"] == "Mock Mobile" && len(i.Addresses) == 0 &&
			i.Numbers["plmn"] == 26201 && i.Texts["iccid"] == "8944000000000000017" && i.Cell == 0x1A2B3C4 && i.Area == 0xC3
	})
	if err := c.Unlock(ctx, "0000"); !errors.Is(err, keeper.ErrRefused) {
		t.Errorf("wrong PIN: got %v, want ErrRefused", err)
	}
	must(c.Unlock(ctx, "4711"))
	must(c.Dial(ctx))
	poll("connected", func(i modem.Info) bool {
		return i.SIM == "READY" && slices.Equal(i.Addresses, []string{"10.64.0.5/30"}) && slices.Equal(i.NameServers, []string{"10.64.0.53"}) && i.MTU == 1430 &&
			i.Numbers["rx_bytes"] == 4618 && i.Numbers["tx_bytes"] == 3832
	})
	must(c.Do(ctx, "redial"))
	poll("disconnected", func(i modem.Info) bool { return len(i.Addresses) == 0 })
	must(c.Do(ctx, "reattach"))
	poll("registered at home", func(i modem.Info) bool { return i.Registration == 1 })
	must(c.Do(ctx, "radio"))
	must(c.Do(ctx, "reset"))
	select {
	case <-c.Changed():
	case <-ctx.Done():
		t.Error("no change was announced")
	}
	if n := c.Counters(); n["errors"] != 1 || n["calls"] < 8 {
		t.Errorf("counters: got %v", n)
	}
	stop()
	<-done
	if _, err := c.Poll(ctx); err == nil {
		t.Error("a closed bus answers")
	}
}

// A bus without ModemManager is no fault of a modem.
func TestModemManagerNotRunning(t *testing.T) {
	address := busOnly(t)
	bus, err := mm.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	if there, err := mm.Running(ctx, address); there || err != nil {
		t.Errorf("running: got %v, %v", there, err)
	}
	mock := mockBus(t)
	for there := false; !there; { // until the mock has its name on the bus
		if there, err = mm.Running(ctx, mock); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error, 1)
	go func() { done <- bus.Run(ctx) }()
	if _, err := mm.NewControl(bus, mm.Settings{}).Poll(ctx); !errors.Is(err, keeper.ErrNoService) {
		t.Errorf("got %v, want ErrNoService", err)
	}
	if err := mm.Restart(ctx, address); err == nil || !strings.Contains(err.Error(), "systemctl restart ModemManager") {
		t.Errorf("restart without systemd: got %v, want what to do", err)
	}
	stop()
	<-done
}
