package netns

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"telemetry/lab/link"
)

// roleVar makes the test binary play the harness that is killed.
const roleVar = "NETNS_TEST_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleVar) != "" {
		if err := harness(); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// harness builds a testbed with a child in it, says what it made, and waits for
// its end or for the word to panic.
func harness() error {
	b, err := New(Config{Links: links(2, link.Spec{})})
	if err != nil {
		return err
	}
	go func() { _ = b.Run(context.Background()) }() // ends with the process
	child := exec.Command("sleep", "1000")
	if err := b.Car.Start(child); err != nil {
		return err
	}
	fmt.Println(child.Process.Pid, b.links[0].far.name, b.links[1].far.name)
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return err
	}
	panic("asked to")
}

func TestNothingIsLeftBehind(t *testing.T) {
	if err := Available(); err != nil {
		t.Skip(err)
	}
	ends := map[string]func(*exec.Cmd, *bufio.Writer) error{
		"SIGKILL": func(c *exec.Cmd, _ *bufio.Writer) error { return c.Process.Kill() },
		"SIGTERM": func(c *exec.Cmd, _ *bufio.Writer) error { return c.Process.Signal(syscall.SIGTERM) },
		"panic": func(_ *exec.Cmd, w *bufio.Writer) error {
			_, err := w.WriteString("now\n")
			return errors.Join(err, w.Flush())
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), roleVar+"=harness")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var pid int
			var dev [2]string
			if _, err := fmt.Fscan(out, &pid, &dev[0], &dev[1]); err != nil {
				t.Fatal(err)
			}
			if _, err := net.InterfaceByName(dev[0]); err != nil {
				t.Fatalf("the far end %s is not here while the harness runs: %v", dev[0], err)
			}
			if err := end(cmd, bufio.NewWriter(in)); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				t.Error("the harness ended well")
			}
			wait(t, "the child is gone", func() bool { return gone(pid) })
			for _, d := range dev {
				wait(t, d+" is gone", func() bool { _, err := net.InterfaceByName(d); return err != nil })
			}
		})
	}
}

// gone reports whether a process has ended; one that nobody has waited for yet
// has.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

func TestChildSeesOnlyItsNamespace(t *testing.T) {
	b := bed(t, Config{Links: links(2, link.Spec{})})
	var out strings.Builder
	child := exec.Command("ls", "-m", "/sys/class/net")
	child.Stdout = &out
	if err := b.Car.Start(child); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(out.String()), "lo, wwan0, wwan1"; got != want {
		t.Errorf("devices %q, want %q", got, want)
	}
	if _, err := net.InterfaceByName("wwan0"); err == nil {
		t.Error("the car's device is in our namespace")
	}
}

func TestCloseKillsChildren(t *testing.T) {
	if err := Available(); err != nil {
		t.Skip(err)
	}
	s, err := NewSpace()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command("sleep", "1000")
	if err := s.Start(child); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := child.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("the child ended with %v", err)
	}
	if err := s.Start(exec.Command("true")); !errors.Is(err, ErrClosed) {
		t.Errorf("start after Close: %v", err)
	}
	if err := s.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after Close: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}

func TestDoComesBackAfterAPanic(t *testing.T) {
	if err := Available(); err != nil {
		t.Skip(err)
	}
	s, err := NewSpace()
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	devices := func() int {
		all, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic was lost")
			}
		}()
		_ = s.Do(func() error {
			if n := devices(); n != 1 {
				t.Errorf("%d devices in a new namespace", n)
			}
			panic("inside")
		})
	}()
	if devices() < 2 {
		t.Error("still inside")
	}
	want := errors.New("told")
	if err := s.Do(func() error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v", err)
	}
}
