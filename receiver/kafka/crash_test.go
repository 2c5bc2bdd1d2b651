package kafka

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// childJob is what a child process is asked to do, as JSON in childEnv.
type childJob struct {
	Brokers []string // none: embedded, in Dir, with a feed of its own
	Dir     string
	Prefix  string
	Freeze  bool   // halt in the middle of a transaction until a line comes in
	Output  string // serve this output, instead of the default one

	RenewBytes   int64 // renew the state after so many bytes, in small files; 0: as always
	StopRenewing bool  // halt between the steps of a renewal
}

const childEnv = "TELEMETRY_KAFKA_CHILD"

func (j childJob) config() Config {
	var outs []topic.Output
	if j.Output != "" {
		outs = append(outs, topic.NewOutput(j.Prefix, "telemetry-sequence", j.Output, ""))
	}
	return Config{
		Outputs: outs,
		Brokers: j.Brokers, Prefix: j.Prefix, Partitions: 2, AllowWeak: true, SessionTimeout: shortSession,
		Embedded: Embedded{Dir: j.Dir, SyncWrites: true}, Log: quietLog(),
	}
}

// of returns the cluster as the job's output sees it.
func (j childJob) of(c *Cluster) (*Cluster, error) {
	if j.Output == "" {
		return c, nil
	}
	b, err := c.OutputBackend(j.Output)
	if err != nil {
		return nil, err
	}
	return b.c, nil
}

// shortSession is the session timeout of tests that wait for it; the brokers
// must allow it (group.min.session.timeout.ms).
const shortSession = 1500 * time.Millisecond

// TestMain is the tests', or that of the process that some of them kill or freeze.
func TestMain(m *testing.M) {
	text := os.Getenv(childEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	if err := runChild(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func runChild(text string) error {
	var job childJob
	if err := json.Unmarshal([]byte(text), &job); err != nil {
		return err
	}
	lines := make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { // the end of stdin is the end of the parent
		in := bufio.NewScanner(os.Stdin)
		for in.Scan() {
			lines <- struct{}{}
		}
		cancel()
	}()
	var mu sync.Mutex
	told := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		_, _ = fmt.Printf("#"+format+"\n", args...) // a test binary prints other lines, too
	}
	cfg := job.config()
	cfg.renewBytes = job.RenewBytes
	cfg.renewed = func() {
		told("renewing")
		if job.StopRenewing {
			<-ctx.Done()
		}
	}
	c, err := Open(ctx, cfg)
	if err != nil {
		return err
	}
	if c, err = job.of(c); err != nil {
		return err
	}
	if job.RenewBytes > 0 {
		if err := segmentsOf(ctx, c, c.names.State, "1024"); err != nil {
			return err
		}
	}
	r, f := newRelay(c), newFeeder(c)
	r.told, f.told = told, told
	own := r.own
	if job.Freeze {
		own = func(ctx context.Context, s sequence.Session) error {
			told("opened %d", s.Partition())
			if s.Partition() != 0 {
				<-ctx.Done()
				return nil
			}
			err := freeze(ctx, s.(*transactional), c, told, lines)
			told("result lost=%v %v", errors.Is(err, sequence.ErrLost), err)
			return err
		}
	}
	if len(job.Brokers) == 0 {
		if err := f.resume(ctx); err != nil {
			return err
		}
		go func() { _ = f.run(ctx) }() // ends with the process
	}
	return c.Backend().Own(ctx, own)
}

// freeze stops a commit before its end, and goes on when a line comes in.
func freeze(ctx context.Context, s *transactional, c *Cluster, told func(string, ...any), lines chan struct{}) error {
	if _, err := s.Load(ctx); err != nil {
		return err
	}
	if err := s.cl.BeginTransaction(); err != nil {
		return err
	}
	ghost := sampleRecord(c, 666, "0/1")
	ghost.Partition, ghost.Value = 0, []byte("ghost")
	if err := s.flush(ctx, s.produce(ctx, []topic.Record{ghost}, []topic.Record{stateRecord(c, 0, 666)})); err != nil {
		return err
	}
	if err := s.tryOffset(ctx, 666); err != nil {
		return err
	}
	told("frozen")
	<-lines
	if err := s.cl.EndTransaction(context.WithoutCancel(ctx), true); err != nil {
		return sessionError("end", err)
	}
	return errors.New("the frozen transaction was committed")
}

// child is a running child process.
type child struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines chan string // without the mark; closed at its end
}

func startChild(t *testing.T, job childJob) *child {
	t.Helper()
	text, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	c := &child{cmd: exec.Command(os.Args[0]), lines: make(chan string, 1<<16)}
	c.cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.kill)
	go func() {
		defer close(c.lines)
		s := bufio.NewScanner(out)
		for s.Scan() {
			if line, ok := strings.CutPrefix(s.Text(), "#"); ok {
				c.lines <- line
			} else {
				t.Logf("child: %s", s.Text())
			}
		}
	}()
	return c
}

