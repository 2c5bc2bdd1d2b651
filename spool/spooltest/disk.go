// Package spooltest is a disk in memory for tests and simulations of the spool:
// it keeps apart what was written and what was synced, loses the rest at a power
// cut, runs full, and fails on demand.
//
// The entry point is [New]; [Machine.Boot] gives the disk to one life of the
// spool and [Machine.Cut] ends that life. It never touches the real disk.
package spooltest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"telemetry/spool"
)

// ErrDead is the answer to a life that was cut off.
var ErrDead = errors.New("spooltest: power is off")

// Op names a call of [spool.Disk] or [spool.Log] for fault injection.
type Op struct {
	Kind string // mkdir, read, open, write, truncate, syncfile, rename, remove, syncdir, openlog, append, sync, close
	Name string // path; of the segment file for append, sync and close
}

// Machine is a computer with one disk. Its methods are safe for concurrent use.
type Machine struct {
	mu    sync.Mutex
	root  *node
	ops   []change // directory changes that are not durable, oldest first
	life  int
	locks map[string]string
	limit int64
	used  int64
	fail  func(Op) error
	calls map[string]int
}

// node is a file or a directory.
type node struct {
	dir     bool
	names   map[string]*node // of a directory, as programs see it
	durable map[string]*node // of a directory, as the platter has it
	data    []byte           // of a file, as programs see it
	synced  []byte           // of a file, as the platter has it
	broken  bool             // a sync failed: what was not synced never will be
}

// change is one directory operation: up to two entries that change together.
type change struct {
	from, to         *node // directories; nil when not concerned
	fromName, toName string
	n                *node
}

func newDir() *node {
	return &node{dir: true, names: map[string]*node{}, durable: map[string]*node{}}
}

// New returns a machine with an empty disk of unlimited size.
func New() *Machine {
	return &Machine{root: newDir(), locks: map[string]string{}, calls: map[string]int{}}
}

// SetLimit bounds the bytes of all files; 0 means no bound. Writes beyond it leave
// a part behind and fail with ENOSPC.
func (m *Machine) SetLimit(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.limit = bytes
}

// SetFault makes every operation ask f first; an error of f is its result. A
// failing append leaves half of its bytes behind, a failing sync makes sure that
// they never become durable, and every later one of the same log fails too. f must not call the machine.
func (m *Machine) SetFault(f func(Op) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

// Calls returns how often an operation was called since the machine was made.
func (m *Machine) Calls(kind string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls[kind]
}

// Used returns the bytes of all files.
func (m *Machine) Used() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.used
}

// Boot returns the disk for the machine's present life.
func (m *Machine) Boot() spool.Disk {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &disk{m: m, life: m.life}
}

// Cut takes the power away: everything that was not synced is lost, or with r
// survives at random – single directory changes, and any prefix of a file's
// unsynced tail, possibly followed by zeros. The disks of earlier lives are dead.
func (m *Machine) Cut(r *rand.Rand) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life++
	m.locks = map[string]string{}
	for _, c := range m.ops {
		if r != nil && r.IntN(2) == 0 {
			c.apply(func(n *node) map[string]*node { return n.durable })
		}
	}
	m.ops = nil
	m.used = 0
	m.reset(m.root, r)
}

// Kill ends the life of the process only: what was written stays.
func (m *Machine) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.life++
	m.locks = map[string]string{}
}

func (m *Machine) reset(n *node, r *rand.Rand) {
	if n.dir {
		n.names = map[string]*node{}
		names := make([]string, 0, len(n.durable))
		for name := range n.durable {
			names = append(names, name)
		}
		slices.Sort(names) // so that a seed decides everything
		for _, name := range names {
			n.names[name] = n.durable[name]
			m.reset(n.durable[name], r)
		}
		return
	}
	keep := slices.Clone(n.synced)
	tail := len(n.data) - len(keep)
	if r != nil && tail > 0 && !n.broken && strings.HasPrefix(string(n.data), string(keep)) {
		got := r.IntN(tail + 1)
		keep = append(keep, n.data[len(keep):len(keep)+got]...)
		if r.IntN(4) == 0 {
			keep = append(keep, make([]byte, tail-got)...)
		}
	}
	n.data, n.synced, n.broken = keep, slices.Clone(keep), false
	m.used += int64(len(keep))
}

func (c change) apply(side func(*node) map[string]*node) {
	if c.from != nil {
		delete(side(c.from), c.fromName)
	}
	if c.to != nil {
		side(c.to)[c.toName] = c.n
	}
}

// change does a directory operation and remembers that it is not durable.
func (m *Machine) change(c change) {
	c.apply(func(n *node) map[string]*node { return n.names })
	m.ops = append(m.ops, c)
}

// enter takes the lock and asks for a fault.
func (d *disk) enter(kind, name string) error {
	d.m.mu.Lock()
	d.m.calls[kind]++
	if d.life != d.m.life {
		return ErrDead
	}
	if d.m.fail != nil {
		return d.m.fail(Op{Kind: kind, Name: name})
	}
	return nil
}

