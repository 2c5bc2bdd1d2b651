// Package export writes tables of an archive as files of other tools: CSV, Parquet,
// Arrow and MCAP. The entry point is [New]; where the files go is an [Output]: a
// folder, or one stream.
//
// A group of channels has a clock of its own, so it is a table of its own: one file
// a group, with the columns ts_ns (ts in Arrow and Parquet), boot_ns, epoch, synced
// and a column per channel, empty where a row has no value. MCAP is one file with a
// topic per group. Values are those of Kafka, physical and to the last bit: integers
// stay integers of 64 bits, and NaN and infinities are there. A CSV says NaN without
// its payload. A value that is a double although its channel is of integers (it does
// not fit 64 bits) stands in a column of its own, <name>_double; a CSV has one column
// for both. Enumerations are numbers, their names are metadata.
//
// Memory is bounded by [MaxPending] and the output's own buffers.
package export

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"telemetry/receiver/sequence/columns"
	"telemetry/wire"
)

// Format is a file format.
type Format string

// Formats.
const (
	CSV     Format = "csv"
	Parquet Format = "parquet"
	Arrow   Format = "arrow"
	MCAP    Format = "mcap"
)

// Formats lists all formats.
func Formats() []Format { return []Format{CSV, Parquet, Arrow, MCAP} }

// ParseFormat finds a format by its name.
func ParseFormat(s string) (Format, error) {
	f := Format(s)
	if slices.Contains(Formats(), f) {
		return f, nil
	}
	return "", fmt.Errorf("%q is no format (want csv, parquet, arrow or mcap)", s)
}

// MaxPending bounds the cells that wait to be written, of all groups, 8 bytes each.
const MaxPending = 2 << 20

// chunkCells bounds the cells of one group that wait: the size of a Parquet row
// group and of an Arrow record batch.
const (
	chunkCells = 1 << 19
	mcapCells  = 1 << 16 // messages stay roughly in the order of time
)

// maxGroups bounds the groups of one export.
const maxGroups = 4096

// ErrTooWide says that there are more groups than an export takes.
var ErrTooWide = errors.New("export: too many groups")

// Options say what a file is of.
type Options struct {
	Car  string
	Name string // first part of file names
	// Units writes "name [unit]" in the head of a CSV.
	Units bool
}

// Writer writes tables. It is not safe for concurrent use.
type Writer struct {
	format  Format
	opt     Options
	out     Output
	groups  map[string]*group
	pending int // cells of all groups
	limit   int // cells of one group that may wait
	samples uint64
	mcap    *mcapFile
	names   map[string]bool // of files
}

// New returns a writer that puts its files into out.
func New(f Format, out Output, opt Options) (*Writer, error) {
	if _, err := ParseFormat(string(f)); err != nil {
		return nil, err
	}
	if opt.Name == "" {
		opt.Name = FileName(opt.Car)
	}
	w := &Writer{format: f, opt: opt, out: out, limit: chunkCells, groups: map[string]*group{}, names: map[string]bool{}}
	if f == MCAP {
		w.limit = mcapCells
	}
	return w, nil
}

// Samples returns how many values were added.
func (w *Writer) Samples() uint64 { return w.samples }

// Add takes a table; it keeps nothing of it. Tables of a group come in the order in
// which its rows shall stand.
func (w *Writer) Add(id wire.ID, t *columns.Table) error {
	g := w.groups[t.Group.Name]
	if g == nil {
		if len(w.groups) == maxGroups {
			return fmt.Errorf("%w: more than %d", ErrTooWide, maxGroups)
		}
		g = &group{name: t.Group.Name}
		w.groups[g.name] = g
	}
	if !g.joins(id, t) {
		if err := w.room(g, len(t.UTC)); err != nil {
			return err
		}
	}
	if more, meaning := g.differs(t); g.file != nil && (more || meaning) || g.rows() > 0 && meaning {
		if err := w.end(g); err != nil {
			return err
		}
	}
	before := g.cells()
	g.learn(t)
	w.samples += g.add(id, t)
	w.pending += g.cells() - before
	return nil
}

// room writes what waits where rows more of a group would be too much.
func (w *Writer) room(g *group, rows int) error {
	more := rows * max(1, len(g.fields))
	if g.rows() > 0 && g.cells()+more > w.limit {
		if err := w.flush(g); err != nil {
			return err
		}
	}
	for w.pending > 0 && w.pending+more > MaxPending {
		if err := w.flush(w.largest()); err != nil {
			return err
		}
	}
	return nil
}

