package agent

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"telemetry/internal/config"
)

// Surroundings reports what, on this machine and now, would keep an agent with
// the configuration c from doing all of its work: a spool that cannot be written
// or does not fit on the disk, an interface that is not there. It makes and
// changes nothing.
func Surroundings(c *config.Agent) config.Faults {
	var out config.Faults
	warn := func(path, format string, args ...any) { out = append(out, c.Fault(path, format, args...)) }
	dir, err := Existing(c.Spool.Dir)
	switch {
	case err != nil:
		warn("spool.dir", "%v", err)
	case unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) != nil:
		warn("spool.dir", "%s cannot be written by this user (want a directory of the agent's own)", dir)
	default:
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil {
			if room := int64(fs.Bavail)*int64(fs.Bsize) + used(c.Spool.Dir); room < int64(c.Spool.Quota) {
				warn("spool.quota", "is %d MiB, but the disk has room for %d MiB: it will run full before", c.Spool.Quota>>20, room>>20)
			}
		}
	}
	if c.Receiver.TLS != nil {
		for i, a := range c.Receiver.Addresses {
			if strings.HasPrefix(a, "tcp://") {
				warn(fmt.Sprintf("receiver.addresses[%d]", i), "%s is dialled in the clear, without receiver.tls: write tls:// to use it", a)
			}
		}
	}
	for i, l := range c.Links {
		if l.Interface == "" {
			continue
		}
		if _, err := net.InterfaceByName(l.Interface); err != nil {
			warn(fmt.Sprintf("links[%d].interface", i), "%s is not there now (there are %s): the link stays down until it appears", l.Interface, interfaces())
		}
	}
	return out
}

// Existing returns the directory that stands at path, or the nearest one above
// it, in which it would be made.
func Existing(path string) (string, error) {
	for {
		st, err := os.Stat(path)
		switch {
		case err == nil && st.IsDir():
			return path, nil
		case err == nil:
			return "", fmt.Errorf("%s is no directory", path)
		case path == filepath.Dir(path):
			return "", err
		}
		path = filepath.Dir(path)
	}
}

// used returns the bytes of the files below dir that can be read.
func used(dir string) int64 {
	var n int64
	// What cannot be read is not counted: this is for a warning.
	_ = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		if fi, err := d.Info(); err == nil {
			n += fi.Size()
		}
		return nil
	})
	return n
}

func interfaces() string {
	ifs, err := net.Interfaces()
	if err != nil {
		return err.Error()
	}
	var names []string
	for _, i := range ifs {
		names = append(names, i.Name)
	}
	return strings.Join(names, ", ")
}
