package simulate

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"telemetry/spool"
	"telemetry/spool/spooltest"
)

// card is the storage of a box: the model of spooltest with times. Every change
// takes a time of its own, to the nanosecond, before it happens, so that two
// goroutines of one spool never change the disk at the same instant.
type card struct {
	*spooltest.Machine
	car  string
	seed uint64
	slow atomic.Int64 // ns that each sync takes more

	full    bool // it was full once; owned by the loop
	retired bool // thrown away; owned by the loop
	bare    bool // a catalogue could not be kept, or was damaged; owned by the loop

	// noCursor: a cursor was damaged, so that a start may not know what was delivered
	// and deleted; owned by the loop.
	noCursor bool

	mu    sync.Mutex
	life  uint64            // guarded by mu: counts the spools that have had the disk
	calls map[string]uint64 // guarded by mu: how often this life has called an operation, for its time
	fails int               // guarded by mu: so many changes fail yet
	hurt  int               // guarded by mu: changes that have failed
}

func newCard(car string, seed uint64) *card {
	c := &card{Machine: spooltest.New(), car: car, seed: seed, calls: map[string]uint64{}}
	c.SetFault(c.fault)
	return c
}

// fault fails changes while some are to fail.
func (c *card) fault(op spooltest.Op) error {
	switch op.Kind {
	case "read", "readat", "open", "mark", "openmark", "close", "lock":
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fails > 0 {
		c.fails--
		c.hurt++
		return syscall.EIO
	}
	return nil
}

// failNext makes the next n changes fail; 0 ends that.
func (c *card) failNext(n int) {
	c.mu.Lock()
	c.fails = n
	c.mu.Unlock()
}

func (c *card) failed() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hurt
}

// pause is the time of one operation of a life; a life that is over takes none.
func (c *card) pause(life uint64, kind, name string) {
	c.mu.Lock()
	if life != c.life {
		c.mu.Unlock()
		return
	}
	key := kind + " " + name
	c.calls[key]++
	n := c.calls[key]
	c.mu.Unlock()
	h := hash(fmt.Sprint(c.seed, life, key, n))
	d := time.Duration(h % 40_000) // up to 40 us
	if kind == "sync" {
		d = 300*time.Microsecond + time.Duration(h%1_500_000) + time.Duration(c.slow.Load()*int64(h%1024)/512)
	}
	time.Sleep(d + 1)
}

// disk returns the disk for a new life of the machine.
func (c *card) disk() spool.Disk { return &timedDisk{Disk: c.Boot(), c: c, life: c.next()} }

// next ends a life: what still calls the disk has no time and no effect.
func (c *card) next() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.life++
	clear(c.calls)
	return c.life
}

// timedDisk is a disk whose changes take time. Reading takes none: the uplink
// reads between two events.
type timedDisk struct {
	spool.Disk
	c    *card
	life uint64
}

func (d *timedDisk) MkdirAll(dir string) error {
	d.c.pause(d.life, "mkdir", dir)
	return d.Disk.MkdirAll(dir)
}

func (d *timedDisk) Write(name string, data []byte) error {
	d.c.pause(d.life, "sync", name)
	return d.Disk.Write(name, data)
}

func (d *timedDisk) Truncate(name string, size int64) error {
	d.c.pause(d.life, "sync", name)
	return d.Disk.Truncate(name, size)
}

func (d *timedDisk) SyncFile(name string) error {
	d.c.pause(d.life, "sync", name)
	return d.Disk.SyncFile(name)
}

func (d *timedDisk) Rename(from, to string) error {
	d.c.pause(d.life, "rename", from)
	return d.Disk.Rename(from, to)
}

func (d *timedDisk) RemoveAll(name string) error {
	d.c.pause(d.life, "remove", name)
	return d.Disk.RemoveAll(name)
}

func (d *timedDisk) SyncDir(dir string) error {
	d.c.pause(d.life, "sync", dir)
	return d.Disk.SyncDir(dir)
}

func (d *timedDisk) OpenLog(dir string, segmentBytes int) (spool.Log, error) {
	d.c.pause(d.life, "openlog", dir)
	l, err := d.Disk.OpenLog(dir, segmentBytes)
	if err != nil {
		return nil, err
	}
	return &timedLog{Log: l, c: d.c, life: d.life, dir: dir}, nil
}

func (d *timedDisk) OpenMark(name string) (spool.MarkFile, error) { return d.Disk.OpenMark(name) }

func (d *timedDisk) Lock(name, hint string) (io.Closer, error) { return d.Disk.Lock(name, hint) }

type timedLog struct {
	spool.Log
	c    *card
	life uint64
	dir  string
}

func (l *timedLog) Append(records [][]byte) error {
	l.c.pause(l.life, "append", l.dir)
	return l.Log.Append(records)
}

func (l *timedLog) Sync() error {
	l.c.pause(l.life, "sync", l.dir+"/")
	return l.Log.Sync()
}

func (l *timedLog) Close() error {
	l.c.pause(l.life, "close", l.dir)
	return l.Log.Close()
}

// copyTo copies what the card holds, as a tool that clones cards does: all that
// programs see. The copy is durable.
func (c *card) copyTo(to *card) error {
	return copyTree(c.Boot(), to.Boot(), spoolDir)
}

func copyTree(from, to spool.Disk, dir string) error {
	if err := to.MkdirAll(dir); err != nil {
		return err
	}
	es, err := from.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range es {
		name := filepath.Join(dir, e.Name)
		if e.IsDir {
			err = copyTree(from, to, name)
		} else {
			err = copyFile(from, to, name)
		}
		if err != nil {
			return err
		}
	}
	if err := to.SyncDir(dir); err != nil {
		return err
	}
	return to.SyncDir(filepath.Dir(dir))
}

func copyFile(from, to spool.Disk, name string) error {
	f, err := from.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	b := make([]byte, size)
	if n, err := f.ReadAt(b, 0); int64(n) < size {
		return err
	}
	return to.Write(name, b)
}

// segments lists the segment files of the durable lanes, oldest first.
func (c *card) segments() []string {
	var out []string
	d := c.Boot()
	for _, lane := range []string{"full", "critical"} {
		es, err := d.ReadDir(filepath.Join(spoolDir, lane))
		if err != nil {
			continue
		}
		for _, e := range es {
			if e.IsDir && !strings.Contains(e.Name, ".") {
				out = append(out, filepath.Join(spoolDir, lane, e.Name, spool.SegmentName))
			}
		}
	}
	return out
}

// spoolDir is where every box keeps its spool.
const spoolDir = "spool"