// largest returns the group of which most waits.
func (w *Writer) largest() *group {
	var most *group
	for _, name := range slices.Sorted(maps.Keys(w.groups)) {
		if g := w.groups[name]; most == nil || g.cells() > most.cells() {
			most = g
		}
	}
	return most
}

// flush writes what waits of a group.
func (w *Writer) flush(g *group) error {
	if g.rows() == 0 {
		return nil
	}
	if g.file == nil {
		if err := w.begin(g); err != nil {
			return err
		}
	}
	w.pending -= g.cells()
	if err := g.file.write(g); err != nil {
		return fmt.Errorf("export: group %q: %w", g.name, err)
	}
	g.reset()
	return w.relieve()
}

// begin opens the next file of a group.
func (w *Writer) begin(g *group) error {
	if w.format == MCAP {
		if w.mcap == nil {
			f, err := w.out.Single(w.opt.Name + ".mcap")
			if err != nil {
				return err
			}
			if w.mcap, err = newMCAP(f, w.opt); err != nil {
				return err
			}
		}
		var err error
		g.file, err = w.mcap.group(g)
		return err
	}
	g.parts++
	f, err := w.out.Create(w.fileName(g))
	if err != nil {
		return err
	}
	g.open = f
	switch w.format {
	case Parquet:
		g.file, err = newParquet(f, g, w.opt)
	case Arrow:
		g.file, err = newArrow(f, g, w.opt)
	default:
		g.file = newCSV(f, w.opt)
	}
	return err
}

// relieve ends the files that stand in memory, largest first, until the output is
// within its budget.
func (w *Writer) relieve() error {
	budget := w.out.Budget()
	for budget > 0 {
		var most *group
		sum := 0
		for _, g := range w.groups {
			if g.open == nil {
				continue
			}
			sum += g.open.Len()
			if most == nil || g.open.Len() > most.open.Len() || g.open.Len() == most.open.Len() && g.name < most.name {
				most = g
			}
		}
		if sum <= budget {
			return nil
		}
		if err := w.end(most); err != nil {
			return err
		}
	}
	return nil
}

// end writes what waits of a group and ends its file; a later row begins another.
func (w *Writer) end(g *group) error {
	if err := w.flush(g); err != nil {
		return err
	}
	if g.file == nil {
		return nil
	}
	f, open := g.file, g.open
	g.file, g.open = nil, nil
	if err := f.close(); err != nil {
		return fmt.Errorf("export: group %q: %w", g.name, err)
	}
	if open == nil {
		return nil
	}
	return open.Close()
}

// Close writes what waits and ends all files. Without a row nothing is made, and
// [ErrEmpty] says so.
func (w *Writer) Close() error {
	names := slices.Sorted(maps.Keys(w.groups))
	for _, name := range names {
		if err := w.end(w.groups[name]); err != nil {
			return err
		}
	}
	if w.samples == 0 {
		return ErrEmpty
	}
	if w.mcap != nil {
		if err := w.mcap.close(); err != nil {
			return err
		}
		return w.out.Finish(w.opt.Name, nil)
	}
	return w.out.Finish(w.opt.Name, w.index(names))
}

// ErrEmpty says that there is nothing in what was asked for.
var ErrEmpty = errors.New("export: there is no value of these channels in that time")

// fileName returns the name of a group's next file, told from those of others.
func (w *Writer) fileName(g *group) string {
	base := FileName(g.name)
	for w.names[strings.ToLower(base)] && g.parts == 1 {
		base += "_"
	}
	if g.parts == 1 {
		w.names[strings.ToLower(base)] = true
		g.base = base
		return base + "." + string(w.format)
	}
	return fmt.Sprintf("%s.part%d.%s", g.base, g.parts, w.format)
}

// FileName makes a name that every file system takes of a name.
func FileName(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(`/\:*?"<>|`, r) {
			return '_'
		}
		return r
	}, columns.Text(name))
	if strings.Trim(name, ". ") == "" || strings.HasPrefix(name, ".") {
		name = "_" + strings.TrimLeft(name, ".")
	}
	if r := []rune(name); len(r) > 60 {
		name = string(r[:60])
	}
	return name
}
