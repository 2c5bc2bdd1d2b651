package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"telemetry/sensors"
	"telemetry/spool"
)

// errDark is what a writer gets once power is going.
var errDark = errors.New("agent: power is going, nothing more is written")

// lastRows is how long the sources may take, once power is going, to hand on what
// they hold back: a filter's delay line, a fix that waits for its high precision.
const lastRows = 200 * time.Millisecond

// PowerFail is for the warning that power goes: the sources are stopped, what they
// gave is sealed and made durable, and neither spool nor session nor the modems'
// and the board's files are written afterwards. Run ends soon after with an error
// that says why, so that whoever supervises the process starts it again if the
// power stays. An agent that is not running has nothing to save.
func (a *Agent) PowerFail(ctx context.Context) (spool.PowerReport, error) {
	a.mu.Lock()
	r := a.running
	a.mu.Unlock()
	if r == nil {
		return spool.PowerReport{}, nil
	}
	r.dark.Store(true)
	r.stopSources()
	a.awaitLastRows(ctx, r)
	// What cannot be sealed in time is not taken: the rest matters more.
	ferr := r.encoder.Flush(ctx)
	rep, err := r.spool.PowerFail(ctx)
	if err = errors.Join(ferr, err, r.session.last(ctx)); err != nil {
		return rep, fmt.Errorf("agent: power fail: %w", err)
	}
	return rep, nil
}

// awaitLastRows waits until the sources have returned, for at most lastRows.
func (a *Agent) awaitLastRows(ctx context.Context, r *running) {
	limit, cancel := context.WithTimeout(ctx, lastRows)
	defer cancel()
	select {
	case <-r.sourcesDone:
	case <-r.ended:
	case <-limit.Done():
		for _, s := range r.super.Status() {
			if s.State == sensors.StateRunning {
				a.log.Warn("source did not stop before power fails, what it holds is lost", "source", s.Name)
			}
		}
	}
}

// write replaces a file durably, unless power is going: what is not needed must not
// wear the rest of the supply.
func (r *running) write(path string, b []byte) error {
	if r.dark.Load() {
		return errDark
	}
	return writeDurably(path, b)
}

// holdUp is how long the last writes may take once the supply is gone; see
// spool.PowerFail for how long they do.
const holdUp = 5 * time.Second

// LosePower is [Agent.PowerFail] within what a board's capacitors last, also when
// ctx has ended; it logs what was saved.
func (a *Agent) LosePower(ctx context.Context) error {
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdUp)
	defer cancel()
	rep, err := a.PowerFail(limit)
	a.log.Warn("power fail", "bytes", rep.Bytes, "took_ms", rep.Took.Milliseconds(), "error", err)
	return err
}
