package sequence

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"

	"telemetry/receiver/topic"
)

// ErrRewritten says that telemetry.batches holds something else where it was read
// already: it was cut short and has grown again, so that offsets do not mean what they
// meant.
var ErrRewritten = errors.New("sequence: telemetry.batches has been cut short and has grown again since it was read " +
	"(an unclean leader election, or a broker's disk from a backup? what was read and is there no more is lost to Kafka; to put in order and write " +
	"again all that is there now, stop all receivers and delete the state topic and the consumer group, both)")

// HeaderWitness is the header of the partition's own record in the state topic that
// says what the last record read was: see [Witness].
const HeaderWitness = "last_read"

// Witness is what is kept of a record to know it again: topics are deleted from
// their beginning only, so what was read at an offset stays there or is gone.
type Witness struct {
	Offset   int64
	AppendMS int64  // LogAppendTime, ms since 1970
	CRC      uint32 // CRC32C of key and value
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WitnessOf describes a record.
func WitnessOf(r *topic.Record) Witness {
	crc := crc32.Update(crc32.Checksum(r.Key, castagnoli), castagnoli, r.Value)
	return Witness{Offset: r.Offset, AppendMS: r.TimestampMS, CRC: crc}
}

// Same returns [ErrRewritten] unless a record is the one that the witness is of.
func (w Witness) Same(r *topic.Record) error {
	if is := WitnessOf(r); is != w {
		return fmt.Errorf("%w: the record at %d has the time %d and the checksum %08x, had %d and %08x", ErrRewritten, w.Offset, is.AppendMS, is.CRC, w.AppendMS, w.CRC)
	}
	return nil
}

func (w Witness) append(dst []byte) []byte {
	return fmt.Appendf(dst, "%d %d %08x", w.Offset, w.AppendMS, w.CRC)
}

// parseWitness reads what append wrote; it is false for anything else.
func parseWitness(s string) (w Witness, ok bool) {
	f := strings.Fields(s)
	if len(f) != 3 {
		return w, false
	}
	offset, err1 := strconv.ParseInt(f[0], 10, 64)
	at, err2 := strconv.ParseInt(f[1], 10, 64)
	crc, err3 := strconv.ParseUint(f[2], 16, 32)
	return Witness{Offset: offset, AppendMS: at, CRC: uint32(crc)}, errors.Join(err1, err2, err3) == nil && offset >= 0
}

// sameLog reads the last record again that the state has seen, and refuses a log that
// holds another one there. A record that retention has deleted says nothing.
func (o *owner) sameLog(ctx context.Context, logStart int64) error {
	w, ok := o.p.Witness()
	if !ok || w.Offset < logStart {
		return nil
	}
	var rec topic.Record
	err := o.retry(ctx, "read", func() (err error) {
		rec, err = o.session.Read(ctx, w.Offset)
		return err
	})
	switch {
	case errors.Is(err, ErrGone):
		return nil
	case err != nil:
		return err
	}
	return w.Same(&rec)
}
