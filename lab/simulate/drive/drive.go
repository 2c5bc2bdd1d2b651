// Package drive runs many seeds of the simulation on all processors: it builds
// the test binary of package simulate, lets several processes of it work, and
// gathers what they found.
//
// The entry point is [Run]. Each process runs one seed at a time on one
// processor, so that the order of its goroutines is the same every time. A seed
// that fails is shrunk, and printed with the command that replays it.
//
// The package never runs a simulation in its own process: virtual time is only
// to be had in a test binary.
package drive

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"telemetry/lab/simulate"
)

// Config says what to run.
type Config struct {
	First   uint64 // seed
	Seeds   int    // how many from there on
	List    []uint64
	Drop    []int    // faults to leave out, by number; for a replay
	Trace   bool     // print every event
	Workers int      // processes; 0 means one for each processor
	Tags    []string // more arguments of go test -c, such as an overlay
	Out     io.Writer
	Fast    bool // end at the first failure
}

// Job is what a process is asked for, one a line.
type Job struct {
	Seed   uint64 `json:"seed"`
	Drop   []int  `json:"drop,omitempty"`
	Shrink bool   `json:"shrink,omitempty"`
	Trace  bool   `json:"trace,omitempty"`
}

// Answer is what a process found, one a line behind [Mark].
type Answer struct {
	Seed       uint64         `json:"seed"`
	Violations []string       `json:"violations,omitempty"`
	Coverage   map[string]int `json:"coverage,omitempty"`
	Stats      map[string]int `json:"stats,omitempty"`
	VirtualMS  int64          `json:"virtual_ms"`
	Digest     uint64         `json:"digest"`
	Drop       []int          `json:"drop,omitempty"` // of the shrunk plan
	Plan       string         `json:"plan,omitempty"` // for people
}

// Mark begins the line of an answer; other lines are a trace.
const Mark = "ANSWER "

// Summary is what a whole run found; its JSON is the last line printed.
type Summary struct {
	Seeds      int            `json:"seeds"`
	First      uint64         `json:"first"`
	Violations int            `json:"violations"` // seeds that failed
	Failed     []uint64       `json:"failed,omitempty"`
	VirtualS   int64          `json:"virtual_s"`
	TookS      float64        `json:"took_s"`
	Faults     map[string]int `json:"faults"`
	Missing    []string       `json:"never_happened,omitempty"`
}

// ErrFailed says that seeds have failed, or that a fault never happened.
var ErrFailed = errors.New("simulate: failed")

// enough is from how many seeds on every kind of fault must have happened.
const enough = 1000

// limit is how long one seed may take before it counts as hanging.
const limit = 3 * time.Minute

// Run runs the seeds and prints what they found.
func Run(ctx context.Context, cfg Config) (*Summary, error) {
	dir, err := os.MkdirTemp("", "simulate")
	if err != nil {
		return nil, fmt.Errorf("simulate: %w", err)
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "simulate.test")
	if err := Build(ctx, bin, cfg.Tags...); err != nil {
		return nil, err
	}
	return RunBinary(ctx, cfg, bin)
}

// Build compiles the test binary of package simulate.
func Build(ctx context.Context, bin string, args ...string) error {
	args = append([]string{"test", "-c", "-o", bin}, args...)
	cmd := exec.CommandContext(ctx, "go", append(args, "telemetry/lab/simulate")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("simulate: build: %w\n%s", err, out)
	}
	return nil
}

