package links

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"telemetry/internal/agent"
	"telemetry/internal/cli"
	"telemetry/internal/config"
	"telemetry/internal/procs"
	"telemetry/uplink"
	"telemetry/wire"
)

// carConfig is what the car's process is told, as a file.
type carConfig struct {
	Agent  string // the agent's configuration
	Load   load
	Report string // where the carReport goes
}

// carReport is what the car's process tells at its end.
type carReport struct {
	Sends   []sentBatch
	Status  agent.Status
	Drained string // "" or why not
}

// sentBatch is one batch handed to one connection's writer.
type sentBatch struct {
	AtNS int64
	Link uint8
	Gen  uint32
	Lane wire.Lane
	Seq  uint64
	Size int
}

// RunCar runs the agent of a [carConfig] with the load, drains it, and writes the
// report. It is the whole of the car's process.
func RunCar(ctx context.Context, path string, stderr io.Writer) error {
	prefer()
	var cc carConfig
	if err := readJSON(path, &cc); err != nil {
		return err
	}
	cfg, err := config.ReadAgent(cc.Agent)
	if err != nil {
		return err
	}
	log, _ := cli.Logger(cfg.Log, stderr)
	debug.SetMemoryLimit(int64(cfg.MemoryLimit))
	var car atomic.Pointer[agent.Agent]
	src := &source{load: cc.Load, pending: func() int64 { return car.Load().Status().Lanes[wire.LaneFull.String()].PendingBytes }}
	watch := &watch{}
	a, err := agent.PrepareWith(cfg, os.DirFS("/"), log, "load", src, watch.wrap)
	if err != nil {
		return err
	}
	car.Store(a)
	ctx, cancel := context.WithCancel(ctx)
	go procs.Keep(ctx, log) // ends with ctx
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }() // ends with ctx, and is awaited
	err = sleepUntil(ctx, cc.Load.EndNS)
	var rep carReport
	if err == nil {
		drain, stop := context.WithTimeout(ctx, drainLimit)
		if err := a.Drain(drain); err != nil {
			rep.Drained = err.Error()
		}
		stop()
	}
	rep.Status = a.Status()
	cancel()
	err = errors.Join(err, <-ended)
	rep.Sends = watch.take()
	return errors.Join(err, writeJSON(cc.Report, rep))
}

func readJSON(path string, v any) error {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, v)
	}
	if err != nil {
		return fmt.Errorf("links: %s: %w", path, err)
	}
	return nil
}

func writeJSON(path string, v any) error {
	b, err := json.Marshal(v)
	if err == nil {
		err = os.WriteFile(path, b, 0o644)
	}
	if err != nil {
		return fmt.Errorf("links: %s: %w", path, err)
	}
	return nil
}

// watch notes every batch that any connection is given.
type watch struct {
	mu    sync.Mutex
	sends []sentBatch // guarded by mu
}

func (w *watch) take() []sentBatch {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sends
}

func (w *watch) wrap(d uplink.Dialer) uplink.Dialer { return watchedDialer{d, w} }

type watchedDialer struct {
	uplink.Dialer
	w *watch
}

// Dial implements uplink.Dialer.
func (d watchedDialer) Dial(ctx context.Context, req uplink.DialRequest) (uplink.Conn, error) {
	c, err := d.Dialer.Dial(ctx, req)
	if err != nil {
		return nil, err
	}
	return watchedConn{c, d.w}, nil
}

type watchedConn struct {
	uplink.Conn
	w *watch
}

// Unacked implements uplink.Watched.
func (c watchedConn) Unacked() (int64, bool) {
	if w, ok := c.Conn.(uplink.Watched); ok {
		return w.Unacked()
	}
	return 0, false
}

// Pace implements uplink.Paced.
func (c watchedConn) Pace(bytesPerS int64) {
	if p, ok := c.Conn.(uplink.Paced); ok {
		p.Pace(bytesPerS)
	}
}

// Try implements uplink.Prompt.
func (c watchedConn) Try(topic string, payload []byte) (uplink.Taken, error) {
	p, ok := c.Conn.(uplink.Prompt)
	if !ok {
		return uplink.NotTaken, nil
	}
	took, err := p.Try(topic, payload)
	if took != uplink.NotTaken {
		c.note(payload)
	}
	return took, err
}

// Flush implements uplink.Prompt.
func (c watchedConn) Flush() error {
	if p, ok := c.Conn.(uplink.Prompt); ok {
		return p.Flush()
	}
	return nil
}

// Send implements uplink.Conn.
func (c watchedConn) Send(topic string, payload []byte) error {
	c.note(payload)
	return c.Conn.Send(topic, payload)
}

// note takes down a batch that the connection is given.
func (c watchedConn) note(payload []byte) {
	if s, n, err := wire.ParseSend(payload); err == nil {
		if h, err := wire.ParseHeader(payload[n:]); err == nil {
			c.w.mu.Lock()
			c.w.sends = append(c.w.sends, sentBatch{bootNS(), s.Link, s.Gen, h.Stream.Lane, h.Seq, h.Size()})
			c.w.mu.Unlock()
		}
	}
}
