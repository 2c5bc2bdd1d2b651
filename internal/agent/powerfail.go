package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"telemetry/spool"
)

// PowerFail is for the warning that power goes: the sources are stopped, what they
// gave is sealed and made durable, and nothing is written afterwards. Run ends soon
// after with an error that says why, so that whoever supervises the process starts
// it again if the power stays. An agent that is not running has nothing to save.
func (a *Agent) PowerFail(ctx context.Context) (spool.PowerReport, error) {
	a.mu.Lock()
	r := a.running
	a.mu.Unlock()
	if r == nil {
		return spool.PowerReport{}, nil
	}
	r.stopSources()
	// What cannot be sealed in time is not taken: the rest matters more.
	ferr := r.encoder.Flush(ctx)
	rep, err := r.spool.PowerFail(ctx)
	if err = errors.Join(ferr, err, r.session.keep()); err != nil {
		return rep, fmt.Errorf("agent: power fail: %w", err)
	}
	return rep, nil
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
