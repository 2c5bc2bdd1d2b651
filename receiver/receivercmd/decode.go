package receivercmd

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/receiver/kafka"
	"telemetry/receiver/rawcan"
	"telemetry/receiver/topic"
	"telemetry/sensors/can"
	"telemetry/sensors/dbc"
	"telemetry/wire"
)

// decodeOptions are the flags of decode.
type decodeOptions struct {
	dbc        []string // [interface=]file
	batches    string
	brokers    []string
	prefix     string
	car        string
	interfaces []string
}

func decodeCommand() *cobra.Command {
	var o decodeOptions
	c := &cobra.Command{
		Use:   "decode --dbc [INTERFACE=]FILE… (--brokers HOST:PORT | --batches FILE)",
		Short: "Decode recorded raw CAN frames with a DBC of today, as lines of JSON",
		Long: "Reads what cars recorded with `raw: true`, from the batches topic of a cluster up to its present end, or from a file that\n" +
			"`edgeagent spool export -f batches` wrote (- is standard input), and prints the rows that the car would have sent with these DBC files:\n" +
			"one JSON object a line, as in the samples topic. Batches that are there twice are decoded once. What was read stands on standard error.\n\n" +
			"A DBC without an interface is for the first one that frames come from. A file lacks the car's catalogue: --interfaces names the interfaces\n" +
			"of its raw groups, in the order in which they first appear.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return decode(c.Context(), &o, c.OutOrStdout(), c.ErrOrStderr())
		},
	}
	f := c.Flags()
	f.StringArrayVar(&o.dbc, "dbc", nil, "DBC file, for one interface or the first; may be given several times, the first one that knows an id decodes it")
	f.StringVar(&o.batches, "batches", "", "file of batches instead of a cluster")
	f.StringSliceVar(&o.brokers, "brokers", nil, "some brokers of the cluster")
	f.StringVar(&o.prefix, "prefix", topic.DefaultPrefix, "first part of the topics' names")
	f.StringVar(&o.car, "car", "", "only this car")
	f.StringSliceVar(&o.interfaces, "interfaces", nil, "interfaces of the raw groups of a file (default can0,can1,…)")
	return c
}

func decode(ctx context.Context, o *decodeOptions, stdout, stderr io.Writer) error {
	switch {
	case len(o.dbc) == 0:
		return cli.Usage(errors.New("no database (want --dbc FILE)"))
	case (o.batches == "") == (len(o.brokers) == 0):
		return cli.Usage(errors.New("want one of --batches and --brokers"))
	}
	buses, err := readBuses(o.dbc, stderr)
	if err != nil {
		return err
	}
	p := &decodePrinter{cfg: rawcan.Config{Buses: buses, Car: o.car, Interfaces: o.interfaces}, out: bufio.NewWriterSize(stdout, 64<<10), log: stderr}
	if o.batches != "" {
		err = p.file(ctx, o.batches)
	} else {
		err = p.topic(ctx, o)
	}
	if err = errors.Join(err, p.out.Flush()); err != nil {
		return err
	}
	s := p.dec.Stats()
	fmt.Fprintf(stderr, "%d batches (%d more were copies), %d frames, %d of ids that no DBC has, %d rows\n", s.Batches, s.Duplicates, s.Frames, s.Unknown, s.Rows)
	switch {
	case p.bad > 0:
		return fmt.Errorf("%d batches could not be decoded", p.bad)
	case s.Frames == 0:
		return errors.New("there are no raw CAN frames: set `raw: true` at the source to record them")
	}
	return nil
}

// readBuses reads DBC files by interface, in the order of the flags.
func readBuses(flags []string, stderr io.Writer) ([]can.Bus, error) {
	var buses []can.Bus
	at := map[string]int{}
	for _, f := range flags {
		iface, path, named := strings.Cut(f, "=")
		if !named {
			iface, path = "", f
		}
		db, err := readDBC(path, stderr)
		if err != nil {
			return nil, err
		}
		i, ok := at[iface]
		if !ok {
			i = len(buses)
			at[iface] = i
			buses = append(buses, can.Bus{Name: iface})
		}
		buses[i].Databases = append(buses[i].Databases, db)
	}
	return buses, nil
}

