package slcan

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pty is a pseudo terminal. The master is the adapter's end. The host's end is
// kept open here too, so that bytes that a host left unread can be taken back,
// and so that the master outlives its hosts; who else opens and closes it is
// seen by inotify.
type pty struct {
	master *os.File
	peer   int // host's end, non-blocking
	notify *os.File
	path   string
}

func openPTY() (*pty, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("slcan: open pseudo terminal: %w", err)
	}
	p := &pty{master: os.NewFile(uintptr(fd), "ptmx"), peer: -1}
	if err := p.openPeer(fd); err != nil {
		return nil, errors.Join(fmt.Errorf("slcan: set up pseudo terminal: %w", err), p.close())
	}
	return p, nil
}

func (p *pty) openPeer(fd int) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return err
	}
	p.path = fmt.Sprintf("/dev/pts/%d", n)
	if p.peer, err = unix.Open(p.path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
		return err
	}
	if err := p.reset(); err != nil {
		return err
	}
	watch, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return err
	}
	p.notify = os.NewFile(uintptr(watch), "inotify")
	_, err = unix.InotifyAddWatch(watch, p.path, unix.IN_OPEN|unix.IN_CLOSE)
	return err
}

// reset makes the line raw and free for the next host: a line that echoes would
// send frames back to the adapter as commands, and the lock of a host that was
// killed would stay while the peer is open.
func (p *pty) reset() error {
	t, err := unix.IoctlGetTermios(p.peer, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag |= unix.CS8 | unix.CREAD | unix.CLOCAL
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(p.peer, unix.TCSETS, t); err != nil {
		return err
	}
	return unix.IoctlSetInt(p.peer, unix.TIOCNXCL, 0)
}

// watch calls fn with whether somebody has the host's end open, whenever that may
// have changed, until the pty is closed. inotify merges equal events, so closes
// can't be counted: after one, the open files of all processes are looked at.
func (p *pty) watch(fn func(open bool)) {
	buf := make([]byte, 4096)
	for {
		n, err := p.notify.Read(buf)
		if err != nil {
			return
		}
		opened, closed := false, false // opened: as the last event
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; {
			e := (*unix.InotifyEvent)(unsafe.Pointer(&b[0]))
			opened = e.Mask&unix.IN_OPEN != 0
			closed = closed || e.Mask&unix.IN_CLOSE != 0
			b = b[unix.SizeofInotifyEvent+int(e.Len):]
		}
		if closed && !p.inUse() {
			fn(false)
		}
		if opened {
			fn(true)
		}
	}
}

// inUse reports whether any descriptor but our own is open on the host's end.
func (p *pty) inUse() bool {
	own := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.peer)
	procs, _ := filepath.Glob("/proc/[0-9]*/fd")
	for _, dir := range procs {
		fds, err := os.ReadDir(dir)
		if err != nil {
			continue // ended meanwhile, or another user's
		}
		for _, fd := range fds {
			name := filepath.Join(dir, fd.Name())
			if target, err := os.Readlink(name); err == nil && target == p.path && name != own {
				return true
			}
		}
	}
	return false
}

// unread returns how many bytes wait for the host to read them.
func (p *pty) unread() int {
	n, err := unix.IoctlGetInt(p.peer, unix.TIOCINQ)
	if err != nil {
		return 0
	}
	return n
}

// takeBack reads what the host has left and returns how many bytes it was. The
// kernel moves bytes to the reader's side in the background, so nothing for two
// looks in a row means nothing.
func (p *pty) takeBack() int {
	buf := make([]byte, 4096)
	total := 0
	for empty := 0; empty < 2; {
		n, err := unix.Read(p.peer, buf)
		if n > 0 {
			total, empty = total+n, 0
			continue
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return total
		}
		empty++
		fds := []unix.PollFd{{Fd: int32(p.peer), Events: unix.POLLIN}}
		_, _ = unix.Poll(fds, int(settleTime/time.Millisecond))
	}
	return total
}

// waitRead waits until the host has read everything, for at most d.
func (p *pty) waitRead(d time.Duration) {
	end := time.Now().Add(d)
	for empty := 0; empty < 5 && time.Now().Before(end); {
		if empty++; p.unread() > 0 {
			empty = 0
		}
		time.Sleep(settleTime / 5)
	}
}

// settleTime is how long bytes may take from one end of a pty to the other: a
// kernel worker moves them, which a busy machine runs late.
const settleTime = 20 * time.Millisecond

// realtimeRank is the priority of an adapter's threads, if they may have one: an
// adapter is a machine of its own, which a busy host does not hold up.
const realtimeRank = 9

// prioritize makes the kernel prefer this thread and wake it to the µs. Where it
// may not, hosts see the adapter's lateness as its delay.
func prioritize() {
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: realtimeRank, Flags: unix.SCHED_FLAG_RESET_ON_FORK,
	}, 0)
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
}

// pause sleeps to the tens of microseconds.
func pause(d time.Duration) {
	if d > 0 {
		ts := unix.NsecToTimespec(int64(d))
		// One that a signal ends early is followed by another.
		_ = unix.Nanosleep(&ts, nil)
	}
}

func (p *pty) close() error {
	err := p.master.Close()
	if p.notify != nil {
		err = errors.Join(err, p.notify.Close())
	}
	if p.peer >= 0 {
		err = errors.Join(err, unix.Close(p.peer))
	}
	return err
}
