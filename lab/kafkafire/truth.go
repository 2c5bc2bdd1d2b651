package kafkafire

import (
	"bufio"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"
	"sync/atomic"

	"telemetry/wire"
)

// truth is the list of all that was appended: one line per batch.
type truth struct {
	mu      sync.Mutex
	w       *bufio.Writer // guarded by mu
	f       *os.File
	batches atomic.Int64
	bytes   atomic.Int64
}

func newTruth(path string) (*truth, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, fmt.Errorf("kafkafire: list of what is sent: %w", err)
	}
	return &truth{w: bufio.NewWriter(f), f: f}, nil
}

// add notes one batch: its number n of its lane, the length and checksum of its
// block (0 for an event).
func (t *truth) add(id wire.ID, n int64, block []byte) error {
	st := id.Stream
	t.mu.Lock()
	defer t.mu.Unlock()
	t.batches.Add(1)
	t.bytes.Add(int64(len(block)))
	_, err := fmt.Fprintf(t.w, "%s %d %016x %s %d %d %d %d\n", st.Car, st.Epoch.Counter, st.Epoch.Nonce, st.Lane, id.Seq, n, len(block), crc32.ChecksumIEEE(block))
	return err
}

func (t *truth) close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return errors.Join(t.w.Flush(), t.f.Close())
}
