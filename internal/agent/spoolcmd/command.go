// Package spoolcmd is `edgeagent spool`: it looks into a spool, checks it, gives its
// data out in formats of other tools, and repairs it. The entry point is [New].
//
// ls, verify, cat and export take no lock and write nothing to the spool, so that
// the one of a running agent can be looked at. repair and prune refuse it.
package spoolcmd

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/internal/clock"
	"telemetry/internal/config"
	"telemetry/spool"
	"telemetry/spool/atrest"
	"telemetry/wire"
)

// lanes that stand on disk, most important first.
var lanes = [...]wire.Lane{wire.LaneCritical, wire.LaneFull}

// New returns the command tree. defaultConfig is where the configuration usually
// stands, which names the spool when no folder is given.
func New(defaultConfig string) *cobra.Command {
	c := &cobra.Command{Use: "spool", Short: "Look into a spool, check, export or repair it"}
	c.AddCommand(lsCommand(defaultConfig), verifyCommand(defaultConfig), catCommand(defaultConfig),
		exportCommand(defaultConfig), repairCommand(defaultConfig), pruneCommand(defaultConfig), keygenCommand())
	return c
}

// onSpool makes a command whose one argument is a spool's folder; without it the
// configuration says which.
func onSpool(c *cobra.Command, def string, run func(c *cobra.Command, dir string) error) *cobra.Command {
	return onView(c, def, needsNone, func(c *cobra.Command, dir string, _ spool.KeyBox) error { return run(c, dir) })
}

// need says what a command does with keys.
type need int

const (
	needsNone need = iota
	likesKeys      // it works without, and says less
	wantsKeys
)

// onView is onSpool for a command that reads batches: keys opens what is encrypted.
func onView(c *cobra.Command, def string, needs need, run func(c *cobra.Command, dir string, keys spool.KeyBox) error) *cobra.Command {
	var path, identity string
	cli.ConfigFlag(c, &path, def)
	if needs != needsNone {
		c.Flags().StringVar(&identity, "identity", "", "age identity file that opens an encrypted spool (default: the configuration's, without DIR)")
	}
	c.Use += " [DIR]"
	c.Args = cobra.MaximumNArgs(1)
	c.RunE = func(c *cobra.Command, args []string) error {
		dir, optional := "", false
		if len(args) == 1 {
			dir = args[0]
		} else {
			cfg, err := config.ReadAgent(path)
			if err != nil {
				return err
			}
			dir = cfg.Spool.Dir
			if e := cfg.Spool.Encrypt; e != nil && identity == "" && needs != needsNone {
				identity, optional = e.Identity, needs == likesKeys
			}
		}
		if identity == "" {
			return run(c, dir, nil)
		}
		keys, err := atrest.Load(identity, nil)
		if err != nil && optional {
			if _, err := fmt.Fprintf(c.ErrOrStderr(), "without the configured identity: %v\n", err); err != nil {
				return err
			}
			return run(c, dir, nil)
		}
		if err != nil {
			return fmt.Errorf("spool: --identity: %w", err)
		}
		return run(c, dir, keys)
	}
	return c
}

// locked is the error of a command that had to leave out what is encrypted.
func locked(v *spool.View) error {
	if v.Locked == 0 {
		return nil
	}
	return fmt.Errorf("spool: %s: %d batches are encrypted and were left out: give --identity with an age identity of the box or of a recipient: %w", v.Dir, v.Locked, spool.ErrNoKey)
}

// chunkLine is what ls and verify say of a chunk.
type chunkLine struct {
	Lane    string   `json:"lane"`
	Chunk   uint64   `json:"chunk"`
	Bytes   int64    `json:"bytes"`
	Batches int      `json:"batches"`
	Pending int      `json:"pending"` // neither delivered nor reported, as the last cursor knows
	First   string   `json:"first,omitempty"`
	Last    string   `json:"last,omitempty"`
	Faults  []string `json:"faults,omitempty"`
	AtRest  int      `json:"encrypted,omitempty"` // of batches, encrypted ones
	Locked  int      `json:"locked,omitempty"`    // of them, those that no key at hand opens: their checksums are right
	Open    bool     `json:"open,omitempty"`      // being written: its end is no fault
}

