package atrest_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"

	"telemetry/spool"
	"telemetry/spool/atrest"
)

// TestWhoOpens: the box and every recipient open what the box wraps, nobody else does,
// and a changed file is an error that is no ErrNoKey.
func TestWhoOpens(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	recipients := map[string]string{}
	for _, name := range []string{"box", "pit", "stranger"} {
		r, err := atrest.Generate(file(name))
		if err != nil {
			t.Fatal(err)
		}
		recipients[name] = r
		if st, err := os.Stat(file(name)); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: mode %v, %v", name, st.Mode(), err)
		}
	}
	box, err := atrest.Load(file("box"), []string{recipients["pit"]})
	if err != nil {
		t.Fatal(err)
	}
	wrapped, err := box.Wrap([]byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for name, opens := range map[string]bool{"box": true, "pit": true, "stranger": false} {
		who, err := atrest.Load(file(name), nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := who.Unwrap(wrapped)
		if opens != (err == nil && bytes.Equal(got, []byte("secret"))) || !opens && !errors.Is(err, spool.ErrNoKey) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	wrapped[len(wrapped)-1] ^= 1
	if _, err := box.Unwrap(wrapped); err == nil || errors.Is(err, spool.ErrNoKey) {
		t.Errorf("changed: %v", err)
	}
	if _, err := atrest.Generate(file("box")); !errors.Is(err, os.ErrExist) {
		t.Errorf("an identity was replaced: %v", err)
	}
}

// TestRotation: behind a new identity the old one still opens what was wrapped before,
// and nothing is wrapped to it any more.
func TestRotation(t *testing.T) {
	dir := t.TempDir()
	text := map[string]string{}
	for _, name := range []string{"old", "new"} {
		if _, err := atrest.Generate(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text[name] = string(b)
	}
	load := func(s string) *atrest.Box {
		b, err := atrest.Parse(strings.NewReader(s), nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	before, err := load(text["old"]).Wrap([]byte("a"))
	if err != nil {
		t.Fatal(err)
	}
	both := load(text["new"] + text["old"])
	after, err := both.Wrap([]byte("b"))
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range [][]byte{before, after} {
		if _, err := both.Unwrap(w); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := load(text["old"]).Unwrap(after); !errors.Is(err, spool.ErrNoKey) {
		t.Errorf("the old identity opens what is new: %v", err)
	}
}

// TestWrongKeysAreRefused: what is no identity or recipient is said at once.
func TestWrongKeysAreRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "id")
	if _, err := atrest.Generate(file); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, file, recipient string
	}{
		{"missing file", file + "x", ""},
		{"no recipient", file, "age1nonsense"},
		{"a private key as recipient", file, "AGE-SECRET-KEY-1QQQ"},
	} {
		var rs []string
		if tc.recipient != "" {
			rs = append(rs, tc.recipient)
		}
		if _, err := atrest.Load(tc.file, rs); err == nil {
			t.Errorf("%s: taken", tc.name)
		}
	}
	if _, err := atrest.Parse(strings.NewReader("# nothing\n"), nil); err == nil {
		t.Error("an identity file without identity was taken")
	}
}

// TestTemporary: a box without an identity of its own opens what it wrapped, as do its
// recipients, of either kind and without any, and nobody else; it opens nothing of others.
func TestTemporary(t *testing.T) {
	classic, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name, recipient, identity string
	}{
		{"no recipients", "", ""},
		{"a classic one", classic.Recipient().String(), classic.String()},
		{"a hybrid one", hybrid.Recipient().String(), hybrid.String()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var rs []string
			if tc.recipient != "" {
				rs = append(rs, tc.recipient)
			}
			b, err := atrest.Temporary(rs)
			if err != nil {
				t.Fatal(err)
			}
			w, err := b.Wrap([]byte("secret"))
			if err != nil {
				t.Fatal(err)
			}
			if got, err := b.Unwrap(w); err != nil || string(got) != "secret" {
				t.Errorf("itself: %q, %v", got, err)
			}
			other, err := atrest.Temporary(rs)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := other.Unwrap(w); !errors.Is(err, spool.ErrNoKey) {
				t.Errorf("another one: %v", err)
			}
			if tc.identity == "" {
				return
			}
			pit, err := atrest.Parse(strings.NewReader(tc.identity), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := pit.Unwrap(w); err != nil || string(got) != "secret" {
				t.Errorf("the recipient: %q, %v", got, err)
			}
		})
	}
	if _, err := atrest.Temporary([]string{"age1nonsense"}); err == nil {
		t.Error("a recipient that is none was taken")
	}
}
