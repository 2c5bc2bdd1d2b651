package wire

import "fmt"

// Limits of control records.
const (
	// MaxPredecessors bounds one EpochOpen; more go into further ones.
	MaxPredecessors = 255
	// maxHeldLanes bounds the held sets of one predecessor: lanes times shards.
	maxHeldLanes = 64
	// MaxEventName and MaxEventDetail keep an event inside a critical batch.
	MaxEventName   = 64
	MaxEventDetail = 128
)

func appendEpoch(dst []byte, e Epoch) []byte {
	return appendU64(appendUvarint(dst, uint64(e.Counter)), e.Nonce)
}

func (r *reader) epoch() Epoch {
	c := uint32(r.uvarint(1<<32-1, "epoch"))
	return Epoch{Counter: c, Nonce: r.u64("nonce")}
}

func (r *reader) lane() Lane {
	l := Lane(r.byte("lane"))
	if r.err == nil && !l.Valid() {
		r.fail("lane", errRange)
	}
	return l
}

func (r *reader) shard() uint16 { return uint16(r.uvarint(1<<16-1, "shard")) }

// AppendEpochOpen appends v as a section.
func AppendEpochOpen(dst []byte, v *EpochOpen) []byte {
	return appendSection(dst, SectionEpochOpen, func(dst []byte) []byte {
		dst = appendEpoch(dst, v.Epoch)
		dst = append(dst, v.BootID[:]...)
		dst = appendVarint(dst, v.OpenedNS)
		dst = appendUvarint(dst, uint64(len(v.Predecessors)))
		for _, p := range v.Predecessors {
			dst = appendEpoch(dst, p.Epoch)
			dst = appendUvarint(dst, uint64(len(p.Held)))
			for _, h := range p.Held {
				dst = append(dst, byte(h.Lane))
				dst = appendUvarint(dst, uint64(h.Shard))
				dst = AppendRanges(dst, h.Ranges)
			}
		}
		return dst
	})
}

func (r *reader) epochOpen() *EpochOpen {
	v := &EpochOpen{Epoch: r.epoch()}
	copy(v.BootID[:], r.take(len(v.BootID), "boot id"))
	v.OpenedNS = r.varint("opening time")
	n := int(r.uvarint(MaxPredecessors, "predecessors"))
	for range n {
		p := Predecessor{Epoch: r.epoch()}
		for range r.uvarint(maxHeldLanes, "held streams") {
			h := HeldRanges{Lane: r.lane(), Shard: r.shard()}
			h.Ranges = r.ranges(MaxRanges)
			p.Held = append(p.Held, h)
			if r.err != nil {
				return nil
			}
		}
		if r.err != nil {
			return nil
		}
		v.Predecessors = append(v.Predecessors, p)
	}
	return v
}

// AppendLoss appends v as a section.
func AppendLoss(dst []byte, v *Loss) []byte {
	return appendSection(dst, SectionLoss, func(dst []byte) []byte {
		dst = appendEpoch(dst, v.Epoch)
		dst = append(dst, byte(v.Lane))
		dst = appendUvarint(dst, uint64(v.Shard))
		dst = append(dst, byte(v.Reason))
		dst = appendVarint(dst, v.FirstNS)
		dst = appendVarint(dst, v.LastNS)
		return AppendRanges(dst, v.Ranges)
	})
}

func (r *reader) loss() *Loss {
	v := &Loss{Epoch: r.epoch(), Lane: r.lane(), Shard: r.shard()}
	v.Reason = Reason(r.byte("reason"))
	v.FirstNS = r.varint("first time")
	v.LastNS = r.varint("last time")
	v.Ranges = r.ranges(MaxRanges)
	return v
}

// AppendBase appends v as a section.
func AppendBase(dst []byte, v *Base) []byte {
	return appendSection(dst, SectionBase, func(dst []byte) []byte {
		dst = appendEpoch(dst, v.Epoch)
		dst = append(dst, byte(v.Lane))
		dst = appendUvarint(dst, uint64(v.Shard))
		return appendUvarint(dst, v.Base)
	})
}

func (r *reader) base() *Base {
	v := &Base{Epoch: r.epoch(), Lane: r.lane(), Shard: r.shard()}
	v.Base = r.uvarint(MaxSeq, "base")
	return v
}

