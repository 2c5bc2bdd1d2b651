package at

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync/atomic"

	"telemetry/modem"
)

// Driver keeps one module going: identity, setup, polls and the rungs that
// commands can do. It is used by one goroutine, but for Look.
type Driver struct {
	eng  *Engine
	cid  int
	prof Profile
	info modem.Info
	poll int
	calm int         // polls since everything was read
	look atomic.Bool // something changed: the next poll reads everything
}

// calmPolls is how many polls read the signal alone while all is well: the codes
// of the module say when something changes, and each command costs it time that
// its data may need.
const calmPolls = 4

// NewDriver returns a driver on eng for PDP context cid. A profile with an
// empty name is replaced at Identify by the one that matches.
func NewDriver(eng *Engine, cid int, p Profile) *Driver {
	return &Driver{eng: eng, cid: cid, prof: p, info: modem.Info{Numbers: map[string]float64{}, Texts: map[string]string{}, Access: -1}}
}

// Profile returns the profile in use.
func (d *Driver) Profile() Profile { return d.prof }

// Identify asks who the module is, chooses its profile and sends the setup. An
// error means that the port does not answer; a setup command that the module
// refuses is none.
func (d *Driver) Identify(ctx context.Context) error {
	if _, err := d.eng.Command(ctx, Command{Text: "ATE0"}); err != nil && !isResult(err) {
		return fmt.Errorf("at: first contact: %w", err)
	}
	texts := map[string]string{}
	for name, cmd := range map[string]string{"manufacturer": "AT+CGMI", "model": "AT+CGMM", "revision": "AT+CGMR", "imei": "AT+CGSN"} {
		r, err := d.eng.Command(ctx, Command{Text: cmd, Plain: true})
		if err != nil && !isResult(err) {
			return fmt.Errorf("at: identify: %w", err)
		}
		texts[name] = r.First().String(0)
	}
	d.info.Manufacturer = texts["manufacturer"]
	delete(texts, "manufacturer")
	d.info.Texts = texts
	if d.prof.Name == "" {
		p, err := MatchProfile(d.info.Manufacturer + " " + texts["model"])
		if err != nil {
			return err
		}
		d.prof = p
	}
	d.info.Profile = d.prof.Name
	for _, cmd := range d.prof.Setup {
		if _, err := d.eng.Command(ctx, Command{Text: cmd}); err != nil && !isResult(err) {
			return fmt.Errorf("at: set up: %w", err)
		}
	}
	return nil
}

func isResult(err error) bool {
	var re *ResultError
	return errors.As(err, &re)
}

// Poll reads SIM, registration, context and signal. The Info is valid as far as
// it was read when an error says that the port stopped answering.
func (d *Driver) Poll(ctx context.Context) (modem.Info, error) {
	d.poll++
	steps := []func(context.Context) error{d.sim, d.registration, d.context, d.reads}
	if well := d.info.SIM == "READY" && d.info.Registered() && len(d.info.Addresses) > 0; !d.look.Swap(false) && well && d.calm < calmPolls {
		d.calm++
		steps = []func(context.Context) error{d.reads}
	} else {
		d.calm = 0
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			d.Look()
			return d.copyInfo(), err
		}
	}
	return d.copyInfo(), nil
}

// Look makes the next Poll read everything. It is safe for concurrent use.
func (d *Driver) Look() { d.look.Store(true) }

func (d *Driver) copyInfo() modem.Info {
	c := d.info
	c.Numbers, c.Texts = map[string]float64{}, map[string]string{}
	for k, v := range d.info.Numbers {
		c.Numbers[k] = v
	}
	for k, v := range d.info.Texts {
		c.Texts[k] = v
	}
	return c
}

