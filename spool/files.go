package spool

import (
	"errors"
	"io"
	"os"
	"sync"

	"telemetry/wire"
)

// maxOpenFiles bounds the segment files that are kept open for reading: the
// uplink reads along few chunks at a time.
const maxOpenFiles = 8

// fileCache keeps the files that were read last open. The zero value is ready.
type fileCache struct {
	mu   sync.Mutex
	open []cachedFile // least recently used first
}

type cachedFile struct {
	name string
	f    File
}

// read fills p from name at off.
func (c *fileCache) read(d Disk, name string, p []byte, off int64) error {
	f, cached := c.get(name)
	if !cached {
		var err error
		if f, err = d.Open(name); err != nil {
			return err
		}
		c.put(name, f)
	}
	n, err := f.ReadAt(p, off)
	if errors.Is(err, os.ErrClosed) { // it was pushed out of the cache meanwhile
		return readOnce(d, name, p, off)
	}
	return full(n, len(p), err)
}

func readOnce(d Disk, name string, p []byte, off int64) error {
	f, err := d.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	n, err := f.ReadAt(p, off)
	return full(n, len(p), err)
}

// full makes a short read damage and forgets an end of file behind a whole one.
func full(n, want int, err error) error {
	switch {
	case n == want:
		return nil
	case err == nil || errors.Is(err, io.EOF):
		return errDamaged
	}
	return err
}

func (c *fileCache) get(name string) (File, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := len(c.open) - 1; i >= 0; i-- {
		if c.open[i].name == name {
			e := c.open[i]
			c.open = append(append(c.open[:i], c.open[i+1:]...), e)
			return e.f, true
		}
	}
	return nil, false
}

func (c *fileCache) put(name string, f File) {
	c.mu.Lock()
	c.open = append(c.open, cachedFile{name, f})
	var out File
	if len(c.open) > maxOpenFiles {
		out = c.open[0].f
		c.open = append(c.open[:0], c.open[1:]...)
	}
	c.mu.Unlock()
	if out != nil {
		out.Close()
	}
}

// drop closes the files of a name.
func (c *fileCache) drop(name string) {
	c.mu.Lock()
	var out []File
	keep := c.open[:0]
	for _, e := range c.open {
		if e.name == name {
			out = append(out, e.f)
		} else {
			keep = append(keep, e)
		}
	}
	c.open = keep
	c.mu.Unlock()
	for _, f := range out {
		f.Close()
	}
}

// close closes all files.
func (c *fileCache) close() {
	c.mu.Lock()
	open := c.open
	c.open = nil
	c.mu.Unlock()
	for _, e := range open {
		e.f.Close()
	}
}

// controls reads the control records of a sealed batch.
func controls(o *wire.Opener, sealed []byte) ([]wire.Control, error) {
	b, _, err := wire.Parse(sealed)
	if err != nil {
		return nil, err
	}
	payload, err := o.Payload(b)
	if err != nil {
		return nil, err
	}
	return wire.Controls(payload)
}
