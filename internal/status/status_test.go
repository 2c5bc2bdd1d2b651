package status

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serve serves h at path until the returned function is called.
func serve(t *testing.T, path string, h http.HandlerFunc) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, path, h) }() // ends with ctx
	for end := time.Now().Add(20 * time.Second); ; {
		c, err := net.Dial("unix", path)
		if err == nil {
			_ = c.Close()
			break
		}
		if time.Now().After(end) {
			t.Fatalf("never served: %v", err)
		}
		select {
		case err := <-done:
			t.Fatalf("serve: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
	}
	return func() error {
		cancel()
		return <-done
	}
}

func TestServeAndCall(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "s")
	stop := serve(t, path, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/good":
			Reply(w, map[string]string{"method": r.Method}, nil)
		case "/bad":
			Reply(w, nil, errors.New("the disk is full"))
		case "/text":
			http.Error(w, "not like this", http.StatusTeapot)
		default:
			_, _ = w.Write([]byte("no json"))
		}
	})
	var got map[string]string
	if err := Call(t.Context(), path, http.MethodPost, "/good", &got); err != nil || got["method"] != "POST" {
		t.Errorf("got %v, %v", got, err)
	}
	if err := Call(t.Context(), path, http.MethodGet, "/good", nil); err != nil {
		t.Errorf("without a place for the answer: %v", err)
	}
	for url, want := range map[string]string{"/bad": "the disk is full", "/text": "not like this", "/odd": "answer to /odd"} {
		err := Call(t.Context(), path, http.MethodGet, url, &got)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", url, err)
		}
		if url == "/bad" && strings.Contains(err.Error(), "500") {
			t.Errorf("HTTP's words stand before the reason: %v", err)
		}
	}
	if err := Serve(t.Context(), path, http.NotFoundHandler()); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("second on one socket: %v", err)
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := Call(t.Context(), path, http.MethodGet, "/good", nil); err == nil || !strings.Contains(err.Error(), "nobody answers") {
		t.Errorf("call of nobody: %v", err)
	}
}

func TestAUserWithoutRightIsToldSo(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may ask everywhere")
	}
	dir := t.TempDir()
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if err := os.Chmod(filepath.Join(dir, "s"), 0); err != nil {
		t.Fatal(err)
	}
	if err := Call(t.Context(), filepath.Join(dir, "s"), http.MethodGet, "/", nil); err == nil || !strings.Contains(err.Error(), "this user may not ask") {
		t.Errorf("got %v", err)
	}
}

func TestSocketOfADeadProcessIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	stop := serve(t, path, func(w http.ResponseWriter, _ *http.Request) { Reply(w, 1, nil) })
	if err := Call(t.Context(), path, http.MethodGet, "/", nil); err != nil {
		t.Error(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestPathThatNoKernelTakes(t *testing.T) {
	err := Serve(t.Context(), "/tmp/"+strings.Repeat("x", maxPath), http.NotFoundHandler())
	if err == nil || !strings.Contains(err.Error(), "limit 103") {
		t.Errorf("got %v", err)
	}
}
