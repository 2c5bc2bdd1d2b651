package guard

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"sync"
	"time"
)

// Tokens are those of a file, which is read again when it changes. A file that is
// gone has no tokens; of one that cannot be used the last good state stays in
// force. It is safe for concurrent use.
type Tokens struct {
	path string
	log  *slog.Logger

	mu     sync.Mutex
	file   follower                    // guarded by mu
	known  map[[sha256.Size]byte]Entry // guarded by mu
	err    error                       // guarded by mu: why the file cannot be used as it is
	saidAt time.Time                   // guarded by mu: when err was logged
}

// OpenTokens reads the file, which must have a token.
func OpenTokens(path string, log *slog.Logger) (*Tokens, error) {
	t := &Tokens{path: path, log: log, file: follower{paths: []string{path}}}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.file.changed(time.Now())
	if err := t.load(); err != nil {
		return nil, err
	}
	if len(t.known) == 0 {
		return nil, errors.New("guard: tokens: " + path + " has no token, so nobody could log in (receiver page token add NAME --role viewer)")
	}
	return t, nil
}

// load reads the file; the caller holds mu.
func (t *Tokens) load() error {
	es, err := ReadTokens(t.path)
	if err != nil {
		return err
	}
	t.known = map[[sha256.Size]byte]Entry{}
	for _, e := range es {
		var h [sha256.Size]byte
		if _, err := hex.Decode(h[:], []byte(e.SHA256)); err != nil {
			return err
		}
		t.known[h] = e
	}
	return nil
}

// refresh reads the file if it changed; the caller holds mu.
func (t *Tokens) refresh(now time.Time) {
	if t.file.changed(now) {
		had := t.err
		t.err = t.load()
		switch {
		case errors.Is(t.err, fs.ErrNotExist):
			t.known = nil // whoever deletes it wants nobody in
		case t.err == nil:
			t.log.Info("tokens were read again", "tokens", len(t.known))
		}
		if had == nil || t.err == nil {
			t.saidAt = time.Time{}
		}
	}
	if t.err != nil && now.Sub(t.saidAt) >= saidEvery {
		t.saidAt = now
		t.log.Error("tokens cannot be read again", "in_force", len(t.known), "error", t.err)
	}
}

// Find returns the token that a secret is. It compares with every token, so that
// its time says nothing about which begins alike.
func (t *Tokens) Find(secret string, now time.Time) (hash [sha256.Size]byte, e Entry, ok bool) {
	hash = sha256.Sum256([]byte(secret))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refresh(now)
	for h := range t.known {
		if subtle.ConstantTimeCompare(h[:], hash[:]) == 1 {
			e, ok = t.known[h], true
		}
	}
	return hash, e, ok
}

// Lookup returns a token by its hash: it is not there when it was revoked.
func (t *Tokens) Lookup(hash [sha256.Size]byte, now time.Time) (Entry, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refresh(now)
	e, ok := t.known[hash]
	return e, ok
}

// Err returns why the file cannot be used as it is; nil when it can.
func (t *Tokens) Err() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refresh(time.Now())
	return t.err
}