// RunBinary is Run with a test binary that Build has made.
func RunBinary(ctx context.Context, cfg Config, bin string) (*Summary, error) {
	began := time.Now()
	list := slices.Clone(cfg.List)
	for i := range cfg.Seeds {
		list = append(list, cfg.First+uint64(i))
	}
	if cfg.Workers == 0 {
		cfg.Workers = min(runtime.NumCPU(), max(1, len(list)))
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	jobs, answers := make(chan uint64), make(chan Answer)
	var wg sync.WaitGroup
	for range cfg.Workers {
		wg.Go(func() { work(ctx, cfg, bin, jobs, answers) })
	}
	go func() { // ends with the list or ctx
		defer close(answers)
		for _, s := range list {
			select {
			case jobs <- s:
			case <-ctx.Done():
			}
		}
		close(jobs)
		wg.Wait()
	}()
	sum := &Summary{First: cfg.First, Faults: map[string]int{}}
	for a := range answers {
		sum.add(&a)
		if len(a.Violations) > 0 {
			tell(cfg.Out, &a)
			if cfg.Fast {
				stop()
			}
		} else if sum.Seeds%500 == 0 {
			fmt.Fprintf(cfg.Out, "%d seeds, %d failed, %.0f s\n", sum.Seeds, sum.Violations, time.Since(began).Seconds())
		}
	}
	sum.TookS = float64(time.Since(began).Milliseconds()) / 1000
	return sum, sum.finish(cfg.Out)
}

// add takes one answer.
func (s *Summary) add(a *Answer) {
	s.Seeds++
	s.VirtualS += a.VirtualMS / 1000
	if len(a.Violations) > 0 {
		s.Violations++
		s.Failed = append(s.Failed, a.Seed)
	}
	for k, n := range a.Coverage {
		s.Faults[k] += n
	}
}

// tell prints a failing seed and the command that replays it.
func tell(out io.Writer, a *Answer) {
	fmt.Fprintf(out, "seed %d FAILED after %d ms of virtual time\n", a.Seed, a.VirtualMS)
	for _, v := range a.Violations {
		fmt.Fprintf(out, "  %s\n", v)
	}
	drop := strings.Trim(strings.ReplaceAll(fmt.Sprint(a.Drop), " ", ","), "[]")
	fmt.Fprintf(out, "%sreplay: go run ./cmd/lab sim --first %d --seeds 1 --trace", a.Plan, a.Seed)
	if drop != "" {
		fmt.Fprintf(out, " --drop %s", drop)
	}
	fmt.Fprintln(out)
}

// finish prints how often each fault happened, and the summary as JSON.
func (s *Summary) finish(out io.Writer) error {
	slices.Sort(s.Failed)
	kinds := append(simulate.Kinds(), simulate.Effects()...)
	fmt.Fprintln(out, "what happened, and how often:")
	for _, k := range kinds {
		n := s.Faults[string(k)]
		fmt.Fprintf(out, "  %-18s %d\n", k, n)
		if n == 0 {
			s.Missing = append(s.Missing, string(k))
		}
	}
	if s.Seeds < enough {
		s.Missing = nil
	}
	line, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("simulate: %w", err)
	}
	fmt.Fprintf(out, "%s\n", line)
	switch {
	case s.Violations > 0:
		return fmt.Errorf("%w: %d of %d seeds", ErrFailed, s.Violations, s.Seeds)
	case len(s.Missing) > 0:
		return fmt.Errorf("%w: never happened: %v", ErrFailed, s.Missing)
	}
	return nil
}

// work lets one process after the other do jobs: one that hangs or dies is replaced.
func work(ctx context.Context, cfg Config, bin string, jobs <-chan uint64, answers chan<- Answer) {
	var p *process
	defer func() { p.end() }()
	for seed := range jobs {
		if p == nil {
			var err error
			if p, err = start(ctx, bin, cfg.Out); err != nil {
				answers <- Answer{Seed: seed, Violations: []string{"process: " + err.Error()}}
				return
			}
		}
		a, err := p.do(Job{Seed: seed, Drop: cfg.Drop, Trace: cfg.Trace, Shrink: !cfg.Trace && !cfg.Fast})
		if err != nil {
			p.end()
			p = nil
			if ctx.Err() != nil {
				continue
			}
			a = Answer{Seed: seed, Violations: []string{"process: " + err.Error()}}
		}
		answers <- a
	}
}

// process is one process of the test binary.
type process struct {
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	err  *bytes.Buffer
	tell io.Writer
}

func start(ctx context.Context, bin string, out io.Writer) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, bin, "-test.run", "^TestWorker$", "-test.timeout", "0", "-worker"), err: &bytes.Buffer{}, tell: out}
	p.cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	p.cmd.Stderr = p.err
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReaderSize(stdout, 1<<20)
	return p, p.cmd.Start()
}

// do gives the process one job and waits for its answer.
func (p *process) do(j Job) (Answer, error) {
	line, err := json.Marshal(j)
	if err != nil {
		return Answer{}, err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return Answer{}, fmt.Errorf("%w: %s", err, p.tail())
	}
	watch := time.AfterFunc(limit, func() { _ = p.cmd.Process.Kill() })
	defer watch.Stop()
	for {
		text, err := p.out.ReadString('\n')
		if err != nil {
			_ = p.cmd.Wait()
			return Answer{}, fmt.Errorf("no answer within %v, or died: %w: %s", limit, err, p.tail())
		}
		rest, ok := strings.CutPrefix(text, Mark)
		if !ok {
			fmt.Fprint(p.tell, text)
			continue
		}
		var a Answer
		return a, json.Unmarshal([]byte(rest), &a)
	}
}

// tail returns the end of what the process has complained about.
func (p *process) tail() string {
	s := strings.TrimSpace(p.err.String())
	return s[max(0, len(s)-2000):]
}

// end lets the process end by the end of its input.
func (p *process) end() {
	if p == nil {
		return
	}
	_ = p.in.Close()
	_ = p.cmd.Wait()
}
