package sequence

import (
	"errors"
	"fmt"
	"strconv"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// HeaderTick marks a record of telemetry.batches without a batch: it only
// carries the time at which the log took it.
const HeaderTick = "tick"

// Headers of an operator's record in telemetry.batches: it has no value, key and
// headers name the car, and what the operator wants is decided in the order of
// the log, so that a replay decides alike.
const (
	HeaderOperator  = "operator"
	OperatorAbandon = "abandon" // with epoch and nonce: see [reorder.Car.Abandon]
)

// Apply takes the next record of telemetry.batches. The record's memory belongs
// to the partition from then on.
func (p *Partition) Apply(r *topic.Record) {
	fresh := r.Offset >= p.input
	p.position = r.Offset + 1
	if fresh {
		p.last = topic.Record{Offset: r.Offset, TimestampMS: r.TimestampMS, Key: r.Key, Value: r.Value}
	}
	p.nowMS = max(p.nowMS, r.TimestampMS)
	h := held{value: r.Value, key: r.Key, headers: r.Headers, appendMS: r.TimestampMS}
	var a arrival
	var err error
	if len(r.Value) == 0 {
		if _, ok := r.Get(HeaderTick); ok {
			return
		}
		if verb, ok := r.Get(HeaderOperator); ok {
			if err = p.operator(r, verb); err == nil {
				return
			}
		}
	}
	if err == nil {
		err = p.parse(r, &a)
	}
	if err == nil {
		h.link = a.send.Link
		if p.cfg.Hops != nil && wire.Sampled(a.header.Seq) {
			h.readNS = p.cfg.Wall()
		}
		var c *car
		if c, err = p.carOf(&a.header, r.Offset); err == nil {
			p.apply(c, r.Offset, &h, &a)
			return
		}
	}
	if fresh {
		p.reject(r.Offset, &h, err)
	}
}

// carOf returns the car of the batch at an offset, made on first sight. What has
// been deleted may have been the car's only if no owner has read all of that, and
// if the car has come before the log was loaded.
func (p *Partition) carOf(h *wire.Header, offset int64) (*car, error) {
	c := p.cars[h.Stream.Car]
	if c != nil {
		return c, nil
	}
	if len(p.cars) >= p.cfg.MaxCars {
		return nil, errTooManyCars
	}
	c = newCar(&p.cfg, h.Stream.Car)
	if p.logStart > p.input && (p.loadEnd < 0 || offset < p.loadEnd) {
		c.core.StartInside()
	}
	p.enter(c)
	return c, nil
}

// What makes a record a dead letter before its car sees it; the texts stand in
// the reason header.
var (
	errUndecodable = errors.New("undecodable")
	errHeaders     = errors.New("headers")
	errForeign     = errors.New("foreign partition")
	errTooManyCars = errors.New("too many cars")
	errOperator    = errors.New("operator")
)

// rejected is one of these errors, with details.
type rejected struct {
	why     error
	details string
}

func (e *rejected) Error() string { return e.why.Error() + ": " + e.details }
func (e *rejected) Unwrap() error { return e.why }

// arrival is a record of a batch, parsed. An unreadable batch whose headers are
// sound has only its identity in header: it takes its place in the order, and
// becomes a dead letter there, so that its number is not waited for.
type arrival struct {
	header wire.Header
	batch  wire.Batch
	send   wire.Send
}

// parse reads a record's envelope and headers, and checks that both belong here.
func (p *Partition) parse(r *topic.Record, a *arrival) error {
	b, err := parseSealed(r.Value)
	info, herr := topic.ParseBatchHeaders(r.Headers)
	switch {
	case herr != nil && err != nil:
		return &rejected{errUndecodable, err.Error()}
	case herr != nil:
		return &rejected{errHeaders, herr.Error()}
	case err != nil:
		if info.ID.Seq == 0 || info.ID.Seq > wire.MaxSeq {
			return &rejected{errUndecodable, err.Error()}
		}
		a.header = wire.Header{Stream: info.ID.Stream, Seq: info.ID.Seq}
	case info.ID != b.Header.ID():
		return &rejected{errHeaders, fmt.Sprintf("they name %s, the batch is %s", info.ID, b.Header.ID())}
	default:
		a.header, a.batch = b.Header, b
	}
	a.send = info.Send
	return p.own(a.header.Stream.Car)
}

// parseSealed parses a record's value: one sealed batch and nothing else.
func parseSealed(value []byte) (wire.Batch, error) {
	b, n, err := wire.Parse(value)
	if err == nil && n != len(value) {
		err = fmt.Errorf("%d bytes behind the batch", len(value)-n)
	}
	return b, err
}

// own refuses a car that belongs to another partition (rule 21).
func (p *Partition) own(car string) error {
	if want := topic.Partition([]byte(car), p.total); want != p.number {
		return &rejected{errForeign, fmt.Sprintf("car %s belongs to partition %d of %d", car, want, p.total)}
	}
	return nil
}

// operator does what an operator's record asks for.
func (p *Partition) operator(r *topic.Record, verb string) error {
	car, _ := r.Get(topic.HeaderCar)
	counter, _ := r.Get(topic.HeaderEpoch)
	nonce, _ := r.Get(topic.HeaderNonce)
	e, err1 := strconv.ParseUint(counter, 10, 32)
	n, err2 := strconv.ParseUint(nonce, 16, 64)
	if err := errors.Join(err1, err2); err != nil || verb != OperatorAbandon {
		return &rejected{errOperator, fmt.Sprintf("%.40q of car %.64q epoch %.20q nonce %.20q (want abandon, a car, a number, 16 hex digits)",
			verb, car, counter, nonce)}
	}
	if err := p.own(car); err != nil {
		return err
	}
	c := p.cars[car]
	if r.Offset < p.input || c != nil && r.Offset < c.core.NextOffset() {
		return nil // an earlier owner has done it
	}
	if c == nil {
		return &rejected{errOperator, "unknown car " + text(car)}
	}
	c.dirty = true
	ok := c.core.Abandon(r.Offset, r.TimestampMS, wire.Epoch{Counter: uint32(e), Nonce: n}, &p.decided)
	p.decide(c)
	if !ok {
		return &rejected{errOperator, "unknown epoch of car " + text(car)}
	}
	return nil
}

// reject sends a record that no car sees to the dead-letter topic.
func (p *Partition) reject(offset int64, h *held, err error) {
	p.noCar.Batches++
	p.noCar.DeadLetters++
	details := ""
	why := err
	var r *rejected
	if errors.As(err, &r) {
		why, details = r.why, r.details
	}
	if errors.Is(why, errForeign) {
		p.noCar.Foreign++
	}
	if !errors.Is(why, errUndecodable) {
		p.alarm(Alarm{What: err.Error(), Offset: offset})
	}
	p.deadLetter(offset, h, why.Error(), details)
}
