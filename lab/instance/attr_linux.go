package instance

import "syscall"

// childAttr puts a child into a process group of its own, so that an interrupt
// typed at a terminal reaches only us, and lets the kernel kill it when the
// thread that started it ends: see process.run.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
