package spool

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// dropCached takes a file's clean pages out of memory: after a failed sync the kernel
// may show there what never reached the disk. It is only advice.
func dropCached(f *os.File) { _ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) }

// syncData makes a file's data durable, with what of its metadata it takes to read
// them. While a file grows, fsync would also wait for the times of the write that is
// under way beside it: one more turn of the journal.
func syncData(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
		return nil
	}
}
