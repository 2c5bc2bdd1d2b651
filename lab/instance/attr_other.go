//go:build !linux

package instance

import "syscall"

// childAttr is for systems without a death signal: a child outlives a parent
// that is killed.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
