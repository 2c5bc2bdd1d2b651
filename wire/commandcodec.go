package wire

import (
	"fmt"
	"maps"
	"slices"
)

// Limits of commands and answers.
const (
	maxArgs  = 32
	maxValue = 4096
)

// AppendCommand appends a command as a ctl message.
func AppendCommand(dst []byte, c *Command) []byte {
	start := len(dst)
	dst = append(dst, CtlCommand, ctlVersion)
	dst = appendU64(dst, c.ID)
	dst = appendVarint(dst, c.NotAfterNS)
	dst = appendString(dst, c.Verb, MaxName)
	dst = appendMap(dst, c.Args)
	return appendChecksum(dst, start)
}

// ParseCommand reads a ctl message that is a command.
func ParseCommand(b []byte) (*Command, error) {
	r, err := openCtl(b, CtlCommand, "command")
	if err != nil {
		return nil, err
	}
	c := &Command{ID: r.u64("id")}
	c.NotAfterNS = r.varint("time")
	c.Verb = r.string(MaxName, "verb")
	c.Args = r.textMap()
	if r.err != nil {
		return nil, r.err
	}
	return c, nil
}

// AppendAnswer appends an answer as it travels on tele/<car>/answer.
func AppendAnswer(dst []byte, a *Answer) []byte {
	start := len(dst)
	dst = append(dst, ctlVersion, 0)
	if a.OK {
		dst[start+1] = 1
	}
	dst = appendU64(dst, a.ID)
	dst = appendString(dst, a.Error, maxValue)
	dst = appendMap(dst, a.Data)
	return appendChecksum(dst, start)
}

// ParseAnswer is the inverse of [AppendAnswer].
func ParseAnswer(b []byte) (*Answer, error) {
	if len(b) > MaxAckBytes {
		return nil, fmt.Errorf("wire: answer of %d bytes (limit %d)", len(b), MaxAckBytes)
	}
	if len(b) > 0 && b[0] != ctlVersion {
		return nil, fmt.Errorf("wire: answer of version %d: %w", b[0], ErrVersion)
	}
	body, err := cutChecksum(b, "answer")
	if err != nil {
		return nil, err
	}
	r := &reader{b: body}
	r.take(1, "version")
	ok := r.byte("result")
	if r.err == nil && ok > 1 {
		r.fail("result", errRange)
	}
	a := &Answer{OK: ok == 1, ID: r.u64("id")}
	a.Error = r.string(maxValue, "error")
	a.Data = r.textMap()
	if r.err != nil {
		return nil, r.err
	}
	return a, nil
}

// appendMap writes keys in order, so that equal maps give equal bytes.
func appendMap(dst []byte, m map[string]string) []byte {
	dst = appendUvarint(dst, uint64(len(m)))
	for _, k := range slices.Sorted(maps.Keys(m)) {
		dst = appendString(dst, k, MaxName)
		dst = appendString(dst, m[k], maxValue)
	}
	return dst
}

func (r *reader) textMap() map[string]string {
	n := int(r.uvarint(maxArgs, "arguments"))
	if n == 0 {
		return nil
	}
	m := make(map[string]string, n)
	last := ""
	for i := range n {
		k := r.string(MaxName, "argument")
		v := r.string(maxValue, "argument's value")
		if r.err == nil && i > 0 && k <= last {
			r.fail("argument", errRange)
		}
		if r.err != nil {
			return nil
		}
		m[k] = v
		last = k
	}
	return m
}
