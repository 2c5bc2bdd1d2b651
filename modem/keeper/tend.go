package keeper

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"
)

// tend does what a modem that answers needs on its normal way up: the PIN of
// its card, and a context as soon as the network has taken it in.
func (l *loop) tend(ctx context.Context) {
	if l.k.parts.Config.Off {
		return
	}
	l.tendSIM(ctx)
	switch {
	case !l.info.Registered() || len(l.info.Addresses) > 0:
		l.dialled = false
	case !l.dialled:
		l.dialled = true
		if err := l.during(ctx, "the data context is being activated", l.ctl.Dial); err != nil {
			l.k.log.Warn("data context not activated", "error", err)
		}
	}
}

// pinMark is what is known of the configured PIN at one card. It outlives the
// process: a card counts wrong PINs over restarts, and the third one locks it.
type pinMark struct {
	PIN     string `json:"pin,omitempty"`     // its digest; another one begins anew
	Card    string `json:"card,omitempty"`    // ICCID; empty = not known
	Tries   int    `json:"tries,omitempty"`   // whose outcome is not known
	Refused bool   `json:"refused,omitempty"` // by the card
}

// Limits of a PIN's use.
const (
	// maxPINTries leaves a card that may take three its last one.
	maxPINTries = 2
	// pinPause is waited after a try whose outcome is not known.
	pinPause = 30 * time.Second
)

// digest names a PIN without telling it to somebody who reads the file in
// passing; four digits are no secret to somebody who wants them.
func digest(pin string) string {
	h := sha256.Sum256([]byte("PIN " + pin))
	return hex.EncodeToString(h[:8])
}

// of returns the mark for this PIN and card: a new one if either is another for
// certain. A card that cannot be told apart counts as the same.
func (m pinMark) of(pin, card string) pinMark {
	if m.PIN != digest(pin) || (m.Card != "" && card != "" && m.Card != card) {
		return pinMark{PIN: digest(pin), Card: card}
	}
	if m.Card == "" {
		m.Card = card
	}
	return m
}

// spent reports whether the PIN is not to be tried again.
func (m pinMark) spent() bool { return m.Refused || m.Tries >= maxPINTries }

// tendSIM gives the card its PIN. What is known of it is durable before it is
// used, and forgotten only when the card is ready.
func (l *loop) tendSIM(ctx context.Context) {
	pin, now := l.k.parts.Config.PIN, l.k.group.now()
	if l.info.SIM == "READY" && l.pin != (pinMark{}) {
		l.setPIN(pinMark{})
		return
	}
	if l.info.SIM != "SIM PIN" || pin == "" {
		return
	}
	mark := l.pin.of(pin, l.info.Texts["iccid"])
	l.k.update(func(s *Status) { s.NoPIN = mark.spent() })
	if mark.spent() || (l.pinAt != 0 && now-l.pinAt < pinPause) {
		return
	}
	mark.Tries++
	l.pinAt = max(now, 1)
	if err := l.setPIN(mark); err != nil {
		return // not known afterwards: not tried
	}
	err := l.during(ctx, "the card is being unlocked", func(ctx context.Context) error { return l.ctl.Unlock(ctx, pin) })
	if errors.Is(err, ErrRefused) {
		mark.Refused = true
		_ = l.setPIN(mark) // told in the log; the try itself is durable
	}
	if err != nil {
		l.k.log.Error("card not unlocked", "error", err, "tried_again", !mark.spent())
	}
}

// setPIN changes what is known of the PIN, and keeps it.
func (l *loop) setPIN(m pinMark) error {
	l.pin = m
	l.k.update(func(s *Status) { s.NoPIN = m.spent() })
	return l.save()
}

// kept is what outlives the process.
type kept struct {
	Ladder json.RawMessage `json:"ladder"`
	PIN    *pinMark        `json:"pin,omitempty"`
}

// save keeps budgets and PIN; an error is logged as well.
func (l *loop) save() error {
	if l.k.parts.Save == nil {
		return nil
	}
	var s kept
	var err error
	if l.pin != (pinMark{}) {
		s.PIN = &l.pin
	}
	if s.Ladder, err = l.lad.Save(time.Now(), l.k.group.now()); err == nil {
		var b []byte
		if b, err = json.Marshal(s); err == nil {
			err = l.k.parts.Save(b)
		}
	}
	if err != nil {
		l.k.log.Warn("state of the modem's recovery not kept", "error", err)
	}
	return err
}

// load takes over what an earlier process kept.
func (l *loop) load() {
	if l.k.parts.Load == nil {
		return
	}
	b, err := l.k.parts.Load()
	if err != nil {
		l.k.log.Warn("state of the modem's recovery not read", "error", err)
		return
	}
	if len(b) == 0 {
		return
	}
	var s kept
	if err = json.Unmarshal(b, &s); err == nil && s.Ladder != nil {
		err = l.lad.Load(s.Ladder, time.Now(), l.k.group.now())
	}
	if s.PIN != nil {
		l.pin = *s.PIN
	}
	if err != nil {
		l.k.log.Warn("state of the modem's recovery not taken over", "error", err)
	}
}
