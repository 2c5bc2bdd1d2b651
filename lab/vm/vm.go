package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Defaults of a [Config].
const (
	DefaultTimeout  = 5 * time.Minute
	DefaultMemoryMB = 512
)

// Errors of [Run]. Both say that the program did not end by itself.
var (
	ErrTimeout = errors.New("the program did not end in time")
	ErrGuest   = errors.New("the machine ended without the program's exit status")
)

// Config says what to run, and in what machine.
type Config struct {
	Image    string        // folder with kernel and initrd, as scripts/vm-image.sh makes it
	Share    string        // folder that the guest sees, read-only, at the same absolute path
	Dir      string        // where the command starts; below Share. Empty means Share
	Command  []string      // program and arguments; the program is below Share
	Env      []string      // "NAME=value"
	Stdout   io.Writer     // of the command; nil: discarded
	Stderr   io.Writer     //
	Progress io.Writer     // one line when the machine starts and one when it has ended; nil: none
	Timeout  time.Duration // of the whole; 0 means DefaultTimeout
	MemoryMB int           // 0 means DefaultMemoryMB
	CPUs     int           // 0 means 1
	Accel    string        // of QEMU; empty means tcg, which works inside other machines too
}

func (c *Config) complete() error {
	if len(c.Command) == 0 {
		return errors.New("vm: no command")
	}
	var err error
	if c.Share, err = filepath.Abs(c.Share); err != nil {
		return fmt.Errorf("vm: share: %w", err)
	}
	if c.Dir == "" {
		c.Dir = c.Share
	}
	if c.Dir, err = filepath.Abs(c.Dir); err != nil {
		return fmt.Errorf("vm: folder of the command: %w", err)
	}
	if c.Timeout == 0 {
		c.Timeout = DefaultTimeout
	}
	if c.MemoryMB == 0 {
		c.MemoryMB = DefaultMemoryMB
	}
	if c.CPUs == 0 {
		c.CPUs = 1
	}
	if c.Accel == "" {
		c.Accel = "tcg,thread=multi"
	}
	for _, name := range []string{"kernel", "initrd"} {
		if _, err := os.Stat(filepath.Join(c.Image, name)); err != nil {
			return fmt.Errorf("vm: image: %w: make it with scripts/vm-image.sh", err)
		}
	}
	return nil
}

// Run runs the command to its end and returns its exit status. An error means
// that there is none: see [ErrTimeout] and [ErrGuest].
func Run(ctx context.Context, cfg Config) (code int, err error) {
	if err := cfg.complete(); err != nil {
		return 0, err
	}
	dir, err := os.MkdirTemp("", "vm-*")
	if err != nil {
		return 0, fmt.Errorf("vm: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := cfg.writeInitrd(filepath.Join(dir, "initrd")); err != nil {
		return 0, err
	}
	begun := time.Now()
	cfg.say("vm: starting a machine for %s (%v at most)", filepath.Base(cfg.Command[0]), cfg.Timeout)
	ctx, cancel := context.WithTimeoutCause(ctx, cfg.Timeout, ErrTimeout)
	defer cancel()
	answer, err := cfg.boot(ctx, dir)
	cfg.say("vm: the machine ended after %.1f s", time.Since(begun).Seconds())
	if ctx.Err() != nil {
		return 0, fmt.Errorf("vm: %s: %w", filepath.Base(cfg.Command[0]), context.Cause(ctx))
	}
	if err != nil {
		return 0, err
	}
	code, err = strconv.Atoi(strings.TrimSpace(answer))
	if err != nil {
		return 0, fmt.Errorf("vm: %w; its console:\n%s", ErrGuest, tail(filepath.Join(dir, "console")))
	}
	return code, nil
}

func (c *Config) say(format string, args ...any) {
	if c.Progress != nil {
		fmt.Fprintf(c.Progress, format+"\n", args...)
	}
}

// boot runs QEMU to its end and returns what the guest wrote as exit status.
func (c *Config) boot(ctx context.Context, dir string) (answer string, err error) {
	var code, complaints bytes.Buffer
	sinks := []io.Writer{c.Stdout, c.Stderr, &code}
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", c.arguments(dir)...)
	cmd.Stdout, cmd.Stderr = &complaints, &complaints
	cmd.SysProcAttr = childAttr()
	done := make(chan error, len(sinks))
	for _, sink := range sinks {
		r, w, err := os.Pipe()
		if err != nil {
			return "", fmt.Errorf("vm: %w", err)
		}
		defer r.Close()
		defer w.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, w)
		if sink == nil {
			sink = io.Discard
		}
		go func() { // ends with the machine, which holds the other end
			_, err := io.Copy(sink, r)
			done <- err
		}()
	}
	runtime.LockOSThread() // the kernel ends the child with the thread that started it
	defer runtime.UnlockOSThread()
	err = cmd.Start()
	for _, w := range cmd.ExtraFiles {
		err = errors.Join(err, w.Close())
	}
	if err == nil {
		err = cmd.Wait()
	}
	for range sinks {
		err = errors.Join(err, <-done)
	}
	if err != nil {
		return "", fmt.Errorf("vm: qemu: %w\n%s", err, complaints.String())
	}
	return code.String(), nil
}

// arguments returns QEMU's command line. The kernel is told not to doubt its
// timer: on a loaded host the emulated one is late, which it takes for broken.
// File descriptors 3 to 5 are the ends of pipes for output, error output and
// exit status.
func (c *Config) arguments(dir string) []string {
	args := []string{
		"-machine", "q35,usb=off,hpet=off", "-cpu", "max", "-accel", c.Accel,
		"-smp", strconv.Itoa(c.CPUs), "-m", strconv.Itoa(c.MemoryMB),
		"-nodefaults", "-no-user-config", "-display", "none", "-monitor", "none", "-no-reboot",
		"-kernel", filepath.Join(c.Image, "kernel"), "-initrd", filepath.Join(dir, "initrd"),
		"-append", "console=ttyS0 no_timer_check panic=-1 oops=panic mitigations=off nokaslr random.trust_cpu=on quiet loglevel=4 rdinit=/init",
		"-serial", "file:" + filepath.Join(dir, "console"),
		"-fsdev", "local,id=share,path=" + strings.ReplaceAll(c.Share, ",", ",,") + ",security_model=none,readonly=on,multidevs=remap",
		"-device", "virtio-9p-pci,fsdev=share,mount_tag=share",
		"-device", "virtio-serial-pci",
	}
	for i, name := range []string{"out", "err", "code"} {
		args = append(args, "-chardev", fmt.Sprintf("file,id=%s,path=/dev/fd/%d", name, 3+i),
			"-device", fmt.Sprintf("virtserialport,chardev=%s,name=%s", name, name))
	}
	return args
}

// tail returns the end of a file, for a message.
func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-2000):])
}
