package spoolcmd

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/spool"
	"telemetry/wire"
)

// exporter takes what a spool holds, in the order of the lanes.
type exporter interface {
	batch(b wire.Batch) error // every batch, as it was sealed
	// rows is a block with its group and the epoch's clock. Neither is kept.
	rows(h wire.Header, g *wire.Group, at *utc, b *wire.Block) error
	end() error
}

// formats by name.
var formats = map[string]func(io.Writer) (exporter, error){
	"batches": newBatches, "candump": newCandump, "csv": newCSV, "mcap": newMCAP,
}

func exportCommand(def string) *cobra.Command {
	var format, to string
	var pending bool
	names := slices.Sorted(maps.Keys(formats))
	c := onView(&cobra.Command{
		Use:   "export",
		Short: "Write what the spool holds in a format of other tools",
		Long: "batches  sealed batches, each behind its length as uvarint (wire/FORMAT.md); with -o their catalogues beside it, as FILE.HASH.catalogue\n" +
			"candump  raw CAN frames in the log format of can-utils; only what was recorded with `raw: true`\n" +
			"csv      one value a line\n" +
			"mcap     one message a row, JSON with its schema, one channel for each group\n\n" +
			"Times are UTC where the epoch has a time anchor, else ns since boot.",
	}, def, wantsKeys, func(c *cobra.Command, dir string, keys spool.KeyBox) error {
		return export(dir, keys, format, to, pending, c.OutOrStdout())
	})
	c.Flags().StringVarP(&format, "format", "f", "csv", strings.Join(names, ", "))
	c.Flags().StringVarP(&to, "output", "o", "", "file to write (default standard output); it must not exist")
	c.Flags().BoolVar(&pending, "pending", false, "only what was not delivered yet, as the last cursor knows")
	return c
}

func export(dir string, keys spool.KeyBox, format, to string, pending bool, stdout io.Writer) (err error) {
	open := formats[format]
	if open == nil {
		return cli.Usage(fmt.Errorf("--format: %q is no format (want %s)", format, strings.Join(slices.Sorted(maps.Keys(formats)), ", ")))
	}
	v, err := spool.OpenView(dir, nil)
	if err != nil {
		return err
	}
	v.Use(keys)
	out := stdout
	if to != "" {
		mode := os.FileMode(0o644)
		if keys != nil { // what was encrypted stands there in the clear
			mode = 0o600
		}
		f, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_EXCL, mode)
		if err != nil {
			return fmt.Errorf("spool: export: %w", err)
		}
		defer func() { err = errors.Join(err, f.Close()) }()
		out = f
	}
	if err := exportTo(out, v, open, pending, to); err != nil {
		if to != "" {
			err = fmt.Errorf("%w; %s is not whole: remove it before the next try", err, to)
		}
		return fmt.Errorf("spool: export: %w", err)
	}
	return locked(v)
}

// exportTo writes what v shows to out, which is the file to unless that is empty.
func exportTo(out io.Writer, v *spool.View, open func(io.Writer) (exporter, error), pending bool, to string) error {
	buf := bufio.NewWriterSize(out, 1<<20)
	e, err := open(buf)
	if err != nil {
		return err
	}
	w := &walk{v: v, to: e, pending: pending, cats: map[wire.CatalogueHash]*wire.Catalogue{}, clocks: map[wire.Epoch]*utc{}}
	if err := w.run(); err != nil {
		return err
	}
	if _, verbatim := e.(*batches); verbatim && to != "" {
		if err := w.catalogues(to); err != nil {
			return err
		}
	}
	return errors.Join(e.end(), buf.Flush())
}

// catalogues writes the catalogues of what was exported beside the file: batches alone
// do not say what is in them.
func (w *walk) catalogues(to string) error {
	st, err := os.Stat(to)
	if err != nil {
		return err
	}
	for hash := range w.cats {
		b, err := w.v.Catalogue(hash)
		if err == nil {
			err = os.WriteFile(to+"."+hash.String()+".catalogue", b, st.Mode().Perm())
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walk feeds an exporter.
type walk struct {
	v       *spool.View
	to      exporter
	pending bool
	cats    map[wire.CatalogueHash]*wire.Catalogue
	clocks  map[wire.Epoch]*utc
	opener  wire.Opener
	block   wire.Block
}

// run reads the critical lane first: it has the anchors.
func (w *walk) run() error {
	if err := w.v.Each(wire.LaneCritical, w.anchors); err != nil {
		return err
	}
	w.v.Locked = 0 // they come again
	return eachLane(w.v, "", w.batch)
}

func (w *walk) clock(e wire.Epoch) *utc {
	if w.clocks[e] == nil {
		w.clocks[e] = &utc{}
	}
	return w.clocks[e]
}

func (w *walk) anchors(b wire.Batch) error {
	payload, err := w.opener.Payload(b)
	if err != nil {
		return err
	}
	cs, err := wire.Controls(payload)
	if err != nil {
		return nil // what a newer version wrote has no anchor for us
	}
	for _, c := range cs {
		if c.Anchor != nil {
			w.clock(b.Header.Stream.Epoch).add(*c.Anchor)
		}
	}
	return nil
}

func (w *walk) batch(b wire.Batch) error {
	h := b.Header
	if w.pending && w.v.Settled(h.ID()) {
		return nil
	}
	if err := w.to.batch(b); err != nil {
		return err
	}
	payload, err := w.opener.Payload(b)
	if err != nil {
		return fmt.Errorf("batch %s: %w", h.ID(), err)
	}
	for len(payload) > 0 {
		s, n, err := wire.NextSection(payload)
		if err != nil {
			return fmt.Errorf("batch %s: %w", h.ID(), err)
		}
		payload = payload[n:]
		if s.Type != wire.SectionBlock {
			continue
		}
		if err := w.section(h, s.Body); err != nil {
			return fmt.Errorf("batch %s: %w", h.ID(), err)
		}
	}
	return nil
}

func (w *walk) section(h wire.Header, body []byte) error {
	cat, err := w.catalogue(h.Catalogue)
	if err != nil {
		return err
	}
	if err := wire.ParseBlock(body, &w.block); err != nil {
		return err
	}
	b := &w.block
	if int(b.Group) >= len(cat.Groups) {
		return fmt.Errorf("group %d is not in the catalogue", b.Group)
	}
	g := &cat.Groups[b.Group]
	if int(b.FirstColumn)+len(b.Columns) > len(g.Channels) {
		return fmt.Errorf("column %d of group %s is not in the catalogue", int(b.FirstColumn)+len(b.Columns)-1, g.Name)
	}
	return w.to.rows(h, g, w.clock(h.Stream.Epoch), b)
}

func (w *walk) catalogue(hash wire.CatalogueHash) (*wire.Catalogue, error) {
	if c := w.cats[hash]; c != nil {
		return c, nil
	}
	b, err := w.v.Catalogue(hash)
	if err != nil {
		return nil, err
	}
	c, err := wire.ParseCatalogue(b)
	if err != nil {
		return nil, err
	}
	w.cats[hash] = c
	return c, nil
}

// batches is the format of the spool's own segment files.
type batches struct{ w io.Writer }

func newBatches(w io.Writer) (exporter, error) { return &batches{w}, nil }

func (e *batches) batch(b wire.Batch) error {
	if _, err := e.w.Write(binary.AppendUvarint(nil, uint64(len(b.Raw)))); err != nil {
		return err
	}
	_, err := e.w.Write(b.Raw)
	return err
}

func (e *batches) rows(wire.Header, *wire.Group, *utc, *wire.Block) error { return nil }
func (e *batches) end() error                                             { return nil }
