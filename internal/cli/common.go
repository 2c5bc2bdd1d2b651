package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"telemetry/internal/config"
	"telemetry/internal/version"
)

// ConfigFlag adds --config to c, with completion of YAML files.
func ConfigFlag(c *cobra.Command, path *string, def string) {
	c.Flags().StringVarP(path, "config", "c", def, "configuration file (YAML)")
	// The flag exists: it was added the line before.
	_ = c.MarkFlagFilename("config", "yaml", "yml")
}

// VersionCommand returns the command that prints what was built.
func VersionCommand(name string) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "version",
		Short: "Print what was built",
		RunE: func(c *cobra.Command, _ []string) error {
			v := version.Get(name)
			if asJSON {
				return WriteJSON(c.OutOrStdout(), v)
			}
			_, err := fmt.Fprintln(c.OutOrStdout(), v)
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

// Validated prints the result of checking the configuration at path and returns
// err. Warnings are no reason to fail: what they name may be right where the
// configuration will run.
func Validated(out io.Writer, path string, err error, asJSON bool, warnings ...config.Fault) error {
	if asJSON {
		if warnings == nil {
			warnings = []config.Fault{}
		}
		return errors.Join(err, WriteJSON(out, map[string]any{"ok": err == nil, "file": path, "faults": faults(err), "warnings": warnings}))
	}
	for _, w := range warnings {
		if _, err := fmt.Fprintf(out, "warning: %v\n", w); err != nil {
			return err
		}
	}
	if err == nil {
		_, err = fmt.Fprintf(out, "%s: good\n", path)
	}
	return err
}

func faults(err error) []config.Fault {
	var fs config.Faults
	switch {
	case err == nil:
		return []config.Fault{}
	case errors.As(err, &fs):
		return fs
	}
	return []config.Fault{{Message: err.Error()}}
}

// WriteJSON prints v, indented.
func WriteJSON(out io.Writer, v any) error {
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
