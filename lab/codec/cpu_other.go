//go:build !linux

package codec

import "time"

// cpuTime returns the time that fn takes.
func cpuTime(fn func() error) (time.Duration, error) {
	start := time.Now()
	err := fn()
	return time.Since(start), err
}