// kill ends the child as a power cut does.
func (c *child) kill() {
	if c.cmd.ProcessState != nil {
		return
	}
	_ = c.cmd.Process.Kill()
	for range c.lines { // until the reading has ended
	}
	_ = c.cmd.Wait()
}

// await returns the next line that begins with a word; see is called for all.
func (c *child) await(t *testing.T, word string, see func(string)) string {
	t.Helper()
	limit := time.NewTimer(time.Minute)
	defer limit.Stop()
	for {
		select {
		case line, ok := <-c.lines:
			if !ok {
				t.Fatalf("the child ended before it said %q", word)
			}
			if see != nil {
				see(line)
			}
			if strings.HasPrefix(line, word) {
				return line
			}
		case <-limit.C:
			t.Fatalf("the child does not say %q", word)
		}
	}
}

const kills = 20

// killChildren starts a child again and again, and kills each at a seeded moment
// after its first commit; see is called for every line.
func killChildren(t *testing.T, job childJob, span time.Duration, see func(string)) {
	const seed = 7
	random := rand.New(rand.NewPCG(seed, 0))
	for range kills {
		c := startChild(t, job)
		c.await(t, "commit", see)
		moment := time.NewTimer(time.Duration(random.Int64N(int64(span))))
		for running := true; running; {
			select {
			case line := <-c.lines:
				see(line)
			case <-moment.C:
				running = false
			}
		}
		_ = c.cmd.Process.Kill()
		for line := range c.lines {
			see(line)
		}
		_ = c.cmd.Wait()
	}
}

// The embedded broker and its sequencer are one process: it is killed again and
// again, and no output is missing, doubled or out of order, nor is a batch
// missing that was acknowledged.
func TestEmbeddedSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("40 processes are killed")
	}
	for name, output := range map[string]string{"default output": "", "another output": "models"} {
		t.Run(name, func(t *testing.T) { survivesKills(t, childJob{Dir: t.TempDir(), Output: output}) })
	}
}

func survivesKills(t *testing.T, job childJob) {
	acked := map[string]uint64{}
	began := time.Now()
	killChildren(t, job, 250*time.Millisecond, func(line string) {
		var car string
		var seq uint64
		if n, _ := fmt.Sscanf(line, "acked %s %d", &car, &seq); n == 2 {
			acked[car] = max(acked[car], seq)
		}
	})
	t.Logf("%d kills in %v", kills, time.Since(began).Round(time.Millisecond))
	c, err := Open(t.Context(), job.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if c, err = job.of(c); err != nil {
		t.Fatal(err)
	}
	stop := newRelay(c).serve(t, c)
	drained(t, c)
	stop()
	t.Logf("%d batches", checkRelayed(t, c))
	for car, seqs := range seqsOf(t, c, c.names.Batches) {
		there := map[uint64]bool{}
		for _, s := range seqs {
			there[s] = true
		}
		for s := range acked[car] {
			if !there[s+1] {
				t.Errorf("%s: batch %d was acknowledged or precedes one that was, and is not there", car, s+1)
			}
		}
	}
}
