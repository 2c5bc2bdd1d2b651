// Package status is how a running binary is asked what it does: HTTP with JSON
// over a unix socket. The entry points are [Serve] and [Call]. It never listens
// on a network.
package status

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// maxReply bounds what Call reads: a status is some kilobytes.
const maxReply = 16 << 20

// maxPath is what every kernel takes as the path of a unix socket, in bytes.
const maxPath = 103

// Serve listens and serves: see [Listen] and [ServeOn].
func Serve(ctx context.Context, path string, h http.Handler) error {
	ln, err := Listen(path)
	if err != nil {
		return err
	}
	return ServeOn(ctx, ln, h)
}

// Listen takes the unix socket at path, before anything is touched that another
// process may be using. A socket file that nobody listens on is replaced; one that
// is in use is an error.
func Listen(path string) (net.Listener, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("status: the path of the socket has %d bytes (limit %d): %s", len(path), maxPath, path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("status: %s is in use: is another one running? (set another `socket` in the configuration)", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("status: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(fmt.Errorf("status: %w", err), ln.Close())
	}
	return ln, nil
}

// ServeOn answers on a listener, which it closes, until ctx ends.
func ServeOn(ctx context.Context, ln net.Listener, h http.Handler) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx }}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	defer stop()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("status: %w", err)
	}
	return nil
}

// Reply writes v as JSON, or err with code 500.
func Reply(w http.ResponseWriter, v any, err error) {
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		v = map[string]string{"error": err.Error()}
	}
	// A client that went away is not our fault.
	_ = json.NewEncoder(w).Encode(v)
}

// Call asks the binary behind the socket at path and decodes its JSON answer
// into v, if v is not nil. method is GET or POST.
func Call(ctx context.Context, path, method, url string, v any) error {
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, method, "http://unix"+url, http.NoBody)
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	resp, err := client.Do(req)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Op == "dial" {
			if errors.Is(err, fs.ErrPermission) {
				return fmt.Errorf("status: this user may not ask on %s: do it as the one that it runs as, or as root (%w)", path, op.Err)
			}
			return fmt.Errorf("status: nobody answers on %s: is it running, and with this socket? (%w)", path, op.Err)
		}
		return fmt.Errorf("status: %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var e struct {
			Error string `json:"error"`
		}
		if json.Unmarshal(b, &e) == nil && e.Error != "" {
			return errors.New(e.Error) // what Reply was given: its own words are enough
		}
		return fmt.Errorf("status: %s: %s", resp.Status, bytes.TrimSpace(b))
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("status: answer to %s: %w", url, err)
	}
	return nil
}
