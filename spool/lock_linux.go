package spool

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// Lock holds an flock for the life of the process; the kernel drops it with the
// last descriptor, so a killed holder leaves nothing behind.
func (osDisk) Lock(name, hint string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
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
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(hint+"\n"), 0) // for people only: the lock is the flock
	}
	return f, nil
}
