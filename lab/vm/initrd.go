package vm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// writeInitrd copies the image's initrd to path and puts the command behind it:
// the kernel unpacks archives that follow each other into one root.
func (c *Config) writeInitrd(path string) (err error) {
	in, err := os.Open(filepath.Join(c.Image, "initrd"))
	if err != nil {
		return fmt.Errorf("vm: image: %w", err)
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("vm: %w", err)
	}
	defer func() {
		if err = errors.Join(err, out.Close()); err != nil {
			err = fmt.Errorf("vm: write initrd: %w", err)
		}
	}()
	n, err := io.Copy(out, in)
	if err != nil {
		return err
	}
	if _, err := out.Write(make([]byte, -n&3)); err != nil {
		return err
	}
	b := appendFile(nil, 1, "settings", "SHARE="+quote(c.Share)+"\n")
	b = appendFile(b, 2, "command", c.script())
	_, err = out.Write(appendFile(b, 0, "TRAILER!!!", ""))
	return err
}

// script is what the guest's shell runs.
func (c *Config) script() string {
	var b strings.Builder
	for _, e := range c.Env {
		if name, value, ok := strings.Cut(e, "="); ok {
			fmt.Fprintf(&b, "export %s=%s\n", name, quote(value))
		}
	}
	fmt.Fprintf(&b, "cd %s || exit 125\nexec", quote(c.Dir))
	for _, a := range c.Command {
		b.WriteString(" " + quote(a))
	}
	return b.String() + "\n"
}

// quote makes one word of a shell.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// appendFile appends a file to a cpio archive of the kind newc, which begins at
// a multiple of four bytes.
func appendFile(dst []byte, inode int, name, content string) []byte {
	links, mode := 1, 0o100644
	if inode == 0 {
		mode = 0
	}
	dst = fmt.Appendf(dst, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X",
		inode, mode, 0, 0, links, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	dst = append(dst, name...)
	dst = append(dst, 0)
	dst = append(dst, make([]byte, -len(dst)&3)...)
	dst = append(dst, content...)
	return append(dst, make([]byte, -len(dst)&3)...)
}
