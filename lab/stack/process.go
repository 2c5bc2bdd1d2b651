package stack

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// process is one life of one binary. Its output goes to a file, which later
// lives append to.
type process struct {
	name     string
	log      string // path
	pid      int
	ready    atomic.Bool   // it has answered once
	expected atomic.Bool   // somebody asked it to end
	done     chan struct{} // closed when it has ended
	code     int           // exit code, or 128 + signal; valid after done
}

// launch starts a binary, by start if that is not nil. ended is called when it
// ends without having been asked to, after done was closed.
func launch(name, bin, log string, args []string, start func(*exec.Cmd) error, ended func(*process)) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("stack: log of %s: %w", name, err)
	}
	cmd := exec.Command(bin, args...)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = childAttr()
	p := &process{name: name, log: log, done: make(chan struct{})}
	started := make(chan error, 1)
	if start == nil {
		start = (*exec.Cmd).Start
	}
	go p.run(cmd, start, out, started, ended) // ends with the child
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// run starts the child and waits for it on one thread: the death signal is bound
// to the thread that started it, which must not end before the child.
func (p *process) run(cmd *exec.Cmd, start func(*exec.Cmd) error, out io.Closer, started chan<- error, ended func(*process)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := start(cmd)
	// The child has its own copy of the descriptor.
	_ = out.Close()
	if err != nil {
		started <- fmt.Errorf("stack: start %s: %w", p.name, err)
		return
	}
	p.pid = cmd.Process.Pid
	started <- nil
	// A non-zero exit is told by the code.
	_ = cmd.Wait()
	p.code = cmd.ProcessState.ExitCode()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		p.code = 128 + int(ws.Signal())
	}
	close(p.done)
	if !p.expected.Load() {
		ended(p)
	}
}

// ended reports whether the child is gone.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal sends a signal that ends the child, and marks the end as asked for.
func (p *process) signal(s syscall.Signal) error {
	p.expected.Store(true)
	return p.send(s)
}

// send sends a signal.
func (p *process) send(s syscall.Signal) error {
	if p.ended() {
		return nil
	}
	if err := syscall.Kill(p.pid, s); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("stack: signal %v to %s: %w", s, p.name, err)
	}
	return nil
}

// stop asks the child to end and returns its exit code. After limit it is
// killed, and that is an error.
func (p *process) stop(limit time.Duration) (int, error) {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return 0, err
	}
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-p.done:
		return p.code, nil
	case <-t.C:
	}
	err := p.kill()
	return p.code, errors.Join(fmt.Errorf("stack: %s did not end within %v and was killed; the end of its log:\n%s", p.name, limit, p.tail()), err)
}

// kill ends the child without a chance to do anything.
func (p *process) kill() error {
	err := p.signal(syscall.SIGKILL)
	if err == nil {
		<-p.done
	}
	return err
}

// Bounds of what an error repeats of a log.
const (
	tailBytes = 8 << 10
	tailLines = 12
)

// tail returns the last lines of the log, each indented.
func (p *process) tail() string {
	f, err := os.Open(p.log)
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	defer f.Close()
	if st, err := f.Stat(); err == nil && st.Size() > tailBytes {
		if _, err := f.Seek(-tailBytes, io.SeekEnd); err != nil {
			return "  (" + err.Error() + ")"
		}
	}
	b, err := io.ReadAll(io.LimitReader(f, tailBytes))
	if err != nil {
		return "  (" + err.Error() + ")"
	}
	lines := strings.Split(string(bytes.ToValidUTF8(bytes.TrimSpace(b), []byte("?"))), "\n")
	lines = lines[max(0, len(lines)-tailLines):]
	return "  " + strings.Join(lines, "\n  ")
}

// died describes the end of a child that nobody asked for.
func (p *process) died() error {
	return &DiedError{Name: p.name, Code: p.code, Log: p.log, Tail: p.tail()}
}

// DiedError is a child that ended without having been asked to.
type DiedError struct {
	Name string // edgeagent or receiver
	Code int    // its exit code, or 128 + the signal
	Log  string // the file with all it said
	Tail string // the last lines of it
}

// Error returns the end of the log with the code.
func (e *DiedError) Error() string {
	return fmt.Sprintf("stack: %s ended by itself with code %d; the end of %s:\n%s", e.Name, e.Code, e.Log, e.Tail)
}
