package wire

import "fmt"

// The first byte of a message on ctl/<car>/<link>.
const (
	CtlAck     = 1
	CtlCommand = 2
)

// Limits of acks: one has at most MaxAckBytes, so that it passes any broker and
// does not crowd a slow downlink. What does not fit is told by later acks.
const (
	MaxAckBytes   = 32 << 10
	MaxAckLinks   = 64  // sixteen links, some with an old connection beside the new
	MaxAckStreams = 256 // live epochs of one car, three lanes each, with room
	MaxName       = 64  // of an instance, a verb, an argument
)

const ctlVersion = 1

// AppendAck appends an ack as a ctl message.
func AppendAck(dst []byte, a *Ack) []byte {
	start := len(dst)
	dst = append(dst, CtlAck, ctlVersion)
	dst = appendString(dst, a.Instance, MaxName)
	dst = appendU64(dst, a.Nonce)
	dst = appendUvarint(dst, a.Counter)
	dst = append(dst, byte(a.State))
	dst = appendUvarint(dst, a.Credit)
	var buf [256]byte
	dst = appendUvarint(dst, uint64(len(a.Links)))
	for _, l := range a.Links {
		dst = appendEntry(dst, l.append(buf[:0]))
	}
	dst = appendUvarint(dst, uint64(len(a.Streams)))
	for _, s := range a.Streams {
		dst = appendEntry(dst, s.append(buf[:0]))
	}
	return appendChecksum(dst, start)
}

// ParseAck reads a ctl message that is an ack.
func ParseAck(b []byte) (*Ack, error) {
	r, err := openCtl(b, CtlAck, "ack")
	if err != nil {
		return nil, err
	}
	a := &Ack{Instance: r.string(MaxName, "instance")}
	a.Nonce = r.u64("nonce")
	a.Counter = r.uvarint(1<<64-1, "counter")
	a.State = InstanceState(r.byte("state"))
	a.Credit = r.uvarint(1<<64-1, "credit")
	for range r.uvarint(MaxAckLinks, "links") {
		e := r.entry(MaxAckBytes, "link")
		l := e.linkEcho()
		if e.err != nil {
			return nil, e.err
		}
		a.Links = append(a.Links, l)
	}
	for range r.uvarint(MaxAckStreams, "streams") {
		e := r.entry(MaxAckBytes, "stream")
		s := e.streamAck()
		if e.err != nil {
			return nil, e.err
		}
		a.Streams = append(a.Streams, s)
	}
	if r.err != nil {
		return nil, r.err
	}
	return a, nil
}

// appendEntry appends e behind its length, so that a later version can add
// fields at its end.
func appendEntry(dst, e []byte) []byte {
	return append(appendUvarint(dst, uint64(len(e))), e...)
}

func (l LinkEcho) append(dst []byte) []byte {
	dst = append(dst, l.Link)
	dst = appendUvarint(dst, uint64(l.Gen))
	dst = appendUvarint(dst, l.Messages)
	dst = appendUvarint(dst, l.Bytes)
	dst = appendVarint(dst, l.LastSentNS)
	return appendVarint(dst, l.HeldNS)
}

func (r *reader) linkEcho() LinkEcho {
	l := LinkEcho{Link: r.byte("link")}
	l.Gen = uint32(r.uvarint(1<<32-1, "generation"))
	l.Messages = r.uvarint(1<<64-1, "messages")
	l.Bytes = r.uvarint(1<<64-1, "bytes")
	l.LastSentNS = r.varint("send time")
	l.HeldNS = r.varint("holding time")
	return l
}

func (s StreamAck) append(dst []byte) []byte {
	dst = appendEpoch(dst, s.Epoch)
	dst = append(dst, byte(s.Lane))
	dst = appendUvarint(dst, uint64(s.Shard))
	dst = AppendRanges(dst, s.Received)
	dst = AppendRanges(dst, s.Durable)
	return AppendRanges(dst, s.Refused)
}

func (r *reader) streamAck() StreamAck {
	s := StreamAck{Epoch: r.epoch(), Lane: r.lane(), Shard: r.shard()}
	s.Received = r.ranges(MaxRanges)
	s.Durable = r.ranges(MaxRanges)
	s.Refused = r.ranges(MaxRanges)
	return s
}

// openCtl checks type, version, size and checksum of a ctl message.
func openCtl(b []byte, kind byte, what string) (*reader, error) {
	if len(b) > MaxAckBytes {
		return nil, fmt.Errorf("wire: %s of %d bytes (limit %d)", what, len(b), MaxAckBytes)
	}
	if len(b) < 2 || b[0] != kind {
		return nil, fmt.Errorf("wire: no %s: %w", what, ErrShort)
	}
	if b[1] != ctlVersion {
		return nil, fmt.Errorf("wire: %s of version %d: %w", what, b[1], ErrVersion)
	}
	body, err := cutChecksum(b, what)
	if err != nil {
		return nil, err
	}
	r := &reader{b: body}
	r.take(2, "version")
	return r, r.err
}

// ParseCtl reads any message of ctl/<car>/<link>: one of the results is set.
// The error is [ErrVersion] for a type that this build does not know.
func ParseCtl(b []byte) (*Ack, *Command, error) {
	if len(b) == 0 {
		return nil, nil, fmt.Errorf("wire: ctl message: %w", ErrShort)
	}
	switch b[0] {
	case CtlAck:
		a, err := ParseAck(b)
		return a, nil, err
	case CtlCommand:
		c, err := ParseCommand(b)
		return nil, c, err
	}
	return nil, nil, fmt.Errorf("wire: ctl message of type %d: %w", b[0], ErrVersion)
}
