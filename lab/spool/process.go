package spool

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child of the laboratory.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
	done   chan struct{} // closed when its output has ended and it is gone
	err    error         // of its end; valid after done

	mu    sync.Mutex
	lines int
	watch chan struct{} // closed and replaced at each line
}

// self is the program that a child is: this one.
func self() (string, error) {
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	return exe, nil
}

// launch starts a child; each whole line of its output goes to hear. before is a
// command to run it under, as strace with its arguments; nil for none.
func launch(ctx context.Context, spec ChildSpec, before []string, hear func(string)) (*process, error) {
	exe, err := self()
	if err != nil {
		return nil, err
	}
	spec.Encrypt = spec.Encrypt || ctx.Value(encrypted{}) != nil
	text, err := json.Marshal(spec)
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	args := append(append([]string(nil), before...), exe, "spool", "child", string(text))
	p := &process{cmd: exec.CommandContext(ctx, args[0], args[1:]...), done: make(chan struct{}), watch: make(chan struct{})}
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // strace and what it traces die together
	p.cmd.Cancel = func() error { return syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) }
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	go func() { // ends with the child
		defer close(p.done)
		_, _ = io.Copy(&feed{line: func(s string) {
			p.mu.Lock()
			hear(s) // under mu: whoever waits may look at what it wrote
			p.lines++
			close(p.watch)
			p.watch = make(chan struct{})
			p.mu.Unlock()
		}}, out)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// await waits until the child has said n lines, has ended, or limit has passed.
func (p *process) await(n int, limit time.Duration) {
	end := time.NewTimer(limit)
	defer end.Stop()
	for {
		p.mu.Lock()
		lines, watch := p.lines, p.watch
		p.mu.Unlock()
		if lines >= n {
			return
		}
		select {
		case <-watch:
		case <-p.done:
			return
		case <-end.C:
			return
		}
	}
}

// kill ends the child and waits for it.
func (p *process) kill() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
	<-p.done
}

// failure describes a child that ended badly.
func (p *process) failure() error {
	<-p.done
	if p.err == nil {
		return nil
	}
	return fmt.Errorf("%w: %s", p.err, strings.TrimSpace(p.stderr.String()))
}

// errOpen says that a fresh process could not open the spool.
var errOpen = errors.New("lab: open failed")

// readBack starts a fresh process that reads everything.
func readBack(ctx context.Context, spec ChildSpec) (*seen, error) {
	s := newSeen()
	spec.Do = "read"
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	p, err := launch(ctx, spec, nil, s.hear)
	if err != nil {
		return nil, err
	}
	if err := p.failure(); err != nil {
		return s, errors.Join(errOpen, err)
	}
	if !s.done {
		return s, fmt.Errorf("%w: it said no last word", errOpen)
	}
	return s, nil
}
