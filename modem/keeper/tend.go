package keeper

import (
	"context"

	"telemetry/modem"
)

// tend does what a modem that answers needs on its normal way up: the PIN of
// its card, and a context as soon as the network has taken it in.
func (l *loop) tend(ctx context.Context, info modem.Info) {
	l.tendSIM(ctx, info)
	switch {
	case !info.Registered() || len(info.Addresses) > 0:
		l.dialled = false
	case !l.dialled && !l.k.parts.Config.Off:
		l.dialled = true
		if err := l.ctl.Dial(ctx); err != nil {
			l.k.log.Warn("data context not activated", "error", err)
		}
	}
}

// tendSIM gives the card its PIN, once for each card: a wrong one repeated
// locks it for good.
func (l *loop) tendSIM(ctx context.Context, info modem.Info) {
	if info.SIM == "READY" || info.SIM == "absent" {
		l.pinUsed = ""
		return
	}
	pin := l.k.parts.Config.PIN
	if info.SIM != "SIM PIN" || pin == "" || l.pinUsed != "" {
		return
	}
	l.pinUsed = pin
	if err := l.ctl.Unlock(ctx, pin); err != nil {
		l.k.log.Error("SIM refused its PIN: it is not tried again for this card", "error", err)
	}
}
