package guard

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a file of tokens.
const (
	MaxTokens    = 1000
	maxTokenFile = 1 << 20
	secretBytes  = 32      // random ones of a token
	secretBegins = "page_" // so that tools that look for lost secrets find it
	fileVersion  = 1
)

// Entry is one token as its file has it.
type Entry struct {
	Name    string     `json:"name"`
	Role    Role       `json:"role"`
	SHA256  string     `json:"sha256"` // of the whole token, hexadecimal
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"` // nil: never
}

// Expired reports whether the token is of no use any more.
func (e *Entry) Expired(now time.Time) bool { return e.Expires != nil && !now.Before(*e.Expires) }

// tokenFile is what is written.
type tokenFile struct {
	Version int     `json:"version"`
	Tokens  []Entry `json:"tokens"`
}

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$`)

// ReadTokens reads a file of tokens, all or nothing.
func ReadTokens(path string) ([]Entry, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("guard: tokens: %w", err)
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("guard: tokens: %w", err)
	}
	if st.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("guard: tokens: everybody on this machine may write %s, and let himself in (chmod o-w it)", path)
	}
	b, err := io.ReadAll(io.LimitReader(f, maxTokenFile+1))
	if err != nil {
		return nil, fmt.Errorf("guard: tokens: %w", err)
	}
	if len(b) > maxTokenFile {
		return nil, fmt.Errorf("guard: tokens: %s has more than %d bytes", path, maxTokenFile)
	}
	es, err := parseTokens(b)
	if err != nil {
		return nil, fmt.Errorf("guard: tokens: %s: %w", path, err)
	}
	return es, nil
}

func parseTokens(b []byte) ([]Entry, error) {
	var f tokenFile
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("is no file of tokens (`receiver page token add` makes one): %w", err)
	}
	if f.Version != fileVersion || len(f.Tokens) > MaxTokens {
		return nil, fmt.Errorf("has version %d and %d tokens (want version %d, at most %d tokens)", f.Version, len(f.Tokens), fileVersion, MaxTokens)
	}
	seen := map[string]bool{}
	for i := range f.Tokens {
		e := &f.Tokens[i]
		if raw, err := hex.DecodeString(e.SHA256); err != nil || len(raw) != sha256.Size || e.Role == Nobody || !tokenName.MatchString(e.Name) || seen[e.Name] {
			return nil, fmt.Errorf("token %d (%q) lacks a name of its own, a role or a hash", i+1, e.Name)
		}
		seen[e.Name] = true
	}
	return f.Tokens, nil
}

// AddToken makes a token, which lives for as long as given, 0 for ever. The secret
// is returned and written nowhere.
func AddToken(path, name string, role Role, life time.Duration) (secret string, e Entry, err error) {
	if !tokenName.MatchString(name) {
		return "", e, fmt.Errorf("guard: %q cannot name a token (want 1 to 64 letters, digits, '.', '_', '@', '+', '-')", name)
	}
	if _, err := ParseRole(role.String()); err != nil {
		return "", e, err
	}
	var raw [secretBytes]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", e, fmt.Errorf("guard: random token: %w", err)
	}
	secret = secretBegins + base64.RawURLEncoding.EncodeToString(raw[:])
	hash := sha256.Sum256([]byte(secret))
	e = Entry{Name: name, Role: role, SHA256: hex.EncodeToString(hash[:]), Created: time.Now().UTC().Truncate(time.Second)}
	if life > 0 {
		until := e.Created.Add(life)
		e.Expires = &until
	}
	err = change(path, func(es []Entry) ([]Entry, error) {
		if slices.ContainsFunc(es, func(o Entry) bool { return o.Name == name }) {
			return nil, fmt.Errorf("guard: there is a token %q (revoke it first, or take another name)", name)
		}
		if len(es) >= MaxTokens {
			return nil, fmt.Errorf("guard: %s has %d tokens, which is the most (revoke some)", path, len(es))
		}
		return append(es, e), nil
	})
	if err != nil {
		return "", e, err
	}
	return secret, e, nil
}

// RevokeToken takes a token back.
func RevokeToken(path, name string) error {
	return change(path, func(es []Entry) ([]Entry, error) {
		kept := slices.DeleteFunc(slices.Clone(es), func(o Entry) bool { return o.Name == name })
		if len(kept) == len(es) {
			return nil, fmt.Errorf("guard: there is no token %q in %s", name, path)
		}
		return kept, nil
	})
}

// change replaces the file by what f makes of it. Two of them wait for each other;
// a reader sees the old file or the new one.
func change(path string, f func([]Entry) ([]Entry, error)) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("guard: tokens: %w (make the folder first)", err)
	}
	defer dir.Close() // and with it the lock
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("guard: tokens: lock %s: %w", dir.Name(), err)
	}
	es, err := ReadTokens(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if es, err = f(es); err != nil {
		return err
	}
	if err := replace(path, dir.Name(), es); err != nil {
		return fmt.Errorf("guard: tokens: %w", err)
	}
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("guard: tokens: sync %s: %w", dir.Name(), err)
	}
	return nil
}

// replace writes the file beside its old state, and then in its place, with the
// owner and the mode that it had: the receiver may be another user.
func replace(path, dir string, es []Entry) error {
	b, err := json.MarshalIndent(tokenFile{fileVersion, es}, "", "  ")
	if err != nil {
		return err
	}
	next, err := os.CreateTemp(dir, filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	_, err = next.Write(append(b, '\n'))
	if old, serr := os.Stat(path); serr == nil {
		err = errors.Join(err, next.Chmod(old.Mode().Perm()))
		if st, ok := old.Sys().(*syscall.Stat_t); ok {
			err = errors.Join(err, next.Chown(int(st.Uid), int(st.Gid)))
		}
	}
	err = errors.Join(err, next.Sync(), next.Close())
	if err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}
