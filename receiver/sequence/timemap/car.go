package timemap

import (
	"encoding/binary"
	"errors"
	"slices"

	"telemetry/wire"
)

// Car holds the maps of one car's epochs. The zero value is ready; it is not
// safe for concurrent use.
type Car struct {
	epochs []entry // in order of their first anchor
}

type entry struct {
	epoch wire.Epoch
	m     *Map
}

// FromKnots returns a map with given bends, of which there is at least one, oldest first.
func FromKnots(ks []Knot) *Map { return &Map{knots: slices.Clone(ks)} }

// Map returns the map of an epoch, or nil when no anchor of it is known.
func (c *Car) Map(e wire.Epoch) *Map {
	for i := len(c.epochs) - 1; i >= 0; i-- {
		if c.epochs[i].epoch == e {
			return c.epochs[i].m
		}
	}
	return nil
}

// See notes that data of an epoch up to an instant has been read; see [Map.See].
func (c *Car) See(e wire.Epoch, boot int64) {
	if m := c.Map(e); m != nil {
		m.See(boot)
	}
}

// At maps an instant of an epoch; see [Map.At].
func (c *Car) At(e wire.Epoch, boot int64) Stamp {
	m := c.Map(e)
	if m == nil {
		return Stamp{}
	}
	return m.At(boot)
}

// Add gives the epoch's map an anchor; see [Map.Add].
func (c *Car) Add(e wire.Epoch, a wire.Anchor) Verdict {
	if m := c.Map(e); m != nil {
		v := m.Add(a)
		if v == Slewed || v == Stepped {
			c.bound()
		}
		return v
	}
	m := &Map{}
	v := m.Add(a)
	if v == Ignored {
		return v
	}
	if len(c.epochs) == MaxEpochs {
		c.epochs = slices.Delete(c.epochs, 0, 1)
	}
	c.epochs = append(c.epochs, entry{e, m})
	return v
}

// bound forgets the oldest maps while the car has too many bends.
func (c *Car) bound() {
	n := 0
	for i := range c.epochs {
		n += len(c.epochs[i].m.knots)
	}
	for n > MaxCarKnots {
		n -= len(c.epochs[0].m.knots)
		c.epochs = slices.Delete(c.epochs, 0, 1)
	}
}

// ErrState marks serialised maps that cannot be read.
var ErrState = errors.New("timemap: unreadable state")

// Append adds the serialised maps to dst.
func (c *Car) Append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(c.epochs)))
	for _, e := range c.epochs {
		dst = binary.AppendUvarint(dst, uint64(e.epoch.Counter))
		dst = binary.BigEndian.AppendUint64(dst, e.epoch.Nonce)
		dst = binary.AppendVarint(dst, e.m.highNS)
		dst = binary.AppendUvarint(dst, uint64(len(e.m.knots)))
		var prev Knot
		for _, k := range e.m.knots {
			dst = binary.AppendVarint(dst, k.BootNS-prev.BootNS)
			dst = binary.AppendVarint(dst, k.OffsetNS-prev.TargetNS)
			dst = binary.AppendVarint(dst, k.TargetNS-k.OffsetNS)
			dst = binary.AppendVarint(dst, k.UncNS)
			dst = binary.AppendVarint(dst, k.AnchorBootNS-k.BootNS)
			dst = binary.AppendUvarint(dst, uint64(k.Anchor))
			dst = binary.AppendUvarint(dst, uint64(k.Segment))
			prev = k
		}
	}
	return dst
}

// Parse reads what [Car.Append] wrote, all of b.
func Parse(b []byte) (Car, error) {
	var c Car
	r := reader{b: b}
	n := r.uvarint(MaxEpochs)
	for range n {
		e := entry{m: &Map{}}
		e.epoch.Counter = uint32(r.uvarint(1<<32 - 1))
		e.epoch.Nonce = r.fixed64()
		e.m.highNS = r.varint()
		knots := r.uvarint(MaxKnots)
		var prev Knot
		for range knots {
			var k Knot
			k.BootNS = prev.BootNS + r.varint()
			k.OffsetNS = prev.TargetNS + r.varint()
			k.TargetNS = k.OffsetNS + r.varint()
			k.UncNS = r.varint()
			k.AnchorBootNS = k.BootNS + r.varint()
			k.Anchor = uint32(r.uvarint(1<<32 - 1))
			k.Segment = uint32(r.uvarint(1<<32 - 1))
			if r.bad {
				return Car{}, ErrState
			}
			e.m.knots = append(e.m.knots, k)
			prev = k
		}
		if r.bad || knots == 0 {
			return Car{}, ErrState
		}
		c.epochs = append(c.epochs, e)
	}
	if r.bad || len(r.b) != 0 {
		return Car{}, ErrState
	}
	return c, nil
}

// reader reads numbers and remembers the first fault.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || v > limit {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) fixed64() uint64 {
	if len(r.b) < 8 {
		r.bad, r.b = true, nil
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}
