package agent

import (
	"fmt"

	"telemetry/spool"
	"telemetry/spool/atrest"
	"telemetry/wire"
)

// cardKeys is what encrypts the card; the zero value leaves it in the clear.
type cardKeys struct {
	box   spool.KeyBox
	only  bool
	fault string // not "": the identity cannot be had, and box is for this process only
}

// spoolKeys reads the identity. A car whose identity cannot be had records and sends
// nevertheless, encrypted as it is configured: with a key that this process alone has, and
// the configured recipients.
func (a *Agent) spoolKeys() (cardKeys, error) {
	e := a.cfg.Spool.Encrypt
	if e == nil {
		return cardKeys{}, nil
	}
	box, err := atrest.Load(e.Identity, e.Recipients)
	if err == nil {
		return cardKeys{box: box, only: e.Only}, nil
	}
	temporary, terr := atrest.Temporary(e.Recipients)
	if terr != nil { // it is the recipients that are wrong
		return cardKeys{}, fmt.Errorf("agent: spool.encrypt: %w", err)
	}
	const advice = "make the identity readable, then restart (`edgeagent spool keygen` makes a new one)"
	if len(e.Recipients) == 0 {
		a.log.Error("identity of the card cannot be had and there are no recipients: what is not sent before this process ends can never be read, older batches wait",
			"file", e.Identity, "err", err, "advice", advice)
	} else {
		a.log.Error("identity of the card cannot be had: what is not sent before this process ends is for the recipients only, older batches wait",
			"file", e.Identity, "recipients", len(e.Recipients), "err", err, "advice", advice)
	}
	return cardKeys{box: temporary, only: e.Only, fault: err.Error()}, nil
}

// diskStates names the states of the card in the data.
func diskStates() (out []wire.EnumValue) {
	for s := spool.DiskOK; s <= spool.DiskFailing; s++ {
		out = append(out, wire.EnumValue{Raw: int64(s), Name: s.String()})
	}
	return out
}
