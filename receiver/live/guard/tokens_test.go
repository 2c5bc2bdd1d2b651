package guard

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTokenFileHasNoSecret(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	secret, e, err := AddToken(file, "anna@pit", Engineer, 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(secret, secretBegins) || len(secret) != len(secretBegins)+43 || e.Expires == nil || e.Expires.Sub(e.Created) != 24*time.Hour {
		t.Errorf("%d bytes, %+v", len(secret), e)
	}
	other, _, err := AddToken(file, "bert", Admin, 0)
	if err != nil || other == secret {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{secret, other} {
		if strings.Contains(string(b), s[len(secretBegins):]) {
			t.Error("the file has a secret")
		}
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	es, err := ReadTokens(file)
	if err != nil || len(es) != 2 || es[0].Name != "anna@pit" || es[0].Role != Engineer || es[1].Expires != nil {
		t.Errorf("%+v, %v", es, err)
	}
	if left, err := filepath.Glob(file + ".*"); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestTokenFileKeepsItsMode(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	if _, _, err := AddToken(file, "a", Viewer, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := RevokeToken(file, "a"); err != nil {
		t.Fatal(err)
	}
	if st, err := os.Stat(file); err != nil || st.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
}

func TestAddAndRevokeRefuse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	if _, _, err := AddToken(file, "a", Viewer, 0); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, file, token, want string }{
		{"a name twice", file, "a", "there is a token"},
		{"no name", file, "", "cannot name a token"},
		{"a line break", file, "a\nb", "cannot name a token"},
		{"no folder", filepath.Join(file+"x", "tokens"), "b", "make the folder first"},
	} {
		if _, _, err := AddToken(tt.file, tt.token, Viewer, 0); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, _, err := AddToken(file, "b", Nobody, 0); err == nil {
		t.Error("a token without a role")
	}
	if err := RevokeToken(file, "b"); err == nil || !strings.Contains(err.Error(), "there is no token") {
		t.Errorf("revoke: %v", err)
	}
	if es, err := ReadTokens(file); err != nil || len(es) != 1 {
		t.Errorf("%+v, %v", es, err)
	}
}

// Two that add at once both get in.
func TestAddAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tokens")
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, _, err := AddToken(file, "t"+strconv.Itoa(i), Viewer, 0); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if es, err := ReadTokens(file); err != nil || len(es) != 8 {
		t.Errorf("%d tokens, %v", len(es), err)
	}
}

func TestTokenFileAtFault(t *testing.T) {
	good := strings.Repeat("ab", 32)
	for _, tt := range []struct{ name, text, want string }{
		{"empty", "", "is no file of tokens"},
		{"other words", "anna:secret", "is no file of tokens"},
		{"another version", `{"version":2,"tokens":[]}`, "has version 2"},
		{"no hash", `{"version":1,"tokens":[{"name":"a","role":"viewer"}]}`, `token 1 ("a")`},
		{"a secret for its hash", `{"version":1,"tokens":[{"name":"a","role":"viewer","sha256":"page_x"}]}`, `token 1 ("a")`},
		{"no role", `{"version":1,"tokens":[{"name":"a","sha256":"` + good + `"}]}`, `token 1 ("a")`},
		{"an unknown role", `{"version":1,"tokens":[{"name":"a","role":"root","sha256":"` + good + `"}]}`, "is no role"},
		{"no name", `{"version":1,"tokens":[{"role":"viewer","sha256":"` + good + `"}]}`, `token 1 ("")`},
		{"a name twice", `{"version":1,"tokens":[{"name":"a","role":"viewer","sha256":"` + good + `"},{"name":"a","role":"admin","sha256":"` + good + `"}]}`, `token 2 ("a")`},
		{"too long", strings.Repeat(" ", maxTokenFile+1), "more than"},
		{"no token", `{"version":1,"tokens":[]}`, "has no token"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "tokens")
			if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenTokens(file, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, err := OpenTokens(filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a file that is not there was taken")
	}
	file := filepath.Join(t.TempDir(), "tokens")
	if _, _, err := AddToken(file, "a", Viewer, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTokens(file, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "chmod o-w") {
		t.Errorf("a file that everybody may write: %v", err)
	}
}

// A file that is damaged leaves the last good state; one that is gone lets nobody in.
func TestTokensFollowTheirFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newRig(t, nil)
		in := func(what string, code int) {
			t.Helper()
			time.Sleep(2 * lookEvery)
			wants(t, what, k.ask(t, "GET", "/api/v1/cars", "", "Authorization", "Bearer "+k.secret[Viewer]), code, "")
		}
		good, err := os.ReadFile(k.file)
		if err != nil {
			t.Fatal(err)
		}
		put := func(b []byte) {
			t.Helper()
			if err := os.WriteFile(k.file, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		in("at first", 200)
		put(good[:len(good)/2])
		in("cut", 200)
		if err := k.Err(); err == nil || !strings.Contains(k.log.String(), "tokens cannot be read again") {
			t.Errorf("nobody says so: %v\n%s", err, k.log)
		}
		put(good)
		in("whole again", 200)
		if err := k.Err(); err != nil {
			t.Error(err)
		}
		if err := os.Rename(k.file, k.file+".away"); err != nil {
			t.Fatal(err)
		}
		in("gone", 401)
		if err := k.Err(); err == nil {
			t.Error("gone, and nobody says so")
		}
		if err := os.Rename(k.file+".away", k.file); err != nil {
			t.Fatal(err)
		}
		in("back", 200)
		time.Sleep(10 * saidEvery)
		if n := strings.Count(k.log.String(), "cannot be read again"); n != 2 {
			t.Errorf("said %d times", n)
		}
	})
}

// Whatever is in a file, it is refused or gives tokens that have all they need.
func FuzzParseTokens(f *testing.F) {
	f.Add([]byte(`{"version":1,"tokens":[{"name":"a","role":"viewer","sha256":"` + strings.Repeat("ab", 32) + `","created":"2026-01-02T03:04:05Z"}]}`))
	f.Add([]byte(`{"version":1,"tokens":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		es, err := parseTokens(b)
		if err != nil {
			return
		}
		for _, e := range es {
			if e.Role < Viewer || e.Role > Admin || len(e.SHA256) != 64 || e.Name == "" {
				t.Fatalf("%+v", e)
			}
		}
		again, err := json.Marshal(tokenFile{fileVersion, es})
		if err != nil {
			return // a year beyond what JSON's times have
		}
		if back, err := parseTokens(again); err != nil || len(back) != len(es) {
			t.Fatalf("%s: %v", again, err)
		}
	})
}
