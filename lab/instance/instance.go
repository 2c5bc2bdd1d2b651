// Package instance runs the real receiver as child processes, several beside each
// other, that can be killed and frozen: for tests of many instances and benches.
//
// The entry point is [Start]. The package writes configuration files, asks the
// status socket and sends signals, as an operator would; it ends only what it
// has started.
package instance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"telemetry/internal/status"
	"telemetry/receiver"
)

// Config is one receiver. All fields but Limit are needed.
type Config struct {
	Bin   string // the folder of the binary receiver
	Dir   string // configuration, log, socket; it must exist
	Name  string // of the instance
	YAML  string // the configuration but version, name and socket
	Limit time.Duration
}

// Instance is one receiver, through all its lives. Its methods are safe for
// concurrent use.
type Instance struct {
	cfg Config

	mu   sync.Mutex
	life *life // guarded by mu; nil: not running
}

// life is one process.
type life struct {
	pid   int
	asked bool          // its end was asked for; guarded by the instance's mu
	done  chan struct{} // closed when it has ended
	state string        // how it ended; valid after done
}

// Limits of waiting.
const (
	readyLimit = 60 * time.Second
	stopLimit  = 20 * time.Second
	pollEvery  = 50 * time.Millisecond
)

// New returns an instance that has not been started.
func New(cfg Config) *Instance {
	if cfg.Limit == 0 {
		cfg.Limit = readyLimit
	}
	return &Instance{cfg: cfg}
}

func (i *Instance) path(ext string) string { return filepath.Join(i.cfg.Dir, i.cfg.Name+ext) }

// Start starts the process, which must not be running, without waiting until it
// is ready.
func (i *Instance) Start() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.life != nil {
		return fmt.Errorf("instance: %s runs already", i.cfg.Name)
	}
	yaml := fmt.Sprintf("version: 1\nname: %s\nsocket: %s\n%s", i.cfg.Name, i.path(".sock"), i.cfg.YAML)
	if err := os.WriteFile(i.path(".yaml"), []byte(yaml), 0o644); err != nil {
		return fmt.Errorf("instance: configuration: %w", err)
	}
	out, err := os.OpenFile(i.path(".log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("instance: log: %w", err)
	}
	cmd := exec.Command(filepath.Join(i.cfg.Bin, "receiver"), "run", "--config", i.path(".yaml"))
	cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = out, out, childAttr()
	l := &life{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() { // ends with the child, whose death signal is bound to this thread
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		_ = out.Close() // the child has its own copy
		if err != nil {
			started <- fmt.Errorf("instance: start %s: %w", i.cfg.Name, err)
			return
		}
		l.pid = cmd.Process.Pid
		started <- nil
		_ = cmd.Wait() // its state says how it ended
		l.state = cmd.ProcessState.String()
		close(l.done)
	}()
	if err := <-started; err != nil {
		return err
	}
	i.life = l
	return nil
}

// Status asks the running process.
func (i *Instance) Status(ctx context.Context) (receiver.Status, error) {
	var st receiver.Status
	err := status.Call(ctx, i.path(".sock"), http.MethodGet, "/v1/status", &st)
	return st, err
}

// Ready waits until every role serves, or the process ends.
func (i *Instance) Ready(ctx context.Context) (receiver.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, i.cfg.Limit)
	defer cancel()
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		st, err := i.Status(ctx)
		if err == nil && st.Ready {
			return st, nil
		}
		if err == nil {
			err = fmt.Errorf("it waits: %s", strings.Join(st.Waits, "; "))
		}
		l := i.current()
		if l == nil {
			return st, fmt.Errorf("instance: %s does not run", i.cfg.Name)
		}
		select {
		case <-l.done:
			return st, fmt.Errorf("instance: %s has ended: %s, see %s", i.cfg.Name, l.state, i.path(".log"))
		case <-ctx.Done():
			return st, fmt.Errorf("instance: %s is not ready: %w: %w, see %s", i.cfg.Name, ctx.Err(), err, i.path(".log"))
		case <-t.C:
		}
	}
}

func (i *Instance) current() *life {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.life
}

// PID returns the process's number, 0 while it does not run.
func (i *Instance) PID() int {
	if l := i.current(); l != nil {
		return l.pid
	}
	return 0
}

// Died is an error when the process has ended although nobody asked for that.
func (i *Instance) Died() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.life == nil {
		return nil
	}
	select {
	case <-i.life.done:
		if !i.life.asked {
			return fmt.Errorf("instance: %s ended by itself: %s, see %s", i.cfg.Name, i.life.state, i.path(".log"))
		}
	default:
	}
	return nil
}

// Signal sends a signal that does not end the process.
func (i *Instance) Signal(s syscall.Signal) error {
	l := i.current()
	if l == nil {
		return fmt.Errorf("instance: %s does not run", i.cfg.Name)
	}
	return send(l, s)
}

func send(l *life, s syscall.Signal) error {
	select {
	case <-l.done:
		return nil
	default:
	}
	if err := syscall.Kill(l.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("instance: signal %v: %w", s, err)
	}
	return nil
}

// Kill ends the process with SIGKILL and waits for its end.
func (i *Instance) Kill() error { return i.end(syscall.SIGKILL) }

// Stop ends the process with SIGTERM and waits for its end; after a while it is
// killed, which is an error.
func (i *Instance) Stop() error { return i.end(syscall.SIGTERM) }

func (i *Instance) end(s syscall.Signal) error {
	i.mu.Lock()
	l := i.life
	if l != nil {
		l.asked = true
	}
	i.mu.Unlock()
	if l == nil {
		return nil
	}
	err := errors.Join(send(l, s), send(l, syscall.SIGCONT)) // it may be frozen
	t := time.NewTimer(stopLimit)
	defer t.Stop()
	select {
	case <-l.done:
	case <-t.C:
		err = errors.Join(err, fmt.Errorf("instance: %s did not end within %v", i.cfg.Name, stopLimit), send(l, syscall.SIGKILL))
		<-l.done
	}
	i.mu.Lock()
	i.life = nil
	i.mu.Unlock()
	return err
}
