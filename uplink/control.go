package uplink

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"telemetry/wire"
)

const (
	maxCommands  = 64 // commands remembered, answered ones included
	maxAnswers   = 64 // answers waiting for their link
	maxTransfers = 8  // catalogues whose place is remembered
	answerHoldNS = 1000 * ms
	// maxCommandLifeNS tells a command of another boot: its time is far ahead.
	maxCommandLifeNS = 7_200_000 * ms
)

// Verb does one kind of command. Do must return at once: it is called between
// two sends. With [ErrPending] the answer comes later by [Engine.Answer]; if it
// doesn't before the command expires, the command is answered with an error.
type Verb interface {
	Do(cmd *wire.Command) (data map[string]string, err error)
}

// ErrPending is what a [Verb] returns when the answer comes later.
var ErrPending = errors.New("uplink: answer comes later")

// ErrExpired says that a command's time ran out before it was done.
var ErrExpired = errors.New("expired before it was done")

// ErrNoCatalogue says that the car doesn't hold a catalogue.
var ErrNoCatalogue = errors.New("no such catalogue here")

// ErrUnknownVerb says that the car doesn't know a command.
var ErrUnknownVerb = errors.New("unknown verb")

// CodeKey is where an answer that is not OK says why, for machines.
const CodeKey = "code"

// code is an error as the value of [CodeKey]: "expired", "no-catalogue",
// "unknown-verb", "busy" or "failed".
func code(err error) string {
	switch {
	case errors.Is(err, ErrExpired):
		return "expired"
	case errors.Is(err, ErrNoCatalogue):
		return "no-catalogue"
	case errors.Is(err, ErrUnknownVerb):
		return "unknown-verb"
	case errors.Is(err, ErrBusy):
		return "busy"
	}
	return "failed"
}

// control holds the commands under way and what waits to be sent for them. Parts
// and answers leave over the connection that the command came by: behind another
// one may be another instance, which asked for nothing.
type control struct {
	verbs     map[string]Verb
	commands  []*command // oldest first
	transfers []*transfer
	answers   []answerOut
}

type command struct {
	id         uint64
	c          *connection // it came by
	deadlineNS int64
	answer     *wire.Answer // nil while under way
	answeredNS int64
}

// answerOut is one answer on its way to a connection.
type answerOut struct {
	c       *connection
	payload []byte
}

// transfer is one catalogue on its way. When a link ends or a command expires
// its place is remembered: the next command for it goes on from there, round to
// the start again, so that a big catalogue gets through links that don't last.
type transfer struct {
	hash  wire.CatalogueHash
	next  int      // part to send next
	cmd   *command // nil = nobody waits for it
	parts [][]byte // messages; nil while nobody waits
	left  int      // to be sent for cmd
	bytes int      // canonical
}

func (c *control) init(e *Engine) {
	c.verbs = map[string]Verb{}
	for name, v := range e.cfg.Verbs {
		c.verbs[name] = v
	}
	c.verbs["pull"] = pullVerb{e}
}

// command takes one command that came by from. It may come more than once: the
// second time only a lost answer is repeated.
func (e *Engine) command(from *connection, cmd *wire.Command) {
	if from == nil {
		return // its connection is gone, and with it the way to answer
	}
	ctl := &e.ctl
	for _, c := range ctl.commands {
		if c.id != cmd.ID {
			continue
		}
		if c.answer != nil && e.now-c.answeredNS >= answerHoldNS {
			c.c, c.answeredNS = from, e.now
			e.post(c)
		}
		return
	}
	e.totals.Commands++
	c := &command{id: cmd.ID, c: from, deadlineNS: cmd.NotAfterNS}
	if !ctl.remember(c) {
		e.answer(c, nil, fmt.Errorf("%w: %d commands", ErrBusy, maxCommands))
		return
	}
	data, err := e.do(c, cmd)
	if !errors.Is(err, ErrPending) {
		e.answer(c, data, err)
	}
}

// remember keeps c; the oldest answered command makes room.
func (c *control) remember(cmd *command) bool {
	if len(c.commands) >= maxCommands {
		i := slices.IndexFunc(c.commands, func(c *command) bool { return c.answer != nil })
		if i < 0 {
			return false
		}
		c.commands = slices.Delete(c.commands, i, i+1)
	}
	c.commands = append(c.commands, cmd)
	return true
}