// look returns the node of a path, or nil.
func (m *Machine) look(name string) *node {
	n := m.root
	for p := range strings.SplitSeq(filepath.ToSlash(name), "/") {
		if p == "" || p == "." {
			continue
		}
		if n == nil || !n.dir {
			return nil
		}
		n = n.names[p]
	}
	return n
}

// parent returns the directory of a path and the last name, or an error.
func (m *Machine) parent(name string) (*node, string, error) {
	dir, base := path.Split(path.Clean(filepath.ToSlash(name)))
	n := m.look(dir)
	if n == nil || !n.dir {
		return nil, "", notExist("parent of", name)
	}
	return n, base, nil
}

func notExist(op, name string) error { return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist} }

func noSpace(op, name string) error {
	return &fs.PathError{Op: op, Path: name, Err: syscall.ENOSPC}
}

// grow adds bytes to a file as far as there is room.
func (m *Machine) grow(n *node, data []byte, name string) error {
	fits := len(data)
	if m.limit > 0 {
		fits = int(max(0, min(int64(fits), m.limit-m.used)))
	}
	n.data = append(n.data, data[:fits]...)
	m.used += int64(fits)
	if fits < len(data) {
		return noSpace("write", name)
	}
	return nil
}

func (n *node) sync() {
	if !n.broken {
		n.synced = slices.Clone(n.data)
	}
}

// disk is the machine's disk for one life.
type disk struct {
	m    *Machine
	life int
}

var _ spool.Disk = (*disk)(nil)

func (d *disk) MkdirAll(dir string) error {
	err := d.enter("mkdir", dir)
	defer d.m.mu.Unlock()
	if err != nil {
		return err
	}
	d.m.mkdirAll(dir)
	return nil
}

func (m *Machine) mkdirAll(dir string) *node {
	n := m.root
	for p := range strings.SplitSeq(filepath.ToSlash(dir), "/") {
		if p == "" || p == "." {
			continue
		}
		next := n.names[p]
		if next == nil {
			next = newDir()
			m.change(change{to: n, toName: p, n: next})
		}
		n = next
	}
	return n
}

