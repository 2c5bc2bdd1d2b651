package receivercmd

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestReloadKeepsLogins: reading the configuration again logs nobody out, unless
// the token is gone.
func TestReloadKeepsLogins(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	page := l.Addr().String() // the same after the reload, as an operator has it
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	configuration := func(more string) string {
		return write(t, dir, fmt.Sprintf("mqtt: {listen: \"127.0.0.1:0\", insecure: true}\nlive: {listen: %q, login: {tokens: tokens%s}}\n", page, more))
	}
	path := configuration("")
	secret, err := command(t, "page", "token", "add", "anna", "--role", "viewer", "--config", path)
	if err != nil {
		t.Fatal(err)
	}
	secret = secret[strings.Index(secret, "page_"):]
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var log lockedBuffer
	done := make(chan error, 1)
	go func() { done <- run(ctx, path, &log) }() // ends with ctx
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar}
	ask := func(path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+page+path, http.NoBody)
		if body != "" {
			req, err = http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+page+path, strings.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
		}
		if err != nil {
			t.Fatal(err)
		}
		resp, err := browser.Do(req)
		if err != nil {
			return 0, err.Error() // between two listeners
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			return 0, err.Error()
		}
		return resp.StatusCode, string(b)
	}
	eventually(t, "the page answers", func() bool { code, _ := ask("/healthz", ""); return code == http.StatusOK })
	eventually(t, "anna is in", func() bool {
		code, _ := ask("/api/v1/login", fmt.Sprintf("{%q:%q}", "token", strings.TrimSpace(secret)))
		return code == http.StatusOK
	})
	reload := func(more string, times int) {
		t.Helper()
		configuration(more)
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "reloaded", func() bool { return strings.Count(log.String(), "configuration reloaded") == times })
		eventually(t, "the page answers again", func() bool { code, _ := ask("/healthz", ""); return code == http.StatusOK })
	}
	reload(", idle: 1h", 1)
	if code, body := ask("/api/v1/me", ""); code != http.StatusOK || !strings.Contains(body, `"name":"anna"`) {
		t.Errorf("after the reload: %d %s", code, body)
	}
	for _, args := range [][]string{{"add", "bert", "--role", "viewer"}, {"revoke", "anna"}} {
		if _, err := command(t, append([]string{"page", "token", "--file", filepath.Join(dir, "tokens")}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	reload(", idle: 2h", 2)
	if code, body := ask("/api/v1/me", ""); code != http.StatusUnauthorized || !strings.Contains(body, "revoked") {
		t.Errorf("after the reload without the token: %d %s", code, body)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("run: %v", err)
	}
	if s := strings.TrimSpace(secret); strings.Contains(log.String(), s) {
		t.Error("the log has the token")
	}
}
