package agentcmd

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"telemetry/internal/agent"
)

// errPower ends the process: the power goes, or was said to.
var errPower = errors.New("agentcmd: power fail: everything is durable, nothing more is written")

// holdUp is how long the last writes may take; see spool.PowerFail for how long
// they do.
const holdUp = 5 * time.Second

// awaitPower saves everything at the first signal, and then calls end. It returns
// with ctx.
func awaitPower(ctx context.Context, signals <-chan os.Signal, now func() *agent.Agent, log *slog.Logger, end context.CancelCauseFunc) {
	select {
	case <-ctx.Done():
		return
	case <-signals:
	}
	limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), holdUp)
	defer cancel()
	rep, err := now().PowerFail(limit)
	log.Warn("power fail", "bytes", rep.Bytes, "took_ms", rep.Took.Milliseconds(), "error", err)
	end(errors.Join(errPower, err))
}
