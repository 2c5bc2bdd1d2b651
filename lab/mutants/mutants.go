// Package mutants breaks the code on purpose, one fault at a time, and looks
// whether the simulation or a test notices.
//
// The entry point is [Run]; [All] lists the faults. Each is laid over the sources
// by the go command's overlay, so that the tree itself is never touched.
//
// It never counts a fault as caught because it does not compile.
package mutants

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"telemetry/lab/simulate/drive"
)

// Mutant is one deliberate fault.
type Mutant struct {
	Name  string // what is wrong
	Edits []Edit
	// Test is a package and a pattern of tests, as arguments of go test, for faults
	// that the simulation does not meet, or not within a few seeds. Empty: the
	// simulation must catch it.
	Test []string
}

// Edit replaces the only occurrence of a text in a file of the module.
type Edit struct{ File, Old, New string }

// Config says how to look for them.
type Config struct {
	Root  string // of the module
	Seeds int    // most of them that one mutant gets
	Only  string // part of a name: only those
	Out   io.Writer
}

// Summary is the last line, as JSON.
type Summary struct {
	Mutants int      `json:"mutants"`
	Caught  int      `json:"caught"`
	Missed  []string `json:"missed,omitempty"`
}

// ErrMissed says that something broken was not noticed.
var ErrMissed = errors.New("mutants: not all were caught")

// Run breaks the code in every way that All lists.
func Run(ctx context.Context, cfg Config) (*Summary, error) {
	dir, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return nil, fmt.Errorf("mutants: %w", err)
	}
	defer os.RemoveAll(dir)
	sum := &Summary{}
	for _, m := range All() {
		if !strings.Contains(m.Name, cfg.Only) {
			continue
		}
		by, err := try(ctx, cfg, dir, &m)
		if ctx.Err() != nil {
			return sum, ctx.Err()
		}
		sum.Mutants++
		if err != nil {
			sum.Missed = append(sum.Missed, m.Name)
			fmt.Fprintf(cfg.Out, "BROKEN  %s: %v\n", m.Name, err)
			continue
		}
		if by == "" {
			sum.Missed = append(sum.Missed, m.Name)
			fmt.Fprintf(cfg.Out, "MISSED  %s\n", m.Name)
			continue
		}
		sum.Caught++
		fmt.Fprintf(cfg.Out, "caught  %s: by %s\n", m.Name, by)
	}
	line, err := json.Marshal(sum)
	if err != nil {
		return sum, fmt.Errorf("mutants: %w", err)
	}
	fmt.Fprintf(cfg.Out, "%s\n", line)
	if len(sum.Missed) > 0 {
		return sum, ErrMissed
	}
	return sum, nil
}

// try breaks the code in one way and returns what noticed it, "" if nothing did.
func try(ctx context.Context, cfg Config, dir string, m *Mutant) (string, error) {
	overlay, err := lay(cfg.Root, dir, m)
	if err != nil {
		return "", err
	}
	if len(m.Test) > 0 {
		return byTest(ctx, cfg.Root, overlay, m.Test)
	}
	bin := filepath.Join(dir, "simulate.test")
	if err := drive.Build(ctx, bin, "-overlay", overlay); err != nil {
		return "", err
	}
	var out bytes.Buffer
	sum, err := drive.RunBinary(ctx, drive.Config{First: 1, Seeds: cfg.Seeds, Fast: true, Out: &out}, bin)
	if err != nil && !errors.Is(err, drive.ErrFailed) {
		return "", err
	}
	if len(sum.Failed) == 0 {
		return "", nil
	}
	rule := ""
	if found := violation.FindStringSubmatch(out.String()); found != nil {
		rule = found[1]
	}
	return fmt.Sprintf("seed %d (%s)", sum.Failed[0], rule), nil
}

var violation = regexp.MustCompile(`FAILED[^\n]*\n  ([^\n]{0,160})`)

// failed is what a test says that has failed, rather than not compiled.
var failed = regexp.MustCompile(`--- FAIL: (\w+)|panic: |fatal error: `)

// byTest runs named tests.
func byTest(ctx context.Context, root, overlay string, args []string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-count=1", "-timeout", "120s", "-overlay", overlay}, args...)...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "", nil
	case !errors.As(err, &exit):
		return "", err
	}
	found := failed.FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("tests did not run: %s", out)
	}
	return fmt.Sprintf("%s of %s", found[0], args[0]), nil
}

// lay writes the changed files and the overlay that names them.
func lay(root, dir string, m *Mutant) (string, error) {
	replace := map[string]string{}
	for i, e := range m.Edits {
		name := filepath.Join(root, filepath.FromSlash(e.File))
		from := name
		if changed, ok := replace[name]; ok {
			from = changed
		}
		text, err := os.ReadFile(from)
		if err != nil {
			return "", err
		}
		if n := strings.Count(string(text), e.Old); n != 1 {
			return "", fmt.Errorf("%s has %q %d times (want once)", e.File, e.Old, n)
		}
		changed := filepath.Join(dir, fmt.Sprintf("%d-%s", i, filepath.Base(e.File)))
		if err := os.WriteFile(changed, []byte(strings.Replace(string(text), e.Old, e.New, 1)), 0o644); err != nil {
			return "", err
		}
		replace[name] = changed
	}
	b, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err != nil {
		return "", err
	}
	overlay := filepath.Join(dir, "overlay.json")
	return overlay, os.WriteFile(overlay, b, 0o644)
}

// Root finds the module's folder from the working directory.
func Root() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, serr := os.Stat(filepath.Join(dir, "go.mod")); serr == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("mutants: no go.mod above the working directory")
		}
		dir = up
	}
	return "", err
}