func (d *Driver) sim(ctx context.Context) error {
	r, err := d.eng.Command(ctx, Command{Text: "AT+CPIN?", Prefix: "+CPIN", Timeout: Slow / 3})
	var re *ResultError
	switch {
	case errors.As(err, &re):
		switch re.Code {
		case CMESIMNotInserted:
			d.info.SIM = "absent"
		case CMESIMPINRequired, CMESIMPIN2Required:
			d.info.SIM = "SIM PIN"
		case CMESIMPUKRequired, CMESIMPUK2Required:
			d.info.SIM = "SIM PUK"
		case CMESIMFailure, CMESIMWrong:
			d.info.SIM = "failed"
		default:
			d.info.SIM = ""
		}
		return nil
	case err != nil:
		return err
	}
	d.info.SIM = r.First().String(0)
	return nil
}

// domains in order of preference: a module that is registered in none shows the
// state of the last one that answers.
var domains = []string{"+C5GREG", "+CEREG", "+CGREG", "+CREG"}

func (d *Driver) registration(ctx context.Context) error {
	best, reason := -1, 0
	for _, p := range domains {
		r, err := d.eng.Command(ctx, Command{Text: "AT" + p + "?", Prefix: p})
		if isResult(err) || (err == nil && len(r.Lines) == 0) {
			continue
		}
		if err != nil {
			return err
		}
		l := r.First()
		if kind, ok := l.Int(5); p == "+CEREG" && ok && kind == 0 { // with n = 3: an EMM cause
			reason, _ = l.Int(6)
		}
		st, ok := l.Int(1)
		if !ok || rank(st) <= rank(best) {
			continue
		}
		best = st
		d.cell(l)
	}
	d.info.Registration = max(best, 0)
	return d.rejection(ctx, reason)
}

// askWhy is how many polls pass between two questions why the network does not
// take the modem in.
const askWhy = 15

// rejection notes why the network does not take the modem in. A module that does
// not say so with its state is asked, once it has given up.
func (d *Driver) rejection(ctx context.Context, reason int) error {
	st := d.info.Registration
	switch {
	case d.info.Registered():
		d.info.Cause = 0
		return nil
	case reason != 0:
		d.info.Cause = reason
		return nil
	case st != 0 && st != 3: // it searches
		d.info.Cause = 0
		return nil
	case d.poll%askWhy != 1:
		return nil
	}
	r, err := d.eng.Command(ctx, Command{Text: "AT+CEER", Prefix: "+CEER"})
	if err != nil && !isResult(err) {
		return err
	}
	d.info.Cause = causeOf(r.First().Raw)
	return nil
}

// causes are rejections after which trying again soon is of no use, as modules
// write them in +CEER (3GPP TS 24.301, 9.9.3.9).
var causes = []struct {
	text string
	code int
}{
	{"illegal ms", 3},
	{"illegal ue", 3},
	{"illegal me", 6},
	{"eps services and non-eps services not allowed", 8},
	{"eps and non-eps services not allowed", 8},
	{"gprs and non-gprs services not allowed", 8},
	{"plmn not allowed", 11},
}

// causeOf returns the cause that a text names, 0 if none that is known.
func causeOf(s string) int {
	s = strings.ToLower(s)
	for _, c := range causes {
		if strings.Contains(s, c.text) {
			return c.code
		}
	}
	return 0
}

// rank orders registration states: registered, denied, searching, idle, unknown.
func rank(st int) int {
	switch st {
	case 1, 5:
		return 5
	case 3:
		return 4
	case 2:
		return 3
	case 0:
		return 2
	case 4:
		return 1
	}
	return 0
}

// cell takes area, cell and access technology of a registration reply with n = 2.
func (d *Driver) cell(l Line) {
	if v, ok := l.Hex(2); ok {
		d.info.Area = v
	}
	if v, ok := l.Hex(3); ok {
		d.info.Cell = v
	}
	if v, ok := l.Int(4); ok {
		d.info.Access = v
	}
}