func readDBC(path string, stderr io.Writer) (*dbc.Database, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	file, warnings, err := dbc.Parse(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	db, more := dbc.Compile(file)
	if n := len(warnings) + len(more); n > 0 {
		fmt.Fprintf(stderr, "%s: %d faults tolerated (edgeagent dbc lint names them)\n", path, n)
	}
	if len(db.Messages) == 0 {
		return nil, fmt.Errorf("%s: no message (BO_) in it: is it a DBC file?", path)
	}
	return db, nil
}

// decodePrinter decodes batches onto a stream of lines.
type decodePrinter struct {
	cfg rawcan.Config
	dec *rawcan.Decoder
	out *bufio.Writer
	log io.Writer
	bad uint64 // batches that could not be decoded
	err error  // of out
}

func (p *decodePrinter) row(line []byte) error {
	if _, p.err = p.out.Write(line); p.err == nil {
		p.err = p.out.WriteByte('\n')
	}
	return p.err
}

// maxNamed is how many batches that are not whole are named.
const maxNamed = 20

// batch decodes one batch. One that is not whole is named and passed.
func (p *decodePrinter) batch(value []byte, appendMS int64) error {
	if err := p.dec.Batch(value, appendMS, p.row); err != nil && p.err == nil {
		if p.bad++; p.bad <= maxNamed {
			_, err = fmt.Fprintln(p.log, err)
		} else if err = nil; p.bad == maxNamed+1 {
			_, err = fmt.Fprintln(p.log, "… further ones are only counted")
		}
		return err
	}
	return p.err
}

// file reads batches, each behind its length as uvarint.
func (p *decodePrinter) file(ctx context.Context, path string) (err error) {
	if p.dec, err = rawcan.New(p.cfg); err != nil {
		return err
	}
	in := os.Stdin
	if path != "-" {
		if in, err = os.Open(path); err != nil {
			return err
		}
		defer in.Close()
	}
	r := bufio.NewReaderSize(in, 1<<20)
	var buf []byte
	for n := 1; ctx.Err() == nil; n++ {
		size, err := binary.ReadUvarint(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil && size > wire.MaxPayload+maxEnvelope {
			err = fmt.Errorf("%d bytes: is it what `edgeagent spool export -f batches` wrote?", size)
		}
		if err == nil {
			buf = append(buf[:0], make([]byte, size)...)
			_, err = io.ReadFull(r, buf)
		}
		if err == nil {
			err = p.batch(buf, 0)
		}
		if err != nil {
			return fmt.Errorf("%s: batch %d: %w", path, n, err)
		}
	}
	return ctx.Err()
}

// maxEnvelope bounds what stands before a batch's payload.
const maxEnvelope = 256

// topic reads the batches topic up to its present end.
func (p *decodePrinter) topic(ctx context.Context, o *decodeOptions) error {
	c, err := kafka.Open(ctx, kafka.Config{
		Brokers: o.brokers, Prefix: o.prefix, AllowWeak: true, Log: slog.New(slog.DiscardHandler),
		Teller: kafka.NewTeller(func(text string) { fmt.Fprintf(p.log, "decode: %s\n", text) }),
	})
	if err != nil {
		return err
	}
	cats := c.Catalogues()
	p.cfg.Catalogue = func(h wire.CatalogueHash) ([]byte, bool, error) { return cats.Get(ctx, h) }
	if p.dec, err = rawcan.New(p.cfg); err != nil {
		return errors.Join(err, c.Close())
	}
	_, err = c.Read(ctx, c.Names().Batches, nil, func(r topic.Record) error {
		if len(r.Value) == 0 {
			return nil // a tick, or a word of the operator
		}
		return p.batch(r.Value, r.TimestampMS)
	})
	return errors.Join(err, c.Close())
}
