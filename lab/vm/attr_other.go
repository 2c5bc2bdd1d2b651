//go:build !linux

package vm

import "syscall"

// childAttr is for systems without a death signal.
func childAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
