// Package checkup is what both sides' doctors have in common: findings, their levels,
// and how a command shows them.
//
// The entry points are [Report], which an examination fills, and [Flags], which a
// command shows it with.
package checkup

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
)

// Level of a finding.
type Level string

// Levels.
const (
	OK   Level = "ok"
	Warn Level = "warn" // works, but not as it should
	Fail Level = "fail" // data will be missing
)

// Finding is one thing that was looked at.
type Finding struct {
	Level Level  `json:"level"`
	What  string `json:"what"`         // "link a: receiver tls://…"
	Why   string `json:"why"`          // what was seen, and why it matters
	Do    string `json:"do,omitempty"` // what to do about it
}

// Report gathers findings in the order in which they are made.
type Report struct {
	Findings []Finding
	Each     func(Finding) // told of each at once; nil: nobody
}

// Add notes a finding.
func (r *Report) Add(l Level, what, why, do string) {
	f := Finding{Level: l, What: what, Why: why, Do: do}
	r.Findings = append(r.Findings, f)
	if r.Each != nil {
		r.Each(f)
	}
}

// OK notes what is well; format says what was seen.
func (r *Report) OK(what, format string, args ...any) {
	r.Add(OK, what, fmt.Sprintf(format, args...), "")
}

// Worst returns the gravest level among findings.
func Worst(fs []Finding) Level {
	worst := OK
	for _, f := range fs {
		if f.Level == Fail || (f.Level == Warn && worst == OK) {
			worst = f.Level
		}
	}
	return worst
}

// Flags are those of a command that shows an examination.
type Flags struct {
	JSON, All bool
	Timeout   time.Duration // of one connection attempt
}

// Add gives a command the flags.
func (f *Flags) Add(c *cobra.Command) {
	c.Flags().BoolVar(&f.JSON, "json", false, "print everything as JSON")
	c.Flags().BoolVarP(&f.All, "all", "a", false, "show what is well, too")
	c.Flags().DurationVar(&f.Timeout, "timeout", 5*time.Second, "of one connection attempt")
}

// Each returns a [Report.Each] that prints a finding as it is made.
func (f *Flags) Each(out io.Writer) func(Finding) {
	return func(found Finding) {
		if f.JSON || (found.Level == OK && !f.All) {
			return
		}
		fmt.Fprintf(out, "%-4s  %s: %s\n", found.Level, found.What, found.Why)
		if found.Do != "" {
			fmt.Fprintf(out, "      → %s\n", found.Do)
		}
	}
}

// Finish prints the end of an examination, all of it if it is JSON, and returns the
// gravest level. running says whether the program that was examined runs.
func (f *Flags) Finish(out io.Writer, found []Finding, running bool) (worst Level, err error) {
	worst = Worst(found)
	if f.JSON {
		return worst, cli.WriteJSON(out, struct {
			Level    Level     `json:"level"`
			Running  bool      `json:"running"`
			Findings []Finding `json:"findings"`
		}{worst, running, found})
	}
	_, err = fmt.Fprintf(out, "%d things looked at: %s\n", len(found), worst)
	return worst, err
}