func (d *Driver) context(ctx context.Context) error {
	d.info.Addresses, d.info.NameServers = nil, nil
	r, err := d.eng.Command(ctx, Command{Text: "AT+CGPADDR=" + strconv.Itoa(d.cid), Prefix: "+CGPADDR"})
	if err != nil && !isResult(err) {
		return err
	}
	for _, l := range r.Lines {
		for i := 1; i < len(l.Fields); i++ {
			if a, ok := parseAddress(l.String(i)); ok {
				d.info.Addresses = append(d.info.Addresses, a.String())
			}
		}
	}
	if len(d.info.Addresses) == 0 {
		return nil
	}
	r, err = d.eng.Command(ctx, Command{Text: "AT+CGCONTRDP=" + strconv.Itoa(d.cid), Prefix: "+CGCONTRDP"})
	if err != nil && !isResult(err) {
		return err
	}
	for _, l := range r.Lines { // cid, bearer, apn, address and mask, gateway, DNS, DNS, …, MTU in field 11
		for _, i := range []int{5, 6} {
			if a, ok := parseAddress(l.String(i)); ok {
				d.info.NameServers = append(d.info.NameServers, a.String())
			}
		}
		if mtu, ok := l.Int(11); ok && mtu > 0 {
			d.info.MTU = mtu
		}
	}
	return nil
}

func (d *Driver) reads(ctx context.Context) error {
	for _, r := range d.prof.Reads {
		if r.Every > 1 && d.poll%r.Every != 1 {
			continue
		}
		r.forget(&d.info) // what is not said again is not known any more
		reply, err := d.eng.Command(ctx, r.command())
		if isResult(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, l := range reply.Lines {
			d.take(r, l)
		}
	}
	return nil
}

// forget removes all values that r can bring.
func (r Read) forget(info *modem.Info) {
	for _, lv := range r.Lines {
		for name, p := range lv.Values {
			if p.Kind == "text" {
				delete(info.Texts, name)
			} else {
				delete(info.Numbers, name)
			}
		}
	}
}

// take fills the values of the first matching layout.
func (d *Driver) take(r Read, l Line) {
	for _, lv := range r.Lines {
		if !lv.matches(l) {
			continue
		}
		for name, p := range lv.Values {
			if p.Kind == "text" {
				if v := strings.TrimPrefix(l.String(p.Field), p.Strip); v != "" {
					d.info.Texts[name] = v
				}
				continue
			}
			if v := p.number(l); !math.IsNaN(v) {
				d.info.Numbers[name] = v
			}
		}
		return
	}
}

func (lv LineValues) matches(l Line) bool {
	for i, want := range lv.When {
		if l.String(i) != want {
			return false
		}
	}
	return true
}

// number reads a value, NaN if it is missing or means unknown.
func (p Place) number(l Line) float64 {
	s := strings.TrimPrefix(l.String(p.Field), p.Strip)
	var v float64
	switch p.Kind {
	case "hex":
		u, err := strconv.ParseUint(s, 16, 64)
		if err != nil {
			return math.NaN()
		}
		v = float64(u)
	default:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return math.NaN()
		}
		v = f
	}
	for _, n := range p.None {
		if v == float64(n) {
			return math.NaN()
		}
	}
	if p.Scale != 0 {
		v *= p.Scale
	}
	return v + p.Offset
}

// Do sends the commands of a rung. An error of the modem ends it: what it
// brings is judged by proof, not by its result.
func (d *Driver) Do(ctx context.Context, rung string) error {
	cmds, ok := d.prof.Rungs[rung]
	if !ok {
		return fmt.Errorf("at: profile %s cannot do rung %q", d.prof.Name, rung)
	}
	d.Look()
	var errs []error
	for _, text := range cmds {
		text = strings.ReplaceAll(text, "{cid}", strconv.Itoa(d.cid))
		if _, err := d.eng.Command(ctx, Command{Text: text, Timeout: Network}); isResult(err) {
			errs = append(errs, fmt.Errorf("at: %s: %w", text, err))
		} else if err != nil {
			return fmt.Errorf("at: %s: %w", text, err)
		}
	}
	return errors.Join(errs...)
}
