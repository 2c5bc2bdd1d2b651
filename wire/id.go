package wire

import (
	"fmt"
	"strconv"
)

// Lane is the priority class of a batch. The zero value is no lane.
type Lane uint8

// The lanes, in order of priority.
const (
	LaneCritical Lane = 1 // events, anchors, control: on every usable link at once
	LaneLive     Lane = 2 // a reduced-rate preview, may be superseded
	LaneFull     Lane = 3 // every sample, striped over the links
)

// Lanes lists all lanes, highest priority first.
var Lanes = [...]Lane{LaneCritical, LaneLive, LaneFull}

// String returns the lane's name as it stands in topics and headers.
func (l Lane) String() string {
	switch l {
	case LaneCritical:
		return "critical"
	case LaneLive:
		return "live"
	case LaneFull:
		return "full"
	}
	return "lane-" + strconv.Itoa(int(l))
}

// Valid reports whether l is one of the three lanes.
func (l Lane) Valid() bool { return l >= LaneCritical && l <= LaneFull }

// ParseLane is the inverse of [Lane.String].
func ParseLane(s string) (Lane, error) {
	for _, l := range Lanes {
		if l.String() == s {
			return l, nil
		}
	}
	return 0, fmt.Errorf("wire: unknown lane %q (want critical, live or full)", s)
}

// Epoch names one start of an agent: a counter that is durable before the
// epoch's first batch, and 64 random bits that make a cloned or reflashed card
// a new stream instead of a stream of duplicates. The zero value is no epoch.
type Epoch struct {
	Counter uint32
	Nonce   uint64
}

// String returns "counter-nonce", the nonce as 16 hexadecimal digits.
func (e Epoch) String() string { return fmt.Sprintf("%d-%016x", e.Counter, e.Nonce) }

// Stream is one sequence of batches: numbers count from 1 without holes inside
// it. It is comparable and used as a map key.
type Stream struct {
	Car   string // 1 to MaxCarLen bytes of [A-Za-z0-9._-]
	Epoch Epoch
	Lane  Lane
	Shard uint16 // 0 for now
}

// String returns "car/epoch/lane/shard" for logs and messages.
func (s Stream) String() string {
	return fmt.Sprintf("%s/%s/%s/%d", s.Car, s.Epoch, s.Lane, s.Shard)
}

// ID names one batch for ever.
type ID struct {
	Stream Stream
	Seq    uint64 // from 1; 0 is "before the first"
}

// String returns "stream#seq" for logs and messages.
func (id ID) String() string { return fmt.Sprintf("%s#%d", id.Stream, id.Seq) }

// MaxCarLen is the longest car name: it must fit an MQTT topic level, a Kafka
// key and a one-byte length.
const MaxCarLen = 64

// ValidCar reports why a name cannot be a car's, or nil.
func ValidCar(car string) error {
	if car == "" || len(car) > MaxCarLen {
		return fmt.Errorf("wire: car name %q has %d bytes (want 1 to %d)", car, len(car), MaxCarLen)
	}
	for i := range len(car) {
		c := car[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return fmt.Errorf("wire: car name %q has a byte %q at %d (want letters, digits, '.', '_', '-')", car, c, i)
		}
	}
	return nil
}