// AppendAnchor appends v as a section.
func AppendAnchor(dst []byte, v *Anchor) []byte {
	return appendSection(dst, SectionAnchor, func(dst []byte) []byte {
		dst = appendUvarint(dst, uint64(v.ID))
		dst = appendVarint(dst, v.BootNS)
		dst = appendVarint(dst, v.UTCNS)
		dst = appendVarint(dst, v.UncertaintyNS)
		return append(dst, byte(v.Source))
	})
}

func (r *reader) anchor() *Anchor {
	v := &Anchor{ID: uint32(r.uvarint(1<<32-1, "anchor id"))}
	v.BootNS = r.varint("boot time")
	v.UTCNS = r.varint("UTC")
	v.UncertaintyNS = r.varint("uncertainty")
	if r.err == nil && v.UncertaintyNS <= 0 {
		r.fail("uncertainty", errRange)
	}
	v.Source = AnchorSource(r.byte("source"))
	return v
}

// AppendEvent appends v as a section; texts longer than their limits are cut.
func AppendEvent(dst []byte, v *Event) []byte {
	return appendSection(dst, SectionEvent, func(dst []byte) []byte {
		dst = appendVarint(dst, v.BootNS)
		dst = appendString(dst, v.Name, MaxEventName)
		return appendString(dst, v.Detail, MaxEventDetail)
	})
}

func (r *reader) event() *Event {
	v := &Event{BootNS: r.varint("boot time")}
	v.Name = r.string(MaxEventName, "event name")
	v.Detail = r.string(MaxEventDetail, "event detail")
	return v
}

// ParseControl reads a section that is no block. Its error is
// [ErrUnknownSection] for a type that this build does not know, a block
// included.
func ParseControl(s Section) (Control, error) {
	r := &reader{b: s.Body}
	var c Control
	switch s.Type {
	case SectionEpochOpen:
		c.EpochOpen = r.epochOpen()
	case SectionLoss:
		c.Loss = r.loss()
	case SectionBase:
		c.Base = r.base()
	case SectionAnchor:
		c.Anchor = r.anchor()
	case SectionEvent:
		c.Event = r.event()
	default:
		return Control{}, fmt.Errorf("%w of type %d", ErrUnknownSection, s.Type)
	}
	if r.err != nil {
		return Control{}, r.err
	}
	return c, nil // bytes left over are fields of a later version
}

// Controls returns every section of a payload that is no block, in order.
// Unknown ones are skipped, but for those that must be understood: they are
// [ErrMustUnderstand].
func Controls(payload []byte) ([]Control, error) {
	var cs []Control
	for len(payload) > 0 {
		s, n, err := NextSection(payload)
		if err != nil {
			return nil, err
		}
		payload = payload[n:]
		if s.Type >= SectionMustUnderstand {
			return nil, fmt.Errorf("%w: section of type %d", ErrMustUnderstand, s.Type)
		}
		if s.Type < SectionEpochOpen || s.Type > SectionEvent {
			continue
		}
		c, err := ParseControl(s)
		if err != nil {
			return nil, err
		}
		cs = append(cs, c)
	}
	return cs, nil
}

var reasonNames = [...]string{
	"none", "quota", "corrupt", "refused", "superseded", "epoch", "gap", "retention", "card replaced", "disk",
	"undecodable", "no catalogue", "limit",
}

// String returns the reason as it stands in telemetry.gaps.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason-%d", uint8(r))
}

// ParseReason is the inverse of [Reason.String].
func ParseReason(s string) (Reason, error) {
	for i, n := range reasonNames {
		if n == s {
			return Reason(i), nil
		}
	}
	return 0, fmt.Errorf("wire: unknown reason %q", s)
}

// String returns the source's name as it stands in outputs.
func (s AnchorSource) String() string {
	switch s {
	case AnchorRTC:
		return "rtc"
	case AnchorManual:
		return "manual"
	case AnchorNTP:
		return "ntp"
	case AnchorGNSS:
		return "gnss"
	case AnchorPPS:
		return "pps"
	case AnchorPTP:
		return "ptp"
	}
	return fmt.Sprintf("source-%d", uint8(s))
}
