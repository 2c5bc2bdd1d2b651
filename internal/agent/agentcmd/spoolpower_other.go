//go:build !linux

package agentcmd

import "os"

// powerSignals returns a channel that stays silent: there is no SIGPWR here.
func powerSignals() (sig <-chan os.Signal, stop func()) { return nil, func() {} }
