package uplink

import (
	"context"
	"fmt"
)

// DialRequest is what a [Dialer] needs for one connection. OnMessage gets every
// message of Subscribe's topic and OnDown, once, the end of an established
// connection; both may be called from any goroutine, also before Dial returns,
// and neither may be called after Close has returned.
type DialRequest struct {
	Link      int
	Gen       uint32
	Addr      string // one of the link's addresses
	ClientID  string
	Subscribe string // the topic on which the receiver speaks to this link
	OnMessage func(payload []byte)
	OnDown    func(err error)
}

// Dialer makes connections of one link. Dial returns when the connection may
// send and is subscribed, or with an error; a [*RefusedError] means that the
// receiver was reached and said no. The connection outlives ctx.
type Dialer interface {
	Dial(ctx context.Context, d DialRequest) (Conn, error)
}

// Conn is one connection. Send is called by one goroutine at a time, blocks until
// the socket has the message, and keeps nothing of payload. Close may be called
// from another goroutine, more than once; it unblocks Send, says goodbye if that
// is possible within a moment, and returns after all the connection's goroutines
// have ended.
type Conn interface {
	Send(topic string, payload []byte) error
	Close() error
}

// Watched is a [Conn] that can say how many of the bytes that it was given, each from
// the begin of its Send or Try on and once, the other end's TCP has not confirmed;
// false if it can't. It may be called from any
// goroutine, also after Close, and never blocks.
type Watched interface {
	Unacked() (int64, bool)
}

// Paced is a [Conn] that can hold its bytes back so that they leave at a rate in
// bytes/s; 0 = as fast as they can. Pace may be called from any goroutine.
type Paced interface {
	Pace(bytesPerS int64)
}

// Taken is what became of a message given to [Prompt.Try].
type Taken int

const (
	NotTaken Taken = iota // nothing was kept: Send must take it
	Partly                // the connection has it, and needs a Flush to send all of it
	Whole                 // the socket has all of it
)

// Prompt is a [Conn] that takes a message without waiting if its socket has
// room, which saves the hand-over to a goroutine that may wait. Try never blocks;
// it is called while neither Send nor Flush runs. Flush blocks as Send does.
type Prompt interface {
	Try(topic string, payload []byte) (Taken, error)
	Flush() error
}

// RefusedError says that a broker was reached and turned the link away.
type RefusedError struct {
	Addr   string
	Step   string // "connect" or "subscribe"
	Code   byte   // MQTT v5 reason code
	Reason string
}

// Error names the address, the step, the reason and what to look at.
func (e *RefusedError) Error() string {
	return fmt.Sprintf("uplink: %s refused the %s: %s (code 0x%02x): check the car's name, certificate and access rules there", e.Addr, e.Step, e.Reason, e.Code)
}

// Link is one way to the receivers.
type Link struct {
	Name   string
	Addrs  []string
	Dialer Dialer
	Meter  Meter
}