func (d *disk) ReadDir(dir string) ([]spool.DirEntry, error) {
	err := d.enter("read", dir)
	defer d.m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	n := d.m.look(dir)
	if n == nil || !n.dir {
		return nil, notExist("readdir", dir)
	}
	out := make([]spool.DirEntry, 0, len(n.names))
	for name, c := range n.names {
		out = append(out, spool.DirEntry{Name: name, IsDir: c.dir, Size: int64(len(c.data))})
	}
	slices.SortFunc(out, func(a, b spool.DirEntry) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func (d *disk) Open(name string) (spool.File, error) {
	err := d.enter("open", name)
	defer d.m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	n := d.m.look(name)
	if n == nil || n.dir {
		return nil, notExist("open", name)
	}
	return &file{d: d, n: n, name: name}, nil
}

func (d *disk) Write(name string, data []byte) error {
	err := d.enter("write", name)
	defer d.m.mu.Unlock()
	if err != nil {
		return err
	}
	p, base, err := d.m.parent(name)
	if err != nil {
		return err
	}
	n := p.names[base]
	if n == nil {
		n = &node{}
		d.m.change(change{to: p, toName: base, n: n})
	}
	d.m.used -= int64(len(n.data))
	n.data = nil
	if err := d.m.grow(n, data, name); err != nil {
		return err
	}
	n.sync()
	return nil
}

func (d *disk) OpenMark(name string) (spool.MarkFile, error) {
	err := d.enter("openmark", name)
	defer d.m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	n := d.m.look(name)
	if n == nil || n.dir {
		return nil, notExist("open", name)
	}
	return &file{d: d, n: n, name: name}, nil
}

// WriteAt overwrites bytes of the file in place, or makes it longer.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	err := f.d.enter("mark", f.name)
	defer f.d.m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	f.n.data = slices.Clone(f.n.data)
	if more := off + int64(len(p)) - int64(len(f.n.data)); more > 0 {
		if err := f.d.m.grow(f.n, make([]byte, more), f.name); err != nil {
			return 0, err
		}
	}
	return copy(f.n.data[off:], p), nil
}

func (d *disk) Truncate(name string, size int64) error {
	err := d.enter("truncate", name)
	defer d.m.mu.Unlock()
	if err != nil {
		return err
	}
	n := d.m.look(name)
	if n == nil || n.dir || size > int64(len(n.data)) {
		return notExist("truncate", name)
	}
	d.m.used -= int64(len(n.data)) - size
	n.data = n.data[:size:size]
	n.sync()
	return nil
}

func (d *disk) SyncFile(name string) error {
	err := d.enter("syncfile", name)
	defer d.m.mu.Unlock()
	if err != nil {
		return err
	}
	n := d.m.look(name)
	if n == nil || n.dir {
		return notExist("sync", name)
	}
	n.sync()
	if n.broken { // what memory held of it is forgotten
		d.m.used -= int64(len(n.data) - len(n.synced))
		n.data, n.broken = slices.Clone(n.synced), false
	}
	return nil
}

func (d *disk) Rename(from, to string) error {
	err := d.enter("rename", from)
	defer d.m.mu.Unlock()
	if err != nil {
		return err
	}
	fp, fb, err := d.m.parent(from)
	if err != nil {
		return err
	}
	tp, tb, err := d.m.parent(to)
	if err != nil {
		return err
	}
	n := fp.names[fb]
	if n == nil {
		return notExist("rename", from)
	}
	if old := tp.names[tb]; old != nil && old.dir {
		return &fs.PathError{Op: "rename", Path: to, Err: fs.ErrExist}
	} else if old != nil {
		d.m.used -= int64(len(old.data))
	}
	d.m.change(change{from: fp, fromName: fb, to: tp, toName: tb, n: n})
	return nil
}

func (d *disk) RemoveAll(name string) error {
	err := d.enter("remove", name)
	defer d.m.mu.Unlock()
	if err != nil {
		return err
	}
	p, base, err := d.m.parent(name)
	if err != nil || p.names[base] == nil {
		return nil
	}
	d.m.used -= p.names[base].size()
	d.m.change(change{from: p, fromName: base})
	return nil
}

func (n *node) size() int64 {
	total := int64(len(n.data))
	for _, c := range n.names {
		total += c.size()
	}
	return total
}

func (d *disk) SyncDir(dir string) error {
	err := d.enter("syncdir", dir)
	defer d.m.mu.Unlock()
	if err != nil {
		return err
	}
	n := d.m.look(dir)
	if n == nil {
		return notExist("sync", dir)
	}
	d.m.ops = slices.DeleteFunc(d.m.ops, func(c change) bool {
		if c.from != n && c.to != n {
			return false
		}
		c.apply(func(n *node) map[string]*node { return n.durable })
		return true
	})
	return nil
}

func (d *disk) Lock(name, hint string) (io.Closer, error) {
	err := d.enter("lock", name)
	defer d.m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if held, ok := d.m.locks[name]; ok {
		return nil, fmt.Errorf("%w: %s is held by %q", spool.ErrLocked, name, held)
	}
	d.m.locks[name] = hint
	return unlock(func() {
		d.m.mu.Lock()
		defer d.m.mu.Unlock()
		if d.life == d.m.life {
			delete(d.m.locks, name)
		}
	}), nil
}

type unlock func()

func (u unlock) Close() error { u(); return nil }

func (d *disk) OpenLog(dir string, _ int) (spool.Log, error) {
	err := d.enter("openlog", dir)
	defer d.m.mu.Unlock()
	if err != nil {
		return nil, err
	}
	p := d.m.mkdirAll(dir)
	n := &node{}
	d.m.change(change{to: p, toName: spool.SegmentName, n: n})
	return &log{d: d, n: n, name: path.Join(filepath.ToSlash(dir), spool.SegmentName)}, nil
}

type log struct {
	d    *disk
	n    *node
	name string
}

func (l *log) Append(records [][]byte) error {
	ferr := l.d.enter("append", l.name)
	defer l.d.m.mu.Unlock()
	if errors.Is(ferr, ErrDead) {
		return ferr
	}
	var b []byte
	for _, r := range records {
		b = binary.AppendUvarint(b, uint64(len(r)))
		b = append(b, r...)
	}
	if ferr != nil {
		_ = l.d.m.grow(l.n, b[:len(b)/2], l.name) // the fault itself is the result
		return ferr
	}
	return l.d.m.grow(l.n, b, l.name)
}

func (l *log) Sync() error {
	err := l.d.enter("sync", l.name)
	defer l.d.m.mu.Unlock()
	if err != nil {
		l.n.broken = l.d.life == l.d.m.life
		return err
	}
	if l.n.broken { // the same error, told to whoever synced beside it
		return syscall.EIO
	}
	l.n.sync()
	return nil
}

func (l *log) Close() error {
	err := l.d.enter("close", l.name)
	defer l.d.m.mu.Unlock()
	if err != nil {
		return err
	}
	l.n.sync()
	return nil
}

type file struct {
	d    *disk
	n    *node
	name string
}

func (f *file) Size() (int64, error) {
	f.d.m.mu.Lock()
	defer f.d.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	err := f.d.enter("readat", f.name)
	defer f.d.m.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Close() error { return nil }

// Change edits the bytes of a file behind the spool's back: f gets them and
// returns what stands there from now on, durably.
func (m *Machine) Change(name string, f func([]byte) []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.look(name)
	if n == nil || n.dir {
		return notExist("change", name)
	}
	m.used -= int64(len(n.data))
	n.data = f(slices.Clone(n.data))
	n.synced = slices.Clone(n.data)
	m.used += int64(len(n.data))
	return nil
}
