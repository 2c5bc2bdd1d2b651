package agentcmd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/clock"
	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/sensors/can/socketcan"
	"telemetry/wire"
)

func canCommand() *cobra.Command {
	var count uint64
	var asJSON bool
	c := &cobra.Command{
		Use:   "can INTERFACE|LOG",
		Short: "Watch a CAN interface, or read a log, as candump text; beside a running agent too",
		Example: `  edgeagent can can0
  edgeagent can lap.log.zst | grep ' can0 123#'`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			out := bufio.NewWriter(c.OutOrStdout())
			p := &canPrinter{out: out, left: count, all: count == 0, json: asJSON, bus: args[0]}
			var err error
			if _, statErr := os.Stat(args[0]); statErr == nil {
				err = p.file(c.Context(), args[0])
			} else {
				err = p.watch(c.Context(), c.ErrOrStderr())
			}
			return errors.Join(err, out.Flush())
		},
	}
	c.Flags().Uint64VarP(&count, "count", "n", 0, "end after so many frames (default never)")
	c.Flags().BoolVar(&asJSON, "json", false, "a JSON object for each frame")
	return c
}

// canPrinter prints frames as candump text.
type canPrinter struct {
	out  *bufio.Writer
	bus  string
	left uint64 // frames to print, unless all
	all  bool
	json bool
	utc  int64 // UTC less boot time, ns
	line []byte
}

// errEnough ends a watch whose frames have all been printed.
var errEnough = errors.New("enough frames")

func (p *canPrinter) print(f *can.Frame) error {
	if !p.all && p.left == 0 {
		return errEnough
	}
	p.left--
	if p.json {
		p.line = fmt.Appendf(p.line[:0], `{"ts_ns":%d,"bus":%q,"id":%d,"extended":%t,"fd":%t,"remote":%t,"error":%t,"data":"%X"}`+"\n",
			f.StampNS, f.Bus, f.ID, f.Extended, f.FD, f.RTR, f.Err, f.Data())
	} else {
		p.line = can.AppendLine(p.line[:0], f)
	}
	_, err := p.out.Write(p.line)
	return err
}

// file prints a log.
func (p *canPrinter) file(ctx context.Context, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	r, err := can.NewReader(file, can.StampAuto)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	defer r.Close()
	var f can.Frame
	for ctx.Err() == nil {
		err := r.Next(&f)
		if err == nil {
			err = p.print(&f)
		}
		switch {
		case errors.Is(err, errEnough):
			return nil
		case errors.Is(err, io.EOF):
			return p.damage(path, r.Stats())
		case err != nil:
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return ctx.Err()
}

// damage says what of a log was no frame.
func (p *canPrinter) damage(path string, s can.ReaderStats) error {
	switch {
	case s.Damage != "":
		return fmt.Errorf("%s: ends early after line %d: %s", path, s.Lines, s.Damage)
	case s.BadLines > 0:
		return fmt.Errorf("%s: %d lines are no frames; the first is line %d: %s%s", path, s.BadLines, s.Bad[0].Line, s.Bad[0].Reason, can.HowToConvert(path))
	}
	return nil
}

// watchClock is the machine's clock as a CAN interface wants it.
type watchClock struct{ clock.System }

func (c watchClock) Pair() (bootNS, utcNS int64) {
	r := c.Compare()
	return r.BootNS, r.UTCNS
}

// watch prints what comes from an interface until ctx ends.
func (p *canPrinter) watch(ctx context.Context, stderr io.Writer) error {
	c := watchClock{}
	boot, utc := c.Pair()
	p.utc = utc - boot
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	s, err := socketcan.New(socketcan.Config{Interface: p.bus, Raw: true, Listen: socketcan.ListenNever, Clock: c, Log: log})
	if err != nil {
		return cli.Usage(fmt.Errorf("%s is no file that is there, and no interface: %w", p.bus, err))
	}
	if _, err := net.InterfaceByName(p.bus); err != nil {
		fmt.Fprintf(stderr, "can: %s is neither a file nor an interface that is there now: waiting for the interface\n", p.bus)
	}
	err = s.Run(ctx, p)
	if errors.Is(err, errEnough) || ctx.Err() != nil {
		return nil
	}
	return err
}

// Append prints raw rows.
func (p *canPrinter) Append(r sensors.Rows) error {
	width := len(r.Values) / len(r.Ticks)
	row := make([]int64, width)
	for i, tick := range r.Ticks {
		for k := range row {
			row[k] = 0
			if sensors.Bit(r.Present, i*width+k) {
				row[k] = r.Values[i*width+k]
			}
		}
		f, err := can.RawFrame(row)
		if err != nil {
			return err
		}
		f.Bus, f.StampNS = p.bus, tick+p.utc
		if err := p.print(&f); err != nil {
			return err
		}
	}
	return p.out.Flush()
}

// Event prints an event as a comment, which readers of candump text pass.
func (p *canPrinter) Event(e wire.Event) error {
	if p.json {
		return nil
	}
	at := time.Unix(0, e.BootNS+p.utc).UTC().Format(time.RFC3339Nano)
	_, err := fmt.Fprintf(p.out, "# %s %s %s\n", at, e.Name, e.Detail)
	return err
}
