package spool

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// loop is an ext4 file system of our own on a loop device.
type loop struct {
	file, dev, mnt string
}

// command runs a tool of the system.
func command(ctx context.Context, name string, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s (root, losetup and mkfs.ext4 are needed)", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}

// newLoop makes one of size bytes below dir. opts are of mount.
func newLoop(ctx context.Context, dir string, size int64, opts string) (*loop, error) {
	l := &loop{file: filepath.Join(dir, "disk.img"), mnt: filepath.Join(dir, "mnt")}
	if err := os.MkdirAll(l.mnt, 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(l.file, nil, 0o644); err != nil {
		return nil, err
	}
	if err := os.Truncate(l.file, size); err != nil {
		return nil, err
	}
	var err error
	if l.dev, err = command(ctx, "losetup", "--find", "--show", l.file); err != nil {
		return nil, err
	}
	if err := l.format(ctx, opts); err != nil {
		_ = l.close()
		return nil, err
	}
	return l, nil
}

func (l *loop) format(ctx context.Context, opts string) error {
	if _, err := command(ctx, "mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", l.dev); err != nil {
		return err
	}
	return l.mount(ctx, opts)
}

func (l *loop) mount(ctx context.Context, opts string) error {
	args := []string{l.dev, l.mnt}
	if opts != "" {
		args = append([]string{"-o", opts}, args...)
	}
	_, err := command(ctx, "mount", args...)
	return err
}

// unmount waits until nobody holds the file system any more.
func (l *loop) unmount(ctx context.Context) error {
	var err error
	for range 100 { // a killed process lets go of its files in its own time
		if err = unix.Unmount(l.mnt, 0); err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("unmount %s: %w", l.mnt, err)
}

// close lets go of everything that is still there.
func (l *loop) close() error {
	_ = unix.Unmount(l.mnt, unix.MNT_DETACH) // it may not be mounted
	_, err := command(context.Background(), "losetup", "--detach", l.dev)
	_ = os.Remove(l.file) // below the scratch folder, which goes as a whole
	return err
}

// written returns the bytes that the device was given since it was made.
func (l *loop) written() (int64, error) {
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(l.dev), "stat"))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b))
	if len(f) < 7 {
		return 0, fmt.Errorf("statistics of %s: %q", l.dev, b)
	}
	n, err := strconv.ParseInt(f[6], 10, 64)
	return n * 512, err
}

// shutdown is the power cut of ext4 and xfs: from now on nothing reaches the device,
// the journal neither.
func (l *loop) shutdown() error {
	const goingDown, noLogFlush = 0x8004587d, 2 // FS_IOC_SHUTDOWN
	f, err := os.Open(l.mnt)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.IoctlSetPointerInt(int(f.Fd()), goingDown, noLogFlush)
}

// amplification compares the bytes that reach a device.
func (b *bench) amplification(ctx context.Context, commit int, row *BenchRow) error {
	var factor []float64
	var stored []float64
	for range 3 {
		var bytes [2]int64
		var sealed int64
		for k, do := range []string{"bench", "benchraw"} {
			l, err := newLoop(ctx, b.dir, 4*b.cfg.Bytes+64<<20, "")
			if err != nil {
				return err
			}
			before, err := l.written()
			if err != nil {
				return err
			}
			m, err := b.child(ctx, ChildSpec{Do: do, Dir: filepath.Join(l.mnt, "bench"), Commit: commit, Bytes: b.cfg.Bytes})
			if err == nil {
				err = l.unmount(ctx) // what is still dirty counts too
			}
			after, werr := l.written()
			if cerr := l.close(); err == nil {
				err = cerr
			}
			if err != nil {
				return err
			}
			if werr != nil {
				return werr
			}
			bytes[k] = after - before
			if k == 0 {
				sealed = m.Bytes
			}
		}
		factor = append(factor, float64(bytes[0])/float64(bytes[1]))
		stored = append(stored, float64(bytes[0])/float64(sealed))
	}
	row.WriteAmplification, row.StoredFactor = median(factor), median(stored)
	return nil
}

// dropCache makes the next reads of all files below dir come from the disk.
func dropCache(dir string) error {
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		f, err := os.Open(p)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		return unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED)
	})
}
