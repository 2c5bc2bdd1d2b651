package spool

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"telemetry/wire"
)

// Key files: keys/<counter>-<nonce>.0 and .1, the same wrapped secret twice, so that one
// rotten file locks nothing up.
//
//	wrapped: magic "TSPK" | version 1 | length of car 1 | car | epoch 12 | secret 32

const (
	keysName    = "keys"
	keyMagic    = "TSPK"
	keyVersion  = 1
	maxKeyBytes = 64 << 10
	// keepKeys is how many of the newest key files stay although no chunk needs them:
	// quarantine may.
	keepKeys = 64
)

func keysDir(dir string) string { return filepath.Join(dir, keysName) }

func keyName(e wire.Epoch) string { return fmt.Sprintf("%010d-%016x", e.Counter, e.Nonce) }

func (s *secret) encode(car string, e wire.Epoch) []byte {
	b := append([]byte(keyMagic), keyVersion, byte(len(car)))
	b = appendEpoch(append(b, car...), e)
	return append(b, s[:]...)
}

func parseSecret(b []byte, car string, e wire.Epoch) (s secret, err error) {
	head := (&secret{}).encode(car, e)
	head = head[:len(head)-len(s)]
	if len(b) < len(head)+len(s) || string(b[:len(head)]) != string(head) {
		return s, fmt.Errorf("%w: it is another car's, another start's or a newer version's", errNoSecret)
	}
	copy(s[:], b[len(head):])
	return s, nil
}

// load opens the secret of a start. again says that the card did not answer: it may the
// next time.
func (k *keyring) load(e wire.Epoch) (x secret, again bool, err error) {
	var errs []error
	for _, slot := range []string{".0", ".1"} {
		b, err := readAll(k.disk, filepath.Join(k.dir, keyName(e)+slot), maxKeyBytes)
		if err != nil {
			again = again || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrTooLarge)
			errs = append(errs, err)
			continue
		}
		if k.box == nil {
			return secret{}, false, fmt.Errorf("spool: epoch %s: no identity configured: %w", e, ErrNoKey)
		}
		if b, err = k.box.Unwrap(b); err == nil {
			if x, err = parseSecret(b, k.car, e); err == nil {
				return x, false, nil
			}
		}
		errs = append(errs, err)
	}
	err = errors.Join(errs...)
	if !errors.Is(err, ErrNoKey) {
		err = fmt.Errorf("%w: %w: %w", ErrNoKey, errNoSecret, err)
	}
	return secret{}, again, fmt.Errorf("spool: epoch %s: %w", e, err)
}

// newSecret makes the secret of this start durable before anything is encrypted with it.
func (s *Spool) newSecret() error {
	if !s.encrypts() {
		return nil
	}
	s.algorithm = ownAlgorithm()
	var x secret
	if _, err := io.ReadFull(rand.Reader, x[:]); err != nil { // never the configured source: it is a simulation's
		return fmt.Errorf("spool: secret: %w", err)
	}
	wrapped, err := s.cfg.Keys.Wrap(x.encode(s.cfg.Car, s.epoch))
	if err != nil {
		return fmt.Errorf("spool: secret: %w", err)
	}
	dir := keysDir(s.cfg.Dir)
	for _, slot := range []string{".0", ".1"} {
		name := filepath.Join(dir, keyName(s.epoch)+slot)
		if err := s.withSpace(func() error { return s.disk.Write(name, wrapped) }); err != nil {
			return fmt.Errorf("spool: key file: %w", err)
		}
	}
	if err := s.disk.SyncDir(dir); err != nil {
		return fmt.Errorf("spool: sync %s: %w", dir, err)
	}
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	s.keys.opened[s.epoch] = openedKey{secret: x}
	return nil
}

// keyCounter returns the greatest counter that the names of key files have: a start whose
// epoch file is gone counts on from there, so that by name order the newest are last.
// Nothing protects these names: one that no card lives to see counts for nothing.
func (s *Spool) keyCounter() uint32 {
	es, _ := s.disk.ReadDir(keysDir(s.cfg.Dir)) // unreadable: the others tell
	top := uint64(0)
	for _, e := range es {
		base, _, _ := strings.Cut(e.Name, ".")
		counter, _, _ := strings.Cut(base, "-")
		if n, err := strconv.ParseUint(counter, 10, 31); err == nil && isKeyName(base) {
			top = max(top, n)
		}
	}
	return uint32(top)
}

// sawAll reports that Open saw all of the card, and lost nothing that an earlier start
// knew: what nothing refers to now is of no use to a better start either.
func (s *Spool) sawAll() bool {
	return !s.blind && !s.report.EpochLost && !s.report.CursorLost && s.report.Quarantined == 0 && s.report.RepairFailures == 0
}

// dropKeys removes the key files of starts of which no chunk is left, if Open saw all.
// Open only.
func (s *Spool) dropKeys() {
	if !s.sawAll() {
		return
	}
	dir := keysDir(s.cfg.Dir)
	es, err := s.disk.ReadDir(dir)
	if err != nil {
		return // there are none
	}
	needed := map[string]bool{keyName(s.epoch): true}
	for e := range s.atRest {
		needed[keyName(e)] = true
	}
	for i, e := range slices.Backward(es) {
		base, _, _ := strings.Cut(e.Name, ".")
		if len(es)-i > 2*keepKeys && !needed[base] && isKeyName(base) {
			_ = s.disk.RemoveAll(filepath.Join(dir, e.Name)) // the next start tries again
		}
	}
}

func isKeyName(base string) bool {
	counter, nonce, ok := strings.Cut(base, "-")
	if raw, err := hex.DecodeString(nonce); !ok || err != nil || len(raw) != 8 {
		return false
	}
	return isChunkName(counter)
}