func (e *Engine) do(c *command, cmd *wire.Command) (map[string]string, error) {
	if left := cmd.NotAfterNS - e.now; left <= 0 || left > maxCommandLifeNS {
		return nil, fmt.Errorf("%w: %d ms before its end (want up to %d)", ErrExpired, left/ms, maxCommandLifeNS/ms)
	}
	if cmd.Verb == "catalogue" {
		return e.sendCatalogue(c, cmd)
	}
	v, ok := e.ctl.verbs[cmd.Verb]
	if !ok {
		return nil, fmt.Errorf("%w %q", ErrUnknownVerb, cmd.Verb)
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
		a.Data = map[string]string{CodeKey: code(err)}
		e.totals.CommandErrors++
	}
	c.answer, c.answeredNS = a, e.now
	e.post(c)
}

// post queues c's answer; at the limit it is dropped: its sender asks again.
func (e *Engine) post(c *command) {
	if len(e.ctl.answers) < maxAnswers {
		e.ctl.answers = append(e.ctl.answers, answerOut{c.c, wire.AppendAnswer(nil, c.answer)})
	}
}

// stepControl answers what has expired and forgets what waits for a connection
// that is gone: the receiver asks again over another one.
func (e *Engine) stepControl() {
	ctl := &e.ctl
	for _, t := range ctl.transfers {
		if t.cmd != nil && t.cmd.c.closed {
			t.cmd.answer = &wire.Answer{ID: t.cmd.id, Error: "its connection ended"}
			t.pause()
		}
	}
	for _, c := range ctl.commands {
		if c.answer != nil || e.now < c.deadlineNS {
			continue
		}
		for _, t := range ctl.transfers {
			if t.cmd == c {
				t.pause()
			}
		}
		e.answer(c, nil, ErrExpired)
	}
	ctl.answers = slices.DeleteFunc(ctl.answers, func(a answerOut) bool { return a.c.closed })
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

// sendControl sends one answer or catalogue part whose connection has room.
// Credit doesn't stop it: neither waits in Kafka's queue, and a catalogue may be
// what the receiver waits for.
func (e *Engine) sendControl() bool {
	ctl := &e.ctl
	for i, a := range ctl.answers {
		if e.roomFor(a.c, int64(len(a.payload))) {
			ctl.answers = slices.Delete(ctl.answers, i, i+1)
			e.sendUnproven(a.c, topicAnswer(e.cfg.Car), a.payload)
			return true
		}
	}
	for _, t := range ctl.transfers {
		if t.cmd == nil || !e.roomFor(t.cmd.c, int64(len(t.parts[t.next]))) {
			continue
		}
		e.totals.Parts++
		e.sendUnproven(t.cmd.c, topicCatalogue(e.cfg.Car), t.parts[t.next])
		t.next = (t.next + 1) % len(t.parts)
		if t.left--; t.left == 0 {
			n, cmd := len(t.parts), t.cmd
			t.pause()
			e.answer(cmd, map[string]string{"hash": hex.EncodeToString(t.hash[:]), "parts": strconv.Itoa(n), "bytes": strconv.Itoa(t.bytes)}, nil)
		}
		return true
	}
	return false
}

// controlWaits reports whether an answer or a part of a catalogue waits.
func (e *Engine) controlWaits() bool {
	return len(e.ctl.answers) > 0 || slices.ContainsFunc(e.ctl.transfers, func(t *transfer) bool { return t.cmd != nil })
}

// roomFor reports whether c may take n bytes of control traffic now.
func (e *Engine) roomFor(c *connection, n int64) bool {
	p := e.pathState(c)
	p.Usable, p.Credit = c.trusted(), 1<<40
	return p.open(n, liveTargetNS)
}

// sendUnproven sends a message that no echo speaks of; only a batch behind it
// proves it.
func (e *Engine) sendUnproven(c *connection, topic string, payload []byte) {
	n := int64(len(payload))
	c.push(nil, n, max(e.now, c.lastSentNS+1), e.now)
	// The engine reuses what comes back from the socket: parts are kept for a
	// repeat, so this is a copy.
	e.hand(c, topic, append(e.buffer(), payload...))
	e.owe(n)
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
