package sensors

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// PTY is a pseudo terminal that plays a device on a serial port. Link, if given,
// is a name of it that stays when it is plugged in again, as those below
// /dev/serial/by-id do.
type PTY struct {
	Path   string // of the host's end
	link   string
	master *os.File
	peer   int // the host's end once more: its settings are the host's
}

// OpenPTY makes a device. link may be empty.
func OpenPTY(link string) (*PTY, error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open pseudo terminal: %w", err)
	}
	p := &PTY{master: os.NewFile(uintptr(fd), "ptmx"), peer: -1}
	if err := p.open(fd, link); err != nil {
		return nil, errors.Join(fmt.Errorf("set up pseudo terminal: %w", err), p.Close())
	}
	return p, nil
}

func (p *PTY) open(fd int, link string) error {
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return err
	}
	p.Path = fmt.Sprintf("/dev/pts/%d", n)
	if p.peer, err = unix.Open(p.Path, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
		return err
	}
	if err := p.Reset(); err != nil {
		return err
	}
	if link == "" {
		return nil
	}
	tmp := link + ".new"
	if err := os.Symlink(p.Path, tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, link); err != nil {
		return err
	}
	p.link = link
	return nil
}

// Reset makes the line raw and free for the next host: the lock of one that has
// closed it stays while the peer is open.
func (p *PTY) Reset() error {
	t, err := unix.IoctlGetTermios(p.peer, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0
	t.Cflag |= unix.CS8 | unix.CREAD | unix.CLOCAL
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(p.peer, unix.TCSETS, t); err != nil {
		return err
	}
	return unix.IoctlSetInt(p.peer, unix.TIOCNXCL, 0)
}

// Baud returns the bit rate that the host has set.
func (p *PTY) Baud() int {
	t, err := unix.IoctlGetTermios(p.peer, unix.TCGETS2)
	if err != nil {
		return 0
	}
	return int(t.Ospeed)
}

// writeFor bounds a write to a host that does not read.
const writeFor = 5 * time.Second

// Write sends bytes to the host.
func (p *PTY) Write(b []byte) (int, error) {
	if err := p.master.SetWriteDeadline(time.Now().Add(writeFor)); err != nil {
		return 0, err
	}
	return p.master.Write(b)
}

// Read takes bytes that the host sent; it waits until some come or the device is
// unplugged.
func (p *PTY) Read(b []byte) (int, error) { return p.master.Read(b) }

// Close unplugs the device: its name goes too.
func (p *PTY) Close() error {
	var errs []error
	if p.link != "" {
		if to, err := os.Readlink(p.link); err == nil && to == p.Path {
			errs = append(errs, os.Remove(p.link))
		}
	}
	if p.peer >= 0 {
		errs = append(errs, unix.Close(p.peer))
	}
	return errors.Join(append(errs, p.master.Close())...)
}
