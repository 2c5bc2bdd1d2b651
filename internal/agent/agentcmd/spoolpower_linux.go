package agentcmd

import (
	"os"
	"os/signal"
	"syscall"
)

// powerSignals returns SIGPWR as a channel, which the board's power supervisor or
// an init sends, and what gives the signal back.
func powerSignals() (sig <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGPWR)
	return c, func() { signal.Stop(c) }
}
