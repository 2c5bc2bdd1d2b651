//go:build !linux

package slcan

import (
	"errors"
	"os"
	"time"
)

// pty needs Linux: inotify tells who opens the host's end.
type pty struct {
	master *os.File
	path   string
}

func openPTY() (*pty, error) { return nil, errors.New("slcan: the emulated adapter needs Linux") }

func (p *pty) reset() error     { return nil }
func (p *pty) watch(func(bool)) {}
func (p *pty) unread() int      { return 0 }
func (p *pty) takeBack() int    { return 0 }
func (p *pty) close() error     { return nil }

func prioritize() {}

func pause(d time.Duration) { time.Sleep(d) }

func (p *pty) waitRead(time.Duration) {}
