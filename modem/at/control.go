package at

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"telemetry/modem"
	"telemetry/modem/keeper"
)

// Settings of a modem that a [Control] brings up.
type Settings struct {
	Profile string // of Profiles; empty: by what the module says of itself
	CID     int    // PDP context; 0 means 1
	APN     string // empty: what the module or network has
	PDPType string // "IP", "IPV6" or "IPV4V6" (default)
	User    string
	Pass    string
	Watch   bool // read only: access point and radio stay as they are
}

// Control is a modem behind an AT port, for the keeper.
type Control struct {
	set     Settings
	eng     *Engine
	drv     *Driver
	changed chan struct{}
	began   atomic.Bool // the module has said that it started
	upAt    time.Time   // when it was last brought up
}

var (
	_ keeper.Control   = (*Control)(nil)
	_ keeper.Commander = (*Control)(nil)
)

// NewControl returns the control of the modem behind port, which Run closes.
func NewControl(port io.ReadWriteCloser, set Settings) (*Control, error) {
	if set.CID == 0 {
		set.CID = 1
	}
	var prof Profile
	if set.Profile != "" {
		p, err := FindProfile(set.Profile)
		if err != nil {
			return nil, errors.Join(err, port.Close())
		}
		prof = p
	}
	for _, s := range []string{set.APN, set.User, set.Pass, set.PDPType} {
		if strings.ContainsAny(s, "\"\r\n") {
			return nil, errors.Join(errors.New("at: access point, user and password must not contain quotes or line breaks"), port.Close())
		}
	}
	c := &Control{set: set, changed: make(chan struct{}, 1)}
	c.eng = New(port, Config{URC: c.urc})
	c.drv = NewDriver(c.eng, set.CID, prof) // before Run, which is what calls urc
	return c, nil
}

// urc takes an unsolicited code: those that say that bearer, registration or
// card changed are worth a poll at once.
func (c *Control) urc(l Line) {
	if l.Prefix == "" && (l.Raw == "RDY" || l.Raw == "APP RDY") {
		c.began.Store(true)
	}
	switch l.Prefix {
	case "+CGEV", "+CREG", "+CEREG", "+CGREG", "+C5GREG", "+CPIN", "+QUSIM":
		c.drv.Look()
		select {
		case c.changed <- struct{}{}:
		default:
		}
	}
}

// Run serves the port until ctx ends or it fails.
func (c *Control) Run(ctx context.Context) error { return c.eng.Run(ctx) }

// Command sends an operator's command and returns the lines of its reply.
func (c *Control) Command(ctx context.Context, text string) ([]string, error) {
	if !strings.HasPrefix(strings.ToUpper(text), "AT") || strings.ContainsAny(text, "\r\n") || len(text) > maxLine {
		return nil, fmt.Errorf("at: %q is no command (want one line that begins with AT)", text)
	}
	prefix := text[2:]
	if i := strings.IndexAny(prefix, "=?"); i >= 0 {
		prefix = prefix[:i]
	}
	r, err := c.eng.Command(ctx, Command{Text: text, Prefix: prefix, Plain: true, Timeout: Network})
	var out []string
	for _, l := range r.Lines {
		out = append(out, l.Raw)
	}
	return out, gone(err)
}

func gone(err error) error {
	if errors.Is(err, ErrClosed) {
		return errors.Join(keeper.ErrGone, err)
	}
	return err
}

// BringUp identifies the module, defines its context and switches its radio
// on. A command that the module refuses is no error: proof decides.
func (c *Control) BringUp(ctx context.Context) error {
	c.began.Store(false)
	c.upAt = time.Now()
	if err := c.drv.Identify(ctx); err != nil {
		return gone(err)
	}
	if c.set.Watch {
		return nil
	}
	if err := c.define(ctx); err != nil {
		return gone(err)
	}
	r, err := c.eng.Command(ctx, Command{Text: "AT+CFUN?", Prefix: "+CFUN"})
	if fun, ok := r.First().Int(0); err == nil && ok && fun != 1 {
		_, err = c.eng.Command(ctx, Command{Text: "AT+CFUN=1", Timeout: Slow})
	}
	if err != nil && !isResult(err) {
		return gone(err)
	}
	return nil
}

// define writes access point and credentials, if the configuration has them: a
// module keeps them, but not across every kind of reset.
func (c *Control) define(ctx context.Context) error {
	if c.set.APN == "" {
		return nil
	}
	kind := c.set.PDPType
	if kind == "" {
		kind = "IPV4V6"
	}
	cmds := []string{fmt.Sprintf(`AT+CGDCONT=%d,"%s","%s"`, c.set.CID, kind, c.set.APN)}
	if c.set.User != "" {
		cmds = append(cmds, fmt.Sprintf(`AT+CGAUTH=%d,1,"%s","%s"`, c.set.CID, c.set.User, c.set.Pass))
	}
	return c.each(ctx, Quick, cmds...)
}

// each sends commands; what the module refuses is passed over.
func (c *Control) each(ctx context.Context, timeout time.Duration, cmds ...string) error {
	for _, cmd := range cmds {
		if _, err := c.eng.Command(ctx, Command{Text: cmd, Timeout: timeout}); err != nil && !isResult(err) {
			return err
		}
	}
	return nil
}

// beganAgain is how seldom a module may say that it started to be believed: one
// that says so all the time is only noisy.
const beganAgain = 30 * time.Second

// Poll reads the modem's state. A module that has started anew behind a port
// that stayed, as on a UART, has lost what it was told, and is told again.
func (c *Control) Poll(ctx context.Context) (modem.Info, error) {
	if c.began.Load() && time.Since(c.upAt) >= beganAgain {
		if err := c.BringUp(ctx); err != nil && !isResult(err) {
			return modem.Info{Access: -1}, gone(err)
		}
	}
	info, err := c.drv.Poll(ctx)
	return info, gone(err)
}

// Unlock gives the card its PIN.
func (c *Control) Unlock(ctx context.Context, pin string) error {
	c.drv.Look()
	_, err := c.eng.Command(ctx, Command{Text: "AT+CPIN=" + pin, Timeout: Slow})
	var re *ResultError
	if errors.As(err, &re) {
		switch re.Code {
		case CMESIMNotInserted, CMESIMFailure, CMESIMBusy, CMESIMWrong: // not looked at: it costs no try
		default:
			return errors.Join(keeper.ErrRefused, err)
		}
	}
	return gone(err)
}

// Dial attaches and activates the context.
func (c *Control) Dial(ctx context.Context) error {
	c.drv.Look()
	return gone(c.each(ctx, Network, "AT+CGATT=1", fmt.Sprintf("AT+CGACT=1,%d", c.set.CID)))
}

// Do does a rung of the profile.
func (c *Control) Do(ctx context.Context, rung string) error { return gone(c.drv.Do(ctx, rung)) }

// Timings of the profile's lines.
func (c *Control) Timings() keeper.Timings {
	t := c.drv.Profile().Timings
	return t.Keeper()
}

// Changed receives a value after codes that are worth a poll.
func (c *Control) Changed() <-chan struct{} { return c.changed }

// Transcript returns the newest lines of the port.
func (c *Control) Transcript() []string { return c.eng.Transcript() }

// Counters of the port.
func (c *Control) Counters() map[string]uint64 {
	n := c.eng.Counters()
	return map[string]uint64{
		"commands": n.Commands, "timeouts": n.Timeouts, "errors": n.Errors, "late": n.Late,
		"urcs": n.URCs, "garbage": n.Garbage, "cut": n.Cut, "wedged": n.Wedged,
	}
}
