package sequence

import (
	"encoding/binary"
	"slices"

	"telemetry/wire"
)

// A log that does not begin at offset 0 has lost its oldest records to
// retention. Of a car that is first seen in such a log, the EpochOpen may be
// among them, and all that the car has settled since: waiting for either would
// be for ever. So its first epoch is taken as open, and each stream of it begins
// at the base of its first copy; what lies below is reported as a gap with the
// reason "retention".

// adopted says which streams of which epoch were begun so. The zero value is
// none.
type adopted struct {
	on    bool
	epoch wire.Epoch
	lanes uint8 // bit wire.Lane: done
}

// controls returns the control records that begin a stream, for its first copy.
func (a *adopted) controls(h *wire.Header, base uint64) []wire.Control {
	st := h.Stream
	if !a.on || st.Epoch != a.epoch || st.Shard != 0 || !st.Lane.Valid() || a.lanes&(1<<st.Lane) != 0 {
		return nil
	}
	var cs []wire.Control
	if a.lanes == 0 {
		cs = append(cs, wire.Control{EpochOpen: &wire.EpochOpen{Epoch: st.Epoch}})
	}
	a.lanes |= 1 << st.Lane
	if base = min(base, h.Seq); base > 1 {
		cs = append(cs, wire.Control{Loss: &wire.Loss{
			Epoch: st.Epoch, Lane: st.Lane, Shard: st.Shard, Reason: wire.ReasonRetention,
			Ranges: wire.Ranges{{First: 1, Last: base - 1}},
		}})
	}
	return slices.Clip(cs)
}

func (a *adopted) append(dst []byte) []byte {
	if !a.on {
		return append(dst, 0)
	}
	dst = append(dst, 1, a.lanes)
	dst = binary.AppendUvarint(dst, uint64(a.epoch.Counter))
	return binary.BigEndian.AppendUint64(dst, a.epoch.Nonce)
}

func (r *stateReader) adopted() adopted {
	if r.byte() == 0 {
		return adopted{}
	}
	a := adopted{on: true, lanes: r.byte()}
	a.epoch = wire.Epoch{Counter: uint32(r.uvarint()), Nonce: r.fixed64()}
	return a
}
