// Package at speaks to a modem through its AT port: commands with their
// timeouts, unsolicited codes in the order in which they came, and a port that
// answers late, in pieces, or not at all.
//
// The entry point is [New]; [Engine.Run] owns the port. A reply that comes
// after its command timed out is never given to a later command: until the port
// has proved with a ping of its own that it is in step again, nothing else is
// sent. The package opens no port and decides nothing about recovery.
package at

import (
	"context"
	"errors"
	"io"
	"time"
)

// Timeouts by class of command; 3GPP leaves them open, these cover the manuals
// of Quectel, Sierra, SIMCom and u-blox modules.
const (
	Quick   = 2 * time.Second   // reads of what the module knows
	Slow    = 15 * time.Second  // CFUN, CPIN, QPOWD
	Network = 150 * time.Second // CGATT, CGACT, COPS: the network decides
)

// Errors of [Engine.Command], for errors.Is.
var (
	// ErrTimeout: no final result in time. The engine re-synchronises before
	// it sends anything else.
	ErrTimeout = errors.New("at: no answer in time")
	// ErrWedged: the port did not answer the pings after a timeout. The owner
	// should reset the modem or open the port again.
	ErrWedged = errors.New("at: port does not answer")
	// ErrClosed: the port is gone or the engine has ended.
	ErrClosed = errors.New("at: port is closed")
)

// Command is one request.
type Command struct {
	Text    string        // "AT+CREG?", without carriage return
	Prefix  string        // of the information lines that belong to the reply, "+CREG"; empty: none are wanted
	Timeout time.Duration // 0 means Quick
	// Plain accepts lines without a prefix as information, as the reply of
	// AT+CGMR has. They are ambiguous: use it only for commands that need it.
	Plain bool
}

// Reply is what a command brought before its OK.
type Reply struct {
	Lines []Line
}

// First returns the first line, or an empty one.
func (r Reply) First() Line {
	if len(r.Lines) == 0 {
		return Line{}
	}
	return r.Lines[0]
}

// Config of an [Engine]; the zero value is ready to use.
type Config struct {
	// URC receives unsolicited lines in order, on the engine's goroutine: it
	// must not block and must not call Command. nil drops them.
	URC func(Line)
	// Transcript is how many lines are kept for diagnosis; 0 means 200.
	Transcript int
}

// Counters of an engine since it was made.
type Counters struct {
	Commands uint64 `json:"commands"`
	Timeouts uint64 `json:"timeouts"`
	Errors   uint64 `json:"errors"`  // final results other than OK
	Late     uint64 `json:"late"`    // final results after their command's timeout
	URCs     uint64 `json:"urcs"`    // unsolicited lines
	Garbage  uint64 `json:"garbage"` // lines that are neither reply nor known form
	Cut      uint64 `json:"cut"`     // lines above the length limit
	Wedged   uint64 `json:"wedged"`  // times the port answered no ping
}

// Engine drives one port. Its methods are safe for concurrent use; commands
// are sent one at a time, in the order of the calls.
type Engine struct {
	port     io.ReadWriteCloser
	cfg      Config
	requests chan *request
	lines    chan string
	done     chan struct{}
	log      transcript
	counters counters
}

type request struct {
	cmd   Command
	reply chan outcome // buffered, one
}

type outcome struct {
	reply Reply
	err   error
}

// New returns an engine for port, which Run closes. A port's Read may return
// no bytes and no error when its own timeout passes.
func New(port io.ReadWriteCloser, cfg Config) *Engine {
	if cfg.Transcript <= 0 {
		cfg.Transcript = 200
	}
	return &Engine{
		port: port, cfg: cfg,
		requests: make(chan *request), lines: make(chan string), done: make(chan struct{}),
		log: transcript{max: cfg.Transcript},
	}
}

// Command sends cmd and waits for its final result: nil for OK, a
// [*ResultError] for any other, ErrTimeout, ErrWedged, ErrClosed, or ctx's
// error. When ctx ends while the command is under way, the modem's answer is
// awaited in the background, so that it cannot reach another command.
func (e *Engine) Command(ctx context.Context, cmd Command) (Reply, error) {
	if cmd.Timeout <= 0 {
		cmd.Timeout = Quick
	}
	r := &request{cmd: cmd, reply: make(chan outcome, 1)}
	select {
	case e.requests <- r:
	case <-e.done:
		return Reply{}, ErrClosed
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
	select {
	case o := <-r.reply:
		return o.reply, o.err
	case <-e.done:
		select {
		case o := <-r.reply:
			return o.reply, o.err
		default:
			return Reply{}, ErrClosed
		}
	case <-ctx.Done():
		return Reply{}, ctx.Err()
	}
}

// Counters returns what was counted so far.
func (e *Engine) Counters() Counters { return e.counters.get() }

// Transcript returns the newest lines sent and received, oldest first, each
// with "> " or "< " in front. PINs are blanked.
func (e *Engine) Transcript() []string { return e.log.get() }
