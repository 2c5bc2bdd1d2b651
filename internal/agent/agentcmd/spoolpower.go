package agentcmd

import (
	"context"
	"errors"
	"os"

	"telemetry/internal/agent"
)

// errPower ends the process: the power goes, or was said to.
var errPower = errors.New("agentcmd: power fail: everything is durable, nothing more is written")

// awaitPower saves everything at the first signal, and then calls end. It returns
// with ctx.
func awaitPower(ctx context.Context, signals <-chan os.Signal, now func() *agent.Agent, end context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
		return
	case <-signals:
	}
	end(errors.Join(errPower, now().LosePower(ctx)))
}
