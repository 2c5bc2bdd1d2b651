package keeper

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"telemetry/modem/at"
)

// bringUp identifies the module, and gives it its access point, radio and
// context. A command that the module refuses is noted; the ladder judges by
// proof.
func (l *loop) bringUp(ctx context.Context, eng *at.Engine) error {
	if err := l.drv.Identify(ctx); err != nil {
		return err
	}
	l.k.log.Info("modem identified", "profile", l.drv.Profile().Name)
	if err := l.defineContext(ctx, eng); err != nil {
		return err
	}
	r, err := eng.Command(ctx, at.Command{Text: "AT+CFUN?", Prefix: "+CFUN"})
	if fun, ok := r.First().Int(0); err == nil && ok && fun != 1 {
		_, err = eng.Command(ctx, at.Command{Text: "AT+CFUN=1", Timeout: at.Slow})
	}
	if err != nil && !refused(err) {
		return err
	}
	return nil
}

// defineContext writes access point and credentials, if the configuration has
// them: a module keeps them, but not across every kind of reset.
func (l *loop) defineContext(ctx context.Context, eng *at.Engine) error {
	c := l.k.parts.Config
	if c.APN == "" {
		return nil
	}
	kind := c.PDPType
	if kind == "" {
		kind = "IPV4V6"
	}
	for _, s := range []string{c.APN, c.User, c.Pass} {
		if strings.ContainsAny(s, "\"\r\n") {
			return errors.New("keeper: access point, user and password must not contain quotes or line breaks")
		}
	}
	cmds := []string{fmt.Sprintf("AT+CGDCONT=%d,%q,%q", c.CID, kind, c.APN)}
	if c.User != "" {
		cmds = append(cmds, fmt.Sprintf("AT+CGAUTH=%d,1,%q,%q", c.CID, c.User, c.Pass))
	}
	for _, cmd := range cmds {
		if _, err := eng.Command(ctx, at.Command{Text: cmd}); err != nil && !refused(err) {
			return err
		}
	}
	return nil
}

// dial attaches and activates the context.
func (l *loop) dial(ctx context.Context, eng *at.Engine) error {
	for _, cmd := range []string{"AT+CGATT=1", fmt.Sprintf("AT+CGACT=1,%d", l.k.parts.Config.CID)} {
		if _, err := eng.Command(ctx, at.Command{Text: cmd, Timeout: at.Network}); err != nil && !refused(err) {
			return err
		}
	}
	return nil
}

// tend does what a modem that answers needs on its normal way up: the PIN of
// its card, and a context as soon as the network has taken it in.
func (l *loop) tend(ctx context.Context, eng *at.Engine, info at.Info) {
	l.tendSIM(ctx, eng, info)
	registered := info.Registration == 1 || info.Registration == 5
	switch {
	case !registered || len(info.Addresses) > 0:
		l.dialled = false
	case !l.dialled && !l.k.parts.Config.Off:
		l.dialled = true
		if err := l.dial(ctx, eng); err != nil {
			l.k.log.Warn("data context not activated", "error", err)
		}
	}
}

// tendSIM gives the card its PIN, once for each card: a wrong one repeated
// locks it for good.
func (l *loop) tendSIM(ctx context.Context, eng *at.Engine, info at.Info) {
	if info.SIM == "READY" || info.SIM == "absent" {
		l.pinUsed = ""
		return
	}
	pin := l.k.parts.Config.PIN
	if info.SIM != "SIM PIN" || pin == "" || l.pinUsed != "" {
		return
	}
	l.pinUsed = pin
	if _, err := eng.Command(ctx, at.Command{Text: "AT+CPIN=" + pin, Timeout: at.Slow}); err != nil {
		l.k.log.Error("SIM refused its PIN: it is not tried again for this card", "error", err)
	}
}

func refused(err error) bool {
	var re *at.ResultError
	return errors.As(err, &re)
}
