package ingest

import "telemetry/wire"

// streamKey names a stream of a known car.
type streamKey struct {
	epoch wire.Epoch
	lane  wire.Lane
	shard uint16
}

// stream is what the instance lists of one stream.
type stream struct {
	received wire.Ranges // in memory, on its way to Kafka: a loan, never forgotten
	durable  wire.Ranges // in Kafka; trimmed by base, forgotten when drained
	refused  wire.Ranges // can never be taken
	pulled   wire.Ranges // produced with pulled set
	base     uint64      // greatest seen: only to trim the sets above
	lastAt   int64       // of the last batch, or of the end of a loan
	held     []*pending  // received, waiting for a catalogue, in order of arrival
	crcs     []crcEntry  // crcRing of them once something was taken
}

// crcRing is how many payload CRCs a stream remembers: the batches that are
// resent while their copies are under way.
const crcRing = 256

// crcEntry remembers the payload of one batch, to tell a copy from a conflict.
type crcEntry struct {
	seq uint64
	crc uint32
}

// stream returns the record of a stream, made if need be; nil when the car has
// too many of them and none is drained.
func (c *Core) stream(k *car, key streamKey) *stream {
	if st := k.streams[key]; st != nil {
		return st
	}
	if len(k.streams) >= MaxStreams && !k.dropDrained() {
		c.n.Overflow++
		return nil
	}
	if len(k.lost) > 0 && !k.hasEpoch(key.epoch) {
		clear(k.lost) // a new start, on a new card perhaps: what the car did not have it may have now
	}
	st := &stream{lastAt: never}
	k.streams[key] = st
	return st
}

// hasEpoch reports whether a stream of an epoch is known.
func (k *car) hasEpoch(e wire.Epoch) bool {
	for key := range k.streams {
		if key.epoch == e {
			return true
		}
	}
	return false
}

// dropDrained forgets the stream that has been drained longest. The worst case
// is a duplicate, which the sequencer drops.
func (k *car) dropDrained() bool {
	var oldest streamKey
	var found *stream
	for key, st := range k.streams {
		if len(st.received) == 0 && (found == nil || st.lastAt < found.lastAt) {
			oldest, found = key, st
		}
	}
	if found == nil {
		return false
	}
	delete(k.streams, oldest)
	return true
}

// listed reports whether an ack would name the batch as taken.
func (st *stream) listed(seq uint64) bool {
	return st.received.Contains(seq) || st.durable.Contains(seq)
}

// raiseBase trims the sets when base rises; that is all that base does here
// (rule 17). A batch below base that comes later is taken like any other.
func (st *stream) raiseBase(base uint64) {
	if base <= st.base {
		return
	}
	st.base = base
	st.durable = st.durable.Remove(0, base-1)
	st.refused = st.refused.Remove(0, base-1)
	st.pulled = st.pulled.Remove(0, base-1)
}

// conflict reports whether a copy of a listed batch has another payload than
// the first one.
func (st *stream) conflict(seq uint64, crc uint32) bool {
	if st.crcs == nil {
		return false
	}
	e := st.crcs[seq%crcRing]
	return e.seq == seq && e.crc != crc
}

func (st *stream) remember(seq uint64, crc uint32) {
	if st.crcs == nil {
		st.crcs = make([]crcEntry, crcRing)
	}
	st.crcs[seq%crcRing] = crcEntry{seq, crc}
}

// settle moves a batch from received to durable.
func (st *stream) settle(seq uint64) (forgotten bool) {
	st.received = st.received.Remove(seq, seq)
	st.refused = st.refused.Remove(seq, seq)
	st.durable = st.durable.Add(seq, seq)
	return bound(&st.durable)
}

// bound forgets the lowest range of a set that has grown too long.
func bound(rs *wire.Ranges) bool {
	if len(*rs) <= MaxRanges {
		return false
	}
	n := copy(*rs, (*rs)[1:])
	*rs = (*rs)[:n]
	return true
}
