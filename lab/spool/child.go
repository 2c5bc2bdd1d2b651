package spool

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"telemetry/internal/clock"
	"telemetry/spool"
	"telemetry/spool/atrest"
)

// ChildSpec says what a fresh process does. It travels as JSON on its command
// line.
type ChildSpec struct {
	Do  string // write, read, raw, rawread, bench…: see Child
	Dir string

	Seed      uint64
	Chunk     int64 // bytes; 0: the spool's default, as all below
	Commit    int
	Queue     int
	Quota     int64
	CommitMS  int
	Min, Max  int     // bytes of a payload of the full lane
	Batches   int     // of the full lane; 0: until it is killed
	Silent    int     // batches appended after the last that is acknowledged
	Settle    float64 // share of the batches that the cloud takes
	RateMBs   float64 // offered; 0: as fast as it goes
	Bytes     int64   // for the benches
	Reader    bool    // drain while appending
	Close     bool    // end in order
	PatienceS int     // s that the writer waits for its last batches; 0: 30
	HoldAfter bool    // when done, wait to be killed
	Encrypt   bool    // at rest; launch sets it for all children of a run
}

// identity opens the encrypted spools of the laboratory; it protects nothing else.
const identity = "AGE-SECRET-KEY-1G3HHFMXGX3GFV4VS8FX9LCHUEYN94MZX9G9ZGG8EHXSA9G0AKNYSMJX6EZ"

// encrypted is the context key under which Crash and Bench tell launch that spools are
// encrypted.
type encrypted struct{}

// car is the name of every car of the laboratory.
const car = "lab"

func (c ChildSpec) config() spool.Config {
	var keys spool.KeyBox
	if c.Encrypt {
		box, err := atrest.Parse(strings.NewReader(identity), nil)
		if err != nil {
			panic("lab: internal error: " + err.Error()) // the identity is a constant
		}
		keys = box
	}
	return spool.Config{
		Keys: keys, EncryptedOnly: c.Encrypt,
		Dir: c.Dir, Car: car, Clock: clock.System{},
		ChunkBytes: c.Chunk, CommitBytes: c.Commit, QueueBytes: c.Queue, QuotaBytes: c.Quota,
		CommitInterval: time.Duration(c.CommitMS) * time.Millisecond, CriticalInterval: time.Duration(c.CommitMS) * time.Millisecond / 2,
	}
}

// Child does what spec says, in this process.
func Child(ctx context.Context, spec string, out io.Writer) error {
	var c ChildSpec
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return fmt.Errorf("lab: child: %w", err)
	}
	switch c.Do {
	case "write":
		return writeChild(ctx, c, out)
	case "read":
		return readChild(ctx, c, out)
	case "raw":
		return rawChild(c, out)
	case "rawread":
		return rawReadChild(c, out)
	}
	return benchChild(ctx, c, out)
}