// listing is what ls and verify print.
type listing struct {
	Dir        string      `json:"dir"`
	Car        string      `json:"car"`
	Epoch      string      `json:"epoch"`
	InUse      bool        `json:"in_use"`
	CursorLost bool        `json:"cursor_lost"`
	Chunks     []chunkLine `json:"chunks"`
	Faults     int         `json:"faults"`
}

func list(dir string, deep bool, keys spool.KeyBox) (*listing, error) {
	v, err := spool.OpenView(dir, nil)
	if err != nil {
		return nil, err
	}
	v.Use(keys)
	l := &listing{Dir: dir, Car: v.Car, Epoch: v.Epoch.String(), CursorLost: v.CursorLost, InUse: spool.InUse(dir)}
	for _, lane := range lanes {
		cs, err := v.Chunks(lane)
		if err != nil {
			return nil, err
		}
		for _, c := range cs {
			rep, err := v.Report(c, deep)
			if errors.Is(err, fs.ErrNotExist) {
				continue // settled meanwhile
			}
			line := describe(v, c, &rep)
			line.Open = l.InUse && c.Last
			if err != nil {
				line.Faults = append(line.Faults, err.Error())
			}
			if !line.Open {
				line.Faults = append(line.Faults, tailFault(&rep)...)
			}
			l.Faults += len(line.Faults)
			l.Chunks = append(l.Chunks, line)
		}
	}
	return l, nil
}

func describe(v *spool.View, c spool.ChunkView, rep *spool.ChunkReport) chunkLine {
	line := chunkLine{Lane: c.Lane.String(), Chunk: c.No, Bytes: c.Bytes, Batches: len(rep.Headers), AtRest: rep.AtRest, Locked: rep.Locked}
	for i, h := range rep.Headers {
		if i == 0 {
			line.First = short(h.ID())
		}
		line.Last = short(h.ID())
		if !v.Settled(h.ID()) {
			line.Pending++
		}
		if h.Stream.Car != v.Car && v.Car != "" || h.Stream.Lane != c.Lane {
			line.Faults = append(line.Faults, "foreign batch "+h.ID().String())
		}
	}
	for _, id := range rep.Damaged {
		line.Faults = append(line.Faults, "damaged batch "+short(id))
	}
	for _, h := range rep.Holes {
		line.Faults = append(line.Faults, fmt.Sprintf("damaged bytes %d to %d", h[0], h[1]-1))
	}
	for _, name := range rep.Foreign {
		line.Faults = append(line.Faults, "foreign name "+name)
	}
	return line
}

func tailFault(rep *spool.ChunkReport) []string {
	if rep.Tail == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d bytes behind the last whole batch", rep.Tail)}
}

// short is "counter-nonce#seq".
func short(id wire.ID) string { return fmt.Sprintf("%s#%d", id.Stream.Epoch, id.Seq) }

