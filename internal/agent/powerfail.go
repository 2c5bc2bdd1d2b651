package agent

import (
	"context"
	"errors"
	"fmt"

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
	if err = errors.Join(ferr, err); err != nil {
		return rep, fmt.Errorf("agent: power fail: %w", err)
	}
	return rep, nil
}
