package agent

import (
	"fmt"

	"telemetry/spool"
	"telemetry/spool/atrest"
	"telemetry/wire"
)

// spoolKeys returns what encrypts the card; nil when it is in the clear.
func (a *Agent) spoolKeys() (keys spool.KeyBox, only bool, err error) {
	e := a.cfg.Spool.Encrypt
	if e == nil {
		return nil, false, nil
	}
	box, err := atrest.Load(e.Identity, e.Recipients)
	if err != nil {
		return nil, false, fmt.Errorf("agent: spool.encrypt: %w (`edgeagent spool keygen` makes an identity)", err)
	}
	return box, e.Only, nil
}

// diskStates names the states of the card in the data.
func diskStates() (out []wire.EnumValue) {
	for s := spool.DiskOK; s <= spool.DiskFailing; s++ {
		out = append(out, wire.EnumValue{Raw: int64(s), Name: s.String()})
	}
	return out
}
