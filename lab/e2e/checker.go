package e2e

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
)

// Checker runs a script that compares what is in Kafka with what was played. It
// is told what to do in a file of JSON, prints its findings as one JSON object,
// and ends with 1 when something differs.
type Checker struct {
	Name     string // of the run, in errors
	Python   string
	Script   string
	Dir      string    // folder of this run: the job is written there
	Progress io.Writer // what the script says to people
}

// run runs the script and returns its standard output.
func (c *Checker) run(ctx context.Context, job any, args ...string) ([]byte, error) {
	b, err := json.Marshal(job)
	if err != nil {
		return nil, fmt.Errorf("%s: job: %w", c.Name, err)
	}
	path := filepath.Join(c.Dir, "job.json")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return nil, fmt.Errorf("%s: job: %w", c.Name, err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, c.Python, append([]string{"-B", c.Script, "--job", path}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, c.Progress
	err = cmd.Run()
	return out.Bytes(), err
}

// Decode has cantools decode the log, so that a DBC that it cannot read is told
// before anything is played.
func (c *Checker) Decode(ctx context.Context, job any) error {
	if _, err := c.run(ctx, job, "--decode-only"); err != nil {
		return fmt.Errorf("%s: decode the log with cantools: %w", c.Name, err)
	}
	return nil
}

// Compare fills result with what the script found. Where something differs, the
// error wraps differs and result is valid; parsed is false when it is not.
func (c *Checker) Compare(ctx context.Context, job, result any, differs error) (parsed bool, err error) {
	out, runErr := c.run(ctx, job)
	if err := json.Unmarshal(out, result); err != nil {
		return false, errors.Join(fmt.Errorf("%s: %s gave no result: %w", c.Name, filepath.Base(c.Script), err), runErr)
	}
	var exit *exec.ExitError
	if errors.As(runErr, &exit) && exit.ExitCode() == 1 {
		return true, fmt.Errorf("%w: %s", differs, bytes.TrimSpace(out))
	}
	return true, runErr
}
