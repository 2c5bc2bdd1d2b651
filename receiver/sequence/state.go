package sequence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// PartitionKey is the key of the partition's own record in the state topic. No
// car can have that name.
const PartitionKey = "@partition"

// HeaderTopicID is the header of the partition's own record that names the topic
// which the state is about: 32 hexadecimal digits.
const HeaderTopicID = "topic_id"

// stateVersion is the first byte of every state record. A reader refuses a
// version it does not know: guessing would lose or double data.
const stateVersion = 1

// Kinds of state records, their second byte.
const (
	stateOfPartition = 'P'
	stateOfCar       = 'C'
)

// ErrState marks a state record that cannot be read.
var ErrState = errors.New("sequence: unreadable state record (written by a newer version? run that version, or reset the group's state)")

// CommittedOffset finds in state records of one partition the offset that the
// newest commit gave to the group. It is false when there is none. Backends use
// it when the group's own offset has expired.
func CommittedOffset(state []topic.Record) (int64, bool) {
	for i := range state {
		if !bytes.Equal(state[i].Key, []byte(PartitionKey)) {
			continue
		}
		if ps, err := parsePartitionState(state[i].Value, nil); err == nil {
			return ps.Commit, true
		}
	}
	return 0, false
}

// partitionState says how far a partition has been applied.
type partitionState struct {
	Input  int64 // every record below it has been applied
	Commit int64 // the group's offset: lowest one not yet released or settled
	NowMS  int64 // the sequencer's time, ms since 1970
	// Written holds outputs of owners that died before they could say so, which
	// have not been made again so far; nearly always empty.
	Written map[topic.Identity]struct{}
}

func (s partitionState) append(dst []byte, topics []string) []byte {
	dst = append(dst, stateVersion, stateOfPartition)
	dst = binary.AppendUvarint(dst, uint64(s.Input))
	dst = binary.AppendUvarint(dst, uint64(s.Commit))
	dst = binary.AppendVarint(dst, s.NowMS)
	dst = binary.AppendUvarint(dst, uint64(len(s.Written)))
	for id := range s.Written {
		st := id.ID.Stream
		dst = append(dst, byte(slices.Index(topics, id.Topic)), byte(st.Lane)) // 255: no topic of ours
		dst = appendBytes(dst, []byte(st.Car))
		dst = binary.AppendUvarint(dst, uint64(st.Epoch.Counter))
		dst = binary.BigEndian.AppendUint64(dst, st.Epoch.Nonce)
		dst = binary.AppendUvarint(dst, uint64(st.Shard))
		dst = binary.AppendUvarint(dst, id.ID.Seq)
		dst = appendBytes(dst, []byte(id.Place))
	}
	return dst
}

// parsePartitionState reads what append wrote; without topics it leaves Written
// empty.
func parsePartitionState(b []byte, topics []string) (partitionState, error) {
	r := stateReader{b: b}
	r.head(stateOfPartition)
	s := partitionState{Input: int64(r.uvarint()), Commit: int64(r.uvarint()), NowMS: r.varint()}
	for n := r.uvarint(); n > 0 && r.err == nil; n-- {
		var id topic.Identity
		t, st := int(r.byte()), &id.ID.Stream
		st.Lane = wire.Lane(r.byte())
		st.Car = string(r.bytes())
		st.Epoch = wire.Epoch{Counter: uint32(r.uvarint()), Nonce: r.fixed64()}
		st.Shard = uint16(r.uvarint())
		id.ID.Seq = r.uvarint()
		id.Place = string(r.bytes())
		if t >= len(topics) {
			continue
		}
		if s.Written == nil {
			s.Written = make(map[topic.Identity]struct{})
		}
		id.Topic = topics[t]
		s.Written[id] = struct{}{}
	}
	if r.err == nil && (s.Input < 0 || s.Commit < 0 || s.Commit > s.Input || len(r.b) != 0) {
		r.err = ErrState
	}
	return s, r.err
}

// stateReader reads a state record and keeps the first fault.
type stateReader struct {
	b   []byte
	err error
}

func (r *stateReader) fail() {
	if r.err == nil {
		r.err = fmt.Errorf("%w: cut short or out of range", ErrState)
	}
	r.b = nil
}

func (r *stateReader) head(kind byte) {
	if len(r.b) < 2 || r.b[0] != stateVersion || r.b[1] != kind {
		r.fail()
		return
	}
	r.b = r.b[2:]
}

func (r *stateReader) byte() byte {
	if len(r.b) == 0 {
		r.fail()
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *stateReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *stateReader) varint() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *stateReader) fixed64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// bytes reads a length and that many bytes; the result aliases the record.
func (r *stateReader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

func appendBytes(dst, b []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(b)))
	return append(dst, b...)
}
