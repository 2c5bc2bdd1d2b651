//go:build !linux

package poll

import (
	"context"
	"errors"
	"runtime"
	"time"
)

var epoch = time.Now()

func monotonic() int64 { return int64(time.Since(epoch)) }

func sleepUntil(ctx context.Context, until int64) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(time.Duration(until - monotonic())):
		return true
	}
}

func (t Thread) setUp() (undo func(), err error) {
	runtime.LockOSThread()
	if t != (Thread{}) {
		err = errors.New("poll: real-time threads exist on Linux only")
	}
	return runtime.UnlockOSThread, err
}
