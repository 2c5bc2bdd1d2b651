package modemsim_test

import (
	"context"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"telemetry/board"
	"telemetry/lab/link"
	"telemetry/lab/modemsim"
	"telemetry/modem/at"
	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
	"telemetry/sensors/serialport"
)

// echo is a receiver that proves delivery: it sends back what comes.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() { // ends when the listener closes
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, c); _ = c.Close() }() // ends when the far end closes
		}
	}()
	return ln.Addr().String()
}

// prove keeps a connection over the link and notes when bytes came back, as the
// uplink notes acks.
func prove(ctx context.Context, addr string, now func() time.Duration, proof *atomic.Int64) {
	for ctx.Err() == nil {
		c, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			pauseFor(ctx, 20*time.Millisecond)
			continue
		}
		b := make([]byte, 1)
		for ctx.Err() == nil {
			_ = c.SetDeadline(time.Now().Add(300 * time.Millisecond))
			if _, err := c.Write([]byte{1}); err != nil {
				break
			}
			if _, err := io.ReadFull(c, b); err != nil {
				break
			}
			proof.Store(int64(now()))
			pauseFor(ctx, 20*time.Millisecond)
		}
		_ = c.Close()
	}
}

func pauseFor(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// serialIO is a serial port as the AT engine reads it.
type serialIO struct{ *serialport.Port }

func (p serialIO) Read(b []byte) (int, error) { return p.Port.Read(b, 50*time.Millisecond) }
func (p serialIO) Write(b []byte) (int, error) {
	if err := p.Port.Write(b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// TestFromDeadDataToPowerKeyToData closes the whole loop with real parts: a
// serial port, GPIO pins that the simulated modem feels, and a TCP connection
// over an emulated link that the modem carries.
func TestFromDeadDataToPowerKeyToData(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	begun := time.Now()
	now := func() time.Duration { return time.Since(begun) + time.Hour }
	m := modemsim.New(modemsim.Config{Boot: 300 * time.Millisecond, Register: 100 * time.Millisecond, Attach: 10 * time.Millisecond, Logout: 100 * time.Millisecond})
	spec, err := link.ParseSpec("rate=10M,delay=5ms")
	if err != nil {
		t.Fatal(err)
	}
	relay, err := link.NewRelay(echo(t), spec, spec, 1)
	if err != nil {
		t.Fatal(err)
	}
	var proof atomic.Int64
	port := filepath.Join(t.TempDir(), "tty-modem")
	key, reset := m.PowerKey(), m.ResetLine()
	g := keeper.NewGroup(now)
	short := ladder.Config{Hysteresis: 400 * time.Millisecond, Enumerate: time.Second, Settle: time.Second}
	for r := ladder.Redial; r <= ladder.PowerKey; r++ {
		short.Limits[r].Proof = 1200 * time.Millisecond
	}
	k := g.Add(keeper.Parts{
		Name: "a", Present: m.Present, Proof: func() time.Duration { return time.Duration(proof.Load()) },
		Open: func(context.Context) (keeper.Control, error) {
			p, err := serialport.Open(port, 115200)
			if err != nil {
				return nil, err
			}
			return at.NewControl(serialIO{p}, at.Settings{})
		},
		USB: func(context.Context) error { m.BusReset(); return nil },
		Reset: func(ctx context.Context, d time.Duration) error {
			return board.Hold(ctx, reset, board.Pin{Line: "reset"}, d)
		},
		Power: func(ctx context.Context, d time.Duration) error {
			return board.Hold(ctx, key, board.Pin{Line: "power_key"}, d)
		},
		Config: keeper.Config{Poll: 100 * time.Millisecond, Ladder: short},
	})
	parts := []func(){
		func() { _ = m.ServePTY(ctx, port) }, func() { m.Tie(ctx, relay) }, func() { _ = relay.Run(ctx) },
		func() { prove(ctx, relay.Addr(), now, &proof) }, func() { _ = k.Run(ctx) },
	}
	ended := make(chan struct{})
	for _, p := range parts {
		go func() { p(); ended <- struct{}{} }() // each ends with ctx
	}
	defer func() {
		cancel()
		for range parts {
			<-ended
		}
	}()
	await := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !ok(); pauseFor(ctx, 20*time.Millisecond) {
			if time.Now().After(end) {
				st := k.Status()
				t.Fatalf("%s: not within a minute: %s (%s), port %q, tried %v", what, st.State, st.Reason, st.PortError, st.Stats.Tried)
			}
		}
	}
	await("data at the start", func() bool { st := k.Status(); return st.State == ladder.Verified && st.Info.SIM == "READY" })
	m.Break(modemsim.Fault{NoData: true, Cure: modemsim.PowerKey})
	await("link silent", func() bool { return relay.State() == link.Silent })
	await("data again", func() bool { return k.Status().State == ladder.Verified && m.Data() })
	did := m.Actions()
	if len(did) == 0 || did[len(did)-1] != modemsim.PowerKey || !slices.Contains(did, modemsim.ResetPin) {
		t.Errorf("the modem felt %v, want the rungs up to the power key", did)
	}
}
