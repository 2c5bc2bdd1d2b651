package vm

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestScriptKeepsWordsWhole(t *testing.T) {
	c := Config{Dir: "/", Command: []string{"printf", "%s|", "a b", "it's", `"$HOME"`, "", "line\nline"}, Env: []string{"X=a 'b'"}}
	out, err := exec.Command("sh", "-c", c.script()).Output()
	if want := `a b|it's|"$HOME"||` + "line\nline|"; err != nil || string(out) != want {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
	c.Command = []string{"sh", "-c", `printf %s "$X"`}
	if out, err := exec.Command("sh", "-c", c.script()).Output(); err != nil || string(out) != "a 'b'" {
		t.Errorf("environment: got %q, %v", out, err)
	}
}

func TestArchiveHasTheKernelsForm(t *testing.T) {
	b := appendFile(nil, 1, "command", "echo\n")
	want := "070701" + "00000001" + "000081A4" + strings.Repeat("00000000", 2) + "00000001" + "00000000" + "00000005" +
		strings.Repeat("00000000", 4) + "00000008" + "00000000" + "command\x00" + "\x00\x00" + "echo\n\x00\x00\x00"
	if string(b) != want {
		t.Errorf("got  %q\nwant %q", b, want)
	}
}

func TestFaultsOfAConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no command": {Image: t.TempDir()},
		"no image":   {Image: t.TempDir(), Command: []string{"true"}},
	} {
		if _, err := Run(context.Background(), c); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// image returns the folder of kernel and initrd, where there is one.
func image(t *testing.T) string {
	dir := os.Getenv("VM_IMAGE")
	if dir == "" {
		t.Skip("needs VM_IMAGE, what scripts/vm-image.sh prints: make test-vm")
	}
	return dir
}

func TestGuest(t *testing.T) {
	dir, share := image(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(share, "file"), []byte("of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	for _, tc := range []struct {
		name, script string
		code         int
		out, errOut  string
	}{
		{"output and exit status", "printf 'a\\0b'; printf c >&2; exit 7", 7, "a\x00b", "c"},
		{"shared folder, read-only", "cat file; touch other 2>/dev/null && echo written", 1, "of the host", ""},
		{"virtual bus", "ip link add vcan0 type vcan && ip link set vcan0 up && cat /sys/class/net/vcan0/mtu", 0, "72\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			code, err := Run(context.Background(), Config{Image: dir, Share: share, Command: []string{"sh", "-c", tc.script}, Stdout: &out, Stderr: &errOut})
			if err != nil || code != tc.code || out.String() != tc.out || errOut.String() != tc.errOut {
				t.Errorf("got status %d, %v, output %q and %q", code, err, out.String(), errOut.String())
			}
		})
	}
	if _, err := Run(context.Background(), Config{Image: dir, Share: share, Command: []string{"sleep", "1000"}, Timeout: 100 * time.Millisecond}); !errors.Is(err, ErrTimeout) {
		t.Errorf("a program without end: %v", err)
	}
	if _, err := Run(context.Background(), Config{Image: dir, Share: share, Command: []string{"poweroff", "-f"}}); !errors.Is(err, ErrGuest) {
		t.Errorf("a machine that ends early: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(os.Getenv("TMPDIR"), "vm-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
