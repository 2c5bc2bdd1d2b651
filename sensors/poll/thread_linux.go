package poll

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// monotonic reads the clock that sleepUntil sleeps by.
func monotonic() int64 {
	var ts unix.Timespec
	// The call cannot fail for this clock.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// longestSleep bounds how late a stop is seen.
const longestSleep = int64(50_000_000)

// sleepUntil sleeps by absolute deadlines: the runtime's timers round to a
// millisecond.
func sleepUntil(ctx context.Context, until int64) bool {
	for {
		if ctx.Err() != nil {
			return false
		}
		now := monotonic()
		if now >= until {
			return true
		}
		ts := unix.NsecToTimespec(min(until, now+longestSleep))
		// EINTR is a signal of the runtime: the loop looks again.
		_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, unix.TIMER_ABSTIME, &ts, nil)
	}
}

// setUp keeps the goroutine on its thread and sets that up. undo gives the thread
// back as it was; a thread whose scheduling could not be put back ends with its
// goroutine.
func (t Thread) setUp() (undo func(), err error) {
	runtime.LockOSThread()
	var errs []error
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) // ns; without it the kernel may wait 50 µs longer
	if t.Realtime > 0 {
		errs = append(errs, schedule(unix.SCHED_FIFO, t.Realtime))
	}
	if t.CPU > 0 {
		var set unix.CPUSet
		set.Set(t.CPU - 1)
		if err := unix.SchedSetaffinity(0, &set); err != nil {
			errs = append(errs, fmt.Errorf("poll: bind to CPU %d: %w", t.CPU, err))
		}
	}
	if t.Lock {
		if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE); err != nil {
			errs = append(errs, fmt.Errorf("poll: lock memory: %w", err))
		}
	}
	undo = runtime.UnlockOSThread
	if t.Realtime > 0 || t.CPU > 0 {
		undo = func() {} // the thread ends with the goroutine
	}
	return undo, errors.Join(errs...)
}

// schedule sets the calling thread's policy.
func schedule(policy, priority int) error {
	param := int32(priority)
	_, _, errno := unix.Syscall(unix.SYS_SCHED_SETSCHEDULER, 0, uintptr(policy), uintptr(unsafe.Pointer(&param)))
	if errno != 0 {
		return fmt.Errorf("poll: real-time priority %d: %w: give CAP_SYS_NICE or LimitRTPRIO", priority, errno)
	}
	return nil
}
