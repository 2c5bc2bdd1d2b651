package spool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"telemetry/spool"
	"telemetry/wire"
)

// readChild is the next start: it tells everything that it finds. With Settle it
// takes that share of it over.
func readChild(ctx context.Context, c ChildSpec, stdout io.Writer) error {
	sp, report, err := spool.Open(c.config())
	if err != nil {
		return err
	}
	out := &lines{w: bufio.NewWriterSize(stdout, 64<<10)}
	if line, err := json.Marshal(report); err == nil {
		if err := out.say(false, "J %s", line); err != nil {
			return err
		}
	}
	r := &reader{sp: sp, out: out}
	for _, lane := range []wire.Lane{wire.LaneFull, wire.LaneCritical} { // what full lacks shows up in critical
		if lane == wire.LaneCritical {
			if err := sp.Sync(ctx); err != nil {
				return fmt.Errorf("loss records: %w", err)
			}
		}
		if err := r.lane(lane); err != nil {
			return err
		}
	}
	// What critical lacked shows up behind its end.
	if err := sp.Sync(ctx); err != nil {
		return fmt.Errorf("loss records: %w", err)
	}
	if err := r.lane(wire.LaneCritical); err != nil {
		return err
	}
	if c.Settle > 0 {
		for _, id := range r.have {
			if err := out.say(false, "S %s", idText(id)); err != nil {
				return err
			}
			sp.Settle(id.Stream, wire.Ranges{{First: id.Seq, Last: id.Seq}})
		}
	}
	return errors.Join(sp.Close(), out.say(true, "D"))
}

type reader struct {
	sp     *spool.Spool
	out    *lines
	opener wire.Opener
	have   []wire.ID
	at     [4]wire.ID // where each lane's walk stands
	buf    []byte
}

func (r *reader) lane(lane wire.Lane) error {
	for {
		it, ok := r.sp.Next(lane, r.at[lane])
		if !ok {
			return nil
		}
		r.at[lane] = it.ID
		if err := r.item(it); err != nil {
			return err
		}
	}
}

func (r *reader) item(it wire.Item) error {
	var err error
	for range 3 { // a card may answer the second time
		r.buf, err = r.sp.Read(it.ID, r.buf[:0])
		if err == nil || errors.Is(err, spool.ErrGone) {
			break
		}
	}
	if errors.Is(err, spool.ErrGone) {
		return nil // its loss record follows
	}
	if err != nil {
		return r.out.say(true, "X unreadable %s: %v", idText(it.ID), err)
	}
	b, n, err := wire.Parse(r.buf)
	if err != nil || n != len(r.buf) || b.Header.ID() != it.ID {
		return r.out.say(false, "X wrong %s: %v", idText(it.ID), err)
	}
	payload, err := r.opener.Payload(b)
	if err != nil {
		return r.out.say(false, "X wrong %s: %v", idText(it.ID), err)
	}
	r.have = append(r.have, it.ID)
	if it.Control {
		return r.control(it.ID, payload)
	}
	t, err := readPayload(payload)
	if err != nil || t.epoch != it.ID.Stream.Epoch || t.lane != it.ID.Stream.Lane || t.n > it.ID.Seq {
		return r.out.say(false, "X phantom %s: %v", idText(it.ID), err)
	}
	return r.out.say(false, "H %s %d", idText(it.ID), crcOf(payload))
}

func (r *reader) control(id wire.ID, payload []byte) error {
	cs, err := wire.Controls(payload)
	if err != nil {
		return r.out.say(false, "X wrong control %s: %v", idText(id), err)
	}
	for _, c := range cs {
		if c.Loss == nil {
			continue
		}
		for _, rg := range c.Loss.Ranges {
			err := r.out.say(false, "L %s %d %d %d %d %s", c.Loss.Lane, c.Loss.Epoch.Counter, c.Loss.Epoch.Nonce, rg.First, rg.Last, c.Loss.Reason)
			if err != nil {
				return err
			}
		}
	}
	return r.out.say(false, "C %s", idText(id))
}
