package disktest_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"telemetry/lab/simulate/disktest"
	"telemetry/spool"
)

// smallDisk names the folder of a small file system for the process inside of the
// namespace.
const smallDisk = "TELEMETRY_TEST_SMALL_DISK"

// TestOperatingSystemFull: a real file system of 256 KiB, in a mount namespace of
// the test's own.
func TestOperatingSystemFull(t *testing.T) {
	if dir := os.Getenv(smallDisk); dir != "" {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprint("size=", roomBytes-4096)); err != nil {
			t.Fatal(err)
		}
		disktest.Full(t, roomBytes, func(*testing.T) (spool.Disk, string) { return spool.OS(), dir })
		return
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestOperatingSystemFull$", "-test.v")
	cmd.Env = append(os.Environ(), smallDisk+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EINVAL) {
		t.Skipf("needs a user and mount namespace: %v", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}
