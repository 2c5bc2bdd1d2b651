package uplink

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"

	"telemetry/wire"
)

const (
	maxCommands  = 64  // commands remembered, answered ones included
	maxOutbox    = 512 // catalogue parts and answers waiting for a link
	answerHoldNS = 1000 * ms
)

// Verb does one kind of command. Do must return at once: it is called between
// two sends. With [ErrPending] the answer comes later by [Engine.Answer]; if it
// doesn't before the command expires, the command is answered with an error.
type Verb interface {
	Do(cmd *wire.Command) (data map[string]string, err error)
}

// ErrPending is what a [Verb] returns when the answer comes later.
var ErrPending = errors.New("uplink: answer comes later")

// control holds the commands under way and what waits to be sent for them.
type control struct {
	verbs    map[string]Verb
	commands []*command // oldest first
	outbox   []outItem
}

type command struct {
	id         uint64
	deadlineNS int64
	parts      int // still to be sent
	data       map[string]string
	answer     *wire.Answer // nil while under way
	answeredNS int64
}

// outItem is one message on its way to a link: a catalogue part or an answer.
type outItem struct {
	topic   string
	payload []byte
	cmd     *command // whose part it is; nil: an answer
}

func (c *control) init(e *Engine) {
	c.verbs = map[string]Verb{}
	for name, v := range e.cfg.Verbs {
		c.verbs[name] = v
	}
	c.verbs["pull"] = pullVerb{e}
}

// command takes one command from the receiver. It may come over several links
// and more than once: the second time only a lost answer is repeated.
func (e *Engine) command(cmd *wire.Command) {
	ctl := &e.ctl
	for _, c := range ctl.commands {
		if c.id != cmd.ID {
			continue
		}
		if c.answer != nil && e.now-c.answeredNS >= answerHoldNS {
			c.answeredNS = e.now
			e.post(topicAnswer(e.cfg.Car), wire.AppendAnswer(nil, c.answer), nil)
		}
		return
	}
	e.totals.Commands++
	c := &command{id: cmd.ID, deadlineNS: e.now + int64(cmd.ExpiresMS)*ms}
	if !ctl.remember(c) {
		e.post(topicAnswer(e.cfg.Car), wire.AppendAnswer(nil, &wire.Answer{ID: cmd.ID, Error: fmt.Sprintf("busy: %d commands are under way", maxCommands)}), nil)
		return
	}
	data, err := e.do(c, cmd)
	if !errors.Is(err, ErrPending) {
		e.answer(c, data, err)
	}
}

// remember keeps c; the oldest answered command makes room.
func (ctl *control) remember(c *command) bool {
	if len(ctl.commands) >= maxCommands {
		i := 0
		for i < len(ctl.commands) && ctl.commands[i].answer == nil {
			i++
		}
		if i == len(ctl.commands) {
			return false
		}
		ctl.commands = append(ctl.commands[:i], ctl.commands[i+1:]...)
	}
	ctl.commands = append(ctl.commands, c)
	return true
}

func (e *Engine) do(c *command, cmd *wire.Command) (map[string]string, error) {
	if cmd.ExpiresMS == 0 {
		return nil, errors.New("expired: the command has no time left (expires_ms is 0)")
	}
	if cmd.Verb == "catalogue" {
		return e.sendCatalogue(c, cmd)
	}
	v, ok := e.ctl.verbs[cmd.Verb]
	if !ok {
		return nil, fmt.Errorf("unknown verb %q", cmd.Verb)
	}
	return v.Do(cmd)
}

// Answer gives the answer of a command whose [Verb] returned [ErrPending]. An
// unknown or already answered command is ignored.
func (e *Engine) Answer(now int64, id uint64, data map[string]string, err error) {
	e.now = max(e.now, now)
	for _, c := range e.ctl.commands {
		if c.id == id && c.answer == nil {
			e.answer(c, data, err)
		}
	}
}

func (e *Engine) answer(c *command, data map[string]string, err error) {
	a := &wire.Answer{ID: c.id, OK: err == nil, Data: data}
	if err != nil {
		a.Error = err.Error()
		e.totals.CommandErrors++
	}
	c.answer, c.answeredNS = a, e.now
	e.post(topicAnswer(e.cfg.Car), wire.AppendAnswer(nil, a), nil)
}

