package simulate_test

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"telemetry/lab/simulate"
	"telemetry/lab/simulate/drive"
)

var worker = flag.Bool("worker", false, "do the jobs that come by standard input, as package drive asks for them")

// run carries one plan out in a bubble of its own.
func run(t *testing.T, p *simulate.Plan, opt simulate.Options) (res *simulate.Result) {
	synctest.Test(t, func(*testing.T) { res = simulate.Run(p, opt) })
	return res
}

// TestWorker is no test: it is the process that package drive starts many times.
func TestWorker(t *testing.T) {
	if !*worker {
		t.Skip("only for package drive")
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var j drive.Job
		if err := json.Unmarshal(in.Bytes(), &j); err != nil {
			t.Fatal(err)
		}
		line, err := json.Marshal(do(t, j))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("%s%s\n", drive.Mark, line)
	}
}

func do(t *testing.T, j drive.Job) drive.Answer {
	p := simulate.NewPlan(j.Seed).Without(j.Drop)
	var opt simulate.Options
	if j.Trace {
		fmt.Print(p)
		opt.Trace, opt.Logs = func(s string) { fmt.Println(s) }, true
	}
	res := run(t, p, opt)
	a := drive.Answer{
		Seed: j.Seed, Violations: res.Violations, Coverage: res.Coverage, Stats: res.Stats,
		VirtualMS: res.Virtual.Milliseconds(), Digest: res.Digest, Drop: j.Drop,
	}
	if len(res.Violations) == 0 {
		return a
	}
	if j.Shrink {
		p = simulate.Shrink(p, shrinkTries, func(p *simulate.Plan) *simulate.Result { return run(t, p, simulate.Options{}) })
	}
	a.Plan, a.Drop = p.String(), p.Dropped()
	return a
}

// shrinkTries bounds the runs that shrink one seed.
const shrinkTries = 60

// check runs seeds and fails for each that breaks a rule.
func check(t *testing.T, seeds []uint64) {
	t.Helper()
	for _, seed := range seeds {
		if a := do(t, drive.Job{Seed: seed, Shrink: true}); len(a.Violations) > 0 {
			t.Errorf("seed %d: %v\n%sreplay: go run ./cmd/lab sim --first %d --seeds 1 --trace", seed, a.Violations, a.Plan, seed)
		}
	}
}

// TestSeedsThatFailedOnce: what was found once is not made again.
func TestSeedsThatFailedOnce(t *testing.T) {
	text, err := os.ReadFile("testdata/seeds.txt")
	if err != nil {
		t.Fatal(err)
	}
	var seeds []uint64
	for line := range strings.Lines(string(text)) {
		field, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if field == "" || field == "#" {
			continue
		}
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			t.Fatalf("testdata/seeds.txt: %q", line)
		}
		seeds = append(seeds, n)
	}
	if testing.Short() {
		seeds = seeds[:min(5, len(seeds))]
	}
	check(t, seeds)
}

// TestSomeSeeds runs a few seeds with every test run; `make sim` runs many.
func TestSomeSeeds(t *testing.T) {
	var seeds []uint64
	for n := range uint64(12) {
		seeds = append(seeds, 1+n*101)
	}
	check(t, seeds)
}
