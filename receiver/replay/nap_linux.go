package replay

import (
	"time"

	"golang.org/x/sys/unix"
)

// nap sleeps for a moment, to some 60 µs.
func nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&ts, nil) // a signal ends it early: the caller looks at the clock
}