func lsCommand(def string) *cobra.Command {
	var asJSON bool
	c := onView(&cobra.Command{Use: "ls", Short: "List chunks and what waits in them"}, def, likesKeys, func(c *cobra.Command, dir string, keys spool.KeyBox) error {
		l, err := list(dir, false, keys)
		if err != nil {
			return err
		}
		if asJSON {
			return cli.WriteJSON(c.OutOrStdout(), l)
		}
		w := tabwriter.NewWriter(c.OutOrStdout(), 0, 8, 2, ' ', 0)
		fmt.Fprintf(w, "car %s\tepoch %s\tin use %v\n\nCHUNK\tBYTES\tBATCHES\tPENDING\tENCRYPTED\tLOCKED\tFIRST\tLAST\n", l.Car, l.Epoch, l.InUse)
		for _, x := range l.Chunks {
			fmt.Fprintf(w, "%s/%010d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\n", x.Lane, x.Chunk, x.Bytes, x.Batches, x.Pending, x.AtRest, x.Locked, x.First, x.Last)
		}
		return w.Flush()
	})
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

func verifyCommand(def string) *cobra.Command {
	var asJSON bool
	c := onView(&cobra.Command{
		Use:   "verify",
		Short: "Read everything and check every checksum; exit code 1 for damage",
		Long:  "Of encrypted batches that a key at hand opens, verify finds changes that the checksums do not show.",
	}, def, likesKeys, func(c *cobra.Command, dir string, keys spool.KeyBox) error {
		l, err := list(dir, true, keys)
		if err != nil {
			return err
		}
		if asJSON {
			err = cli.WriteJSON(c.OutOrStdout(), l)
		} else {
			err = printVerified(c, l)
		}
		if err == nil && l.Faults > 0 {
			err = fmt.Errorf("spool: %s: %d faults: the next start of the agent, or `edgeagent spool repair`, mends what can be mended", dir, l.Faults)
		}
		return err
	})
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

func printVerified(c *cobra.Command, l *listing) error {
	batches, locked := 0, 0
	for _, x := range l.Chunks {
		batches += x.Batches
		locked += x.Locked
		for _, f := range x.Faults {
			if _, err := fmt.Fprintf(c.OutOrStdout(), "%s/%010d: %s\n", x.Lane, x.Chunk, f); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintf(c.OutOrStdout(), "%d batches in %d chunks, %d faults\n", batches, len(l.Chunks), l.Faults)
	if err == nil && locked > 0 {
		_, err = fmt.Fprintf(c.OutOrStdout(), "%d of them are encrypted, and no key at hand opens them: only their checksums were looked at\n", locked)
	}
	return err
}

// offline is the configuration to mend a spool: only the folder and the car matter.
func offline(c *cobra.Command, dir string) (spool.Config, error) {
	v, err := spool.OpenView(dir, nil)
	if err != nil {
		return spool.Config{}, err
	}
	if v.Car == "" {
		return spool.Config{}, fmt.Errorf("spool: %s: the epoch file cannot be read, only a start of the agent can mend this", dir)
	}
	log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
	return spool.Config{Dir: dir, Car: v.Car, Clock: clock.System{}, Log: log, QuotaBytes: 1 << 50}, nil
}

func repairCommand(def string) *cobra.Command {
	return onSpool(&cobra.Command{
		Use:   "repair",
		Short: "Cut torn tails, rewrite damaged chunks; refused while an agent uses the spool",
		Long: "Does what the next start of the agent would do, without opening an epoch. What is replaced goes to quarantine.\n" +
			"What is lost is reported by the next start.",
	}, def, func(c *cobra.Command, dir string) error {
		cfg, err := offline(c, dir)
		if err != nil {
			return err
		}
		rep, err := spool.Repair(cfg)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%d chunks: %d tails cut, %d rewritten, %d quarantined; %d batches wait, %d lost\n",
			rep.Chunks, rep.TornTails, rep.Salvaged, rep.Quarantined, rep.Batches, rep.LostBatches)
		if err == nil && rep.RepairFailures > 0 {
			err = fmt.Errorf("spool: %d chunks could not be mended: see above", rep.RepairFailures)
		}
		return err
	})
}

func pruneCommand(def string) *cobra.Command {
	var quarantine bool
	c := onSpool(&cobra.Command{
		Use:   "prune",
		Short: "Delete what nothing waits for; refused while an agent uses the spool",
		Long:  "Deletes chunks in which everything was delivered or reported. It never deletes a batch that still waits: that is the quota's part.",
	}, def, func(c *cobra.Command, dir string) error {
		cfg, err := offline(c, dir)
		if err != nil {
			return err
		}
		rep, err := spool.Prune(cfg, quarantine)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(c.OutOrStdout(), "%d chunks of %d bytes deleted, %d bytes of quarantine\n", rep.Chunks, rep.Bytes, rep.Quarantined)
		return err
	})
	c.Flags().BoolVar(&quarantine, "quarantine", false, "delete the damaged data that was kept for people too")
	return c
}
