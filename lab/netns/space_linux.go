package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrClosed is what a closed Space answers.
var ErrClosed = errors.New("netns: the namespace is closed")

// Space is a network namespace. It is safe for concurrent use.
type Space struct {
	fd   int           // of the namespace; -1: the one that this process is in
	work chan func()   // run by the thread that owns the namespace
	quit chan struct{} // closed by Close
	once sync.Once
	done chan struct{} // closed when the thread has ended
}

// NewSpace makes an unnamed namespace with its loopback up. A thread owns it
// until Close.
func NewSpace() (*Space, error) {
	s := &Space{work: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	ready := make(chan error)
	go s.own(ready) // ends with Close
	if err := <-ready; err != nil {
		return nil, fmt.Errorf("netns: new namespace: %w", err)
	}
	return s, nil
}

// ourSpace returns the namespace that this process is in.
func ourSpace() *Space { return &Space{fd: -1} }

// own enters a new namespace and runs work in it. Its thread is never unlocked,
// so it ends with the goroutine, and the children it started with it.
func (s *Space) own(ready chan<- error) {
	runtime.LockOSThread()
	defer close(s.done)
	err := s.enter()
	ready <- err
	if err != nil {
		return
	}
	defer unix.Close(s.fd)
	for {
		select {
		case f := <-s.work:
			f()
		case <-s.quit:
			return
		}
	}
}

// enter moves the calling thread into a new namespace, with a mount namespace in
// which /sys shows the devices of that one, as `ip netns exec` does.
func (s *Space) enter() error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", 0, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	fd, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open it: %w", err)
	}
	s.fd = fd
	if err := upLoopback(); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("loopback up: %w", err)
	}
	return nil
}

func upLoopback() error {
	lo, err := net.InterfaceByName("lo")
	if err != nil {
		return err
	}
	return withNetlink(func(n *netlink) error { return n.setUp(lo.Index, true) })
}

// Close ends the namespace's thread: the kernel then kills the children that
// Start made, and the namespace goes with the last of what is in it.
func (s *Space) Close() error {
	if s.fd < 0 {
		return nil
	}
	s.once.Do(func() { close(s.quit) })
	<-s.done
	return nil
}

// Do runs fn on a thread that is inside the namespace. Sockets that fn opens
// belong to it for good; goroutines that fn starts do not run inside.
func (s *Space) Do(fn func() error) (err error) {
	if s.fd < 0 {
		return fn()
	}
	select {
	case <-s.quit:
		return ErrClosed
	default:
	}
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("netns: own namespace: %w", err)
	}
	defer unix.Close(own)
	if err := unix.Setns(s.fd, unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("netns: enter: %w", err)
	}
	defer func() {
		if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
			// The thread stays locked and ends with the goroutine.
			err = errors.Join(err, fmt.Errorf("netns: leave: %w", back))
			return
		}
		runtime.UnlockOSThread()
	}()
	return fn()
}

// Start starts a child inside the namespace. It is killed when the namespace is
// closed and when this process ends, unless SysProcAttr names another signal.
func (s *Space) Start(cmd *exec.Cmd) error {
	if s.fd < 0 {
		return cmd.Start()
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if cmd.SysProcAttr.Pdeathsig == 0 {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	started := make(chan error, 1)
	select {
	case s.work <- func() { started <- cmd.Start() }:
		return <-started
	case <-s.quit:
		return ErrClosed
	}
}

// Dial connects to a literal host:port from inside the namespace, over the given
// device only if it is not empty.
func (s *Space) Dial(ctx context.Context, device, addr string) (c net.Conn, err error) {
	d := net.Dialer{}
	if device != "" {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			var bind error
			err := raw.Control(func(fd uintptr) { bind = unix.BindToDevice(int(fd), device) })
			return errors.Join(err, os.NewSyscallError("bind to "+device, bind))
		}
	}
	err = s.Do(func() error { c, err = d.DialContext(ctx, "tcp4", addr); return err })
	return c, err
}

// Listen listens on a literal host:port inside the namespace.
func (s *Space) Listen(addr string) (ln net.Listener, err error) {
	err = s.Do(func() error { ln, err = net.Listen("tcp4", addr); return err })
	return ln, err
}

// Sysctl sets a value below /proc/sys/net for the namespace; the name may have
// dots or slashes, as ipv4.tcp_rmem.
func (s *Space) Sysctl(name, value string) error {
	return s.Do(func() error { return sysctl(strings.ReplaceAll(name, ".", "/"), value) })
}

func sysctl(path, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys/net", path), []byte(value), 0); err != nil {
		return fmt.Errorf("netns: set %s to %q: %w", path, value, err)
	}
	return nil
}
