package imagefire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Limits of waiting.
const (
	readyLimit = 60 * time.Second
	// grace is what Kubernetes and Compose are told to wait between SIGTERM and SIGKILL.
	grace     = 30 * time.Second
	pollEvery = 100 * time.Millisecond
)

// container is one receiver through all its lives, as an engine runs it.
type container struct {
	engine []string
	name   string
	mqtt   string // host:port, as health
	health string
}

// do runs the engine, and returns what it printed.
func (c *container) do(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, c.engine[0], append(c.engine[1:len(c.engine):len(c.engine)], args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("imagefire: %s %s: %w: %.400s", c.engine[0], strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// create starts the first life as deploy/ does: not root, without capabilities, on a
// root file system that cannot be written. Limits are below those of the caller: raising
// them may be forbidden.
func (c *container) create(ctx context.Context, image, etc string) error {
	_, err := c.do(ctx, "run", "-d", "--name", c.name, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--network", "host", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--tmpfs", "/run/receiver:mode=0777",
		"-v", etc+":/etc/receiver:ro", image, "run", "--config", "/etc/receiver/"+c.name+".yaml")
	return err
}

func (c *container) start(ctx context.Context) error {
	_, err := c.do(ctx, "start", c.name)
	return err
}

// kill ends it by SIGKILL.
func (c *container) kill(ctx context.Context) error {
	_, err := c.do(ctx, "kill", "-s", "KILL", c.name)
	return err
}

// drain ends it by SIGTERM, and fails unless it ends by itself, with code 0, within the
// time that a cluster gives it.
func (c *container) drain(ctx context.Context) (took time.Duration, err error) {
	began := time.Now()
	if _, err := c.do(ctx, "stop", "-t", strconv.Itoa(int(grace.Seconds())), c.name); err != nil {
		return 0, err
	}
	took = time.Since(began)
	code, err := c.do(ctx, "inspect", "-f", "{{.State.ExitCode}}", c.name)
	if err != nil {
		return took, err
	}
	if code = strings.TrimSpace(code); code != "0" || took > grace {
		return took, fmt.Errorf("imagefire: %s ended with code %s after %v on SIGTERM, want 0 within %v", c.name, code, took, grace)
	}
	return took, nil
}

// logs returns what all lives have printed.
func (c *container) logs(ctx context.Context) (string, error) { return c.do(ctx, "logs", c.name) }

// remove ends it and forgets it; the log must have been read before.
func (c *container) remove(ctx context.Context) error {
	_, err := c.do(ctx, "rm", "-f", "-v", c.name)
	return err
}

// get asks the port of the machines.
func (c *container) get(ctx context.Context, path string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.health+path, http.NoBody)
	if err != nil {
		return 0, "", fmt.Errorf("imagefire: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// ready waits until every role serves.
func (c *container) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		code, body, err := c.get(ctx, "/readyz")
		if err == nil && code == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("imagefire: %s is not ready: %d %s", c.name, code, body), err)
		case <-t.C:
		}
	}
}

// freePort returns an address that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("imagefire: free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}