// post queues one message; an answer is dropped when the outbox is full: the
// command's sender asks again.
func (e *Engine) post(topic string, payload []byte, cmd *command) bool {
	if len(e.ctl.outbox) >= maxOutbox {
		return false
	}
	e.ctl.outbox = append(e.ctl.outbox, outItem{topic, payload, cmd})
	return true
}

// sendCatalogue queues the parts of a catalogue; the answer follows the last.
func (e *Engine) sendCatalogue(c *command, cmd *wire.Command) (map[string]string, error) {
	raw, err := hex.DecodeString(cmd.Args["hash"])
	var h wire.CatalogueHash
	if err != nil || len(raw) != len(h) {
		return nil, fmt.Errorf("argument hash is %q (want %d hexadecimal digits)", cmd.Args["hash"], 2*len(h))
	}
	copy(h[:], raw)
	canonical, err := e.store.Catalogue(h)
	if err != nil {
		return nil, fmt.Errorf("catalogue %x: %w", h, err)
	}
	parts, err := wire.SplitCatalogue(canonical, e.cfg.PartBytes)
	if err != nil {
		return nil, fmt.Errorf("catalogue %x: %w", h, err)
	}
	if len(e.ctl.outbox)+len(parts) > maxOutbox {
		return nil, fmt.Errorf("%w: %d parts wait for a link", ErrBusy, len(e.ctl.outbox))
	}
	for i := range parts {
		e.post(topicCatalogue(e.cfg.Car), wire.AppendCataloguePart(nil, &parts[i]), c)
	}
	c.parts = len(parts)
	c.data = map[string]string{"hash": hex.EncodeToString(h[:]), "parts": strconv.Itoa(len(parts)), "bytes": strconv.Itoa(len(canonical))}
	if len(parts) == 0 {
		return c.data, nil
	}
	return nil, ErrPending
}

// stepControl answers what has expired.
func (e *Engine) stepControl() {
	for _, c := range e.ctl.commands {
		if c.answer != nil || e.now < c.deadlineNS {
			continue
		}
		keep := e.ctl.outbox[:0]
		for _, o := range e.ctl.outbox {
			if o.cmd != c {
				keep = append(keep, o)
			}
		}
		clear(e.ctl.outbox[len(keep):])
		e.ctl.outbox = keep
		e.answer(c, nil, errors.New("expired before it was done"))
	}
	e.expirePulls()
}

// nextExpiry returns when the next command under way expires, 0 = none.
func (c *control) nextExpiry() int64 {
	var t int64
	for _, cmd := range c.commands {
		if cmd.answer == nil && (t == 0 || cmd.deadlineNS < t) {
			t = cmd.deadlineNS
		}
	}
	return t
}

// sendControl sends the oldest part or answer over the path that delivers it
// first. An instance without credit doesn't stop it: it is not for Kafka's queue.
func (e *Engine) sendControl() bool {
	if len(e.ctl.outbox) == 0 {
		return false
	}
	o := e.ctl.outbox[0]
	for i, c := range e.paths {
		e.pathsBuf[i].Usable = c.trusted() && !e.quiet(c)
		e.pathsBuf[i].Credit = 1 << 40
	}
	i := PickFirst(e.pathsBuf, int64(len(o.payload)))
	if i < 0 {
		e.readPaths()
		return false
	}
	e.ctl.outbox[0] = outItem{}
	e.ctl.outbox = e.ctl.outbox[1:]
	c := e.paths[i]
	n := int64(len(o.payload))
	c.push(nil, n, max(e.now, c.lastSentNS+1), e.now)
	e.hand(c, o.topic, o.payload)
	e.owe(n)
	if o.cmd != nil {
		e.totals.Parts++
		if o.cmd.parts--; o.cmd.parts == 0 {
			e.answer(o.cmd, o.cmd.data, nil)
		}
	}
	return true
}

// pullVerb is "pull": args from_ns and to_ns, ns since boot.
type pullVerb struct{ e *Engine }

func (p pullVerb) Do(cmd *wire.Command) (map[string]string, error) {
	var at [2]int64
	for i, name := range [...]string{"from_ns", "to_ns"} {
		v, err := strconv.ParseInt(cmd.Args[name], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("argument %s is %q (want ns since boot)", name, cmd.Args[name])
		}
		at[i] = v
	}
	return nil, p.e.Pull(p.e.now, at[0], at[1])
}
