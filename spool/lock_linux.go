package spool

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Lock holds an flock for the life of the process; the kernel drops it with the
// last descriptor, so a killed holder leaves nothing behind. The descriptor is for
// reading only: one for writing would forbid to remount the card read-only.
func (osDisk) Lock(name, hint string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		var b [256]byte
		n, _ := f.ReadAt(b[:], 0)
		f.Close()
		return nil, fmt.Errorf("%w: %s is held by %q: stop that process or give this one its own directory",
			ErrLocked, name, strings.TrimSpace(string(b[:n])))
	}
	_ = os.WriteFile(name, []byte(hint+"\n"), 0o644) // for people only: the lock is the flock
	return f, nil
}

// InUse reports whether an agent holds the spool in dir. It asks the kernel's list
// of locks: to try the lock could turn an agent away that starts at that moment.
func InUse(dir string) bool {
	st, err := os.Stat(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return false
	}
	b, err := os.ReadFile("/proc/locks")
	if err != nil {
		return false
	}
	for line := range strings.SplitSeq(string(b), "\n") {
		f := strings.Fields(line)
		if len(f) > 5 && f[1] == "FLOCK" && f[3] == "WRITE" && strings.HasSuffix(f[5], fmt.Sprintf(":%d", sys.Ino)) {
			return true
		}
	}
	return false
}
