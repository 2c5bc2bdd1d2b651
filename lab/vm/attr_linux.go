package vm

import "syscall"

// childAttr puts the machine into a process group of its own, so that an
// interrupt typed at a terminal reaches only us, and lets the kernel kill it
// when the thread that started it ends.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
