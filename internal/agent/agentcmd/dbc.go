package agentcmd

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/sensors/dbc"
)

// errNoMessage is returned for a file that gives nothing to decode with.
var errNoMessage = errors.New("no message (BO_) in it: is it a DBC file?")

func dbcCommand() *cobra.Command {
	c := &cobra.Command{Use: "dbc", Short: "Look at CAN databases (DBC files)"}
	var asJSON bool
	lint := &cobra.Command{
		Use:   "lint FILE",
		Short: "Report every fault of a DBC file that is tolerated, with its line",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return lintDBC(args[0], asJSON, c.OutOrStdout())
		},
	}
	lint.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	c.AddCommand(lint)
	return c
}

// lintFault is one tolerated fault as JSON has it.
type lintFault struct {
	Line int    `json:"line"` // from 1; 0: the whole file
	Text string `json:"text"`
}

func readDBC(path string) (*dbc.Database, []dbc.Warning, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	db, warnings, err := dbc.Lint(f)
	if err == nil && len(db.Messages) == 0 {
		err = errNoMessage
	}
	if err != nil {
		return nil, warnings, fmt.Errorf("%s: %w", path, err)
	}
	return db, warnings, nil
}

func lintDBC(path string, asJSON bool, out io.Writer) error {
	db, warnings, err := readDBC(path)
	if asJSON {
		faults := make([]lintFault, len(warnings))
		for i, w := range warnings {
			faults[i] = lintFault(w)
		}
		result := map[string]any{"ok": err == nil, "file": path, "faults": faults}
		if err == nil {
			result["messages"], result["signals"] = len(db.Messages), countSignals(db)
		}
		return errors.Join(err, cli.WriteJSON(out, result))
	}
	for _, w := range warnings {
		at := path
		if w.Line > 0 {
			at = fmt.Sprintf("%s:%d", path, w.Line)
		}
		if _, err := fmt.Fprintf(out, "%s: %s\n", at, w.Text); err != nil {
			return err
		}
	}
	if err == nil {
		_, err = fmt.Fprintf(out, "%s: %d messages, %d signals, %d faults tolerated\n", path, len(db.Messages), countSignals(db), len(warnings))
	}
	return err
}

func countSignals(db *dbc.Database) int {
	n := 0
	for _, m := range db.Messages {
		n += len(m.Signals)
	}
	return n
}
