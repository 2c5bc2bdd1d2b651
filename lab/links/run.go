package links

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"time"

	"telemetry/lab/link"
	"telemetry/lab/netns"
)

// run is one invocation.
type run struct {
	Config
	begun time.Time
}

// trial is one run of one subject over links of its own.
type trial struct {
	which   string
	seconds int
	offset  float64
	specs   []link.Spec
	bed     *netns.Testbed
	begunNS int64 // of the links
	load    load
	sampler *sampler
	done    []happened
	cores   float64
	freeze  func() // ends the sampling: figures may be read; more than once does nothing
}

// Run measures our agent, the oracle and the peers, at one offset or at five.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if cfg.Progress == nil {
		cfg.Progress = io.Discard
	}
	if cfg.Plot != "" { // a run of minutes should not end with a folder that is missing
		if err := os.MkdirAll(cfg.Plot, 0o755); err != nil {
			return fmt.Errorf("links: plot: %w", err)
		}
	}
	prefer()
	r := &run{Config: cfg, begun: time.Now()}
	at := offsets[:]
	if cfg.Offset != nil {
		at = []float64{*cfg.Offset}
	}
	subjects := append([]string{subjectOurs}, cfg.Peers...)
	all := map[string][]Result{}
	for i, offset := range at {
		oracle, err := r.oracle(offset)
		if err != nil {
			return err
		}
		all[subjectOracle] = append(all[subjectOracle], oracle)
		if err := r.Print(oracle); err != nil {
			return err
		}
		for _, who := range subjects {
			res, err := r.measure(ctx, who, offset, uint64(i))
			if errors.Is(err, errNoPeer) {
				r.say("%v", err)
				continue
			}
			if err != nil {
				return err
			}
			res.OracleLive = oracle.LiveP99
			all[who] = append(all[who], res)
			if err := r.Print(res); err != nil {
				return err
			}
		}
	}
	if len(at) == 1 {
		return nil
	}
	for _, who := range append([]string{subjectOracle}, subjects...) {
		for _, of := range []string{"median", "worst"} {
			if rs := all[who]; len(rs) > 0 {
				if err := r.Print(combine(rs, of)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// errNoPeer is a peer that cannot be run here.
var errNoPeer = errors.New("links: this peer is left out")

// say writes a line for people.
func (r *run) say(format string, args ...any) {
	// Nobody to read it is no reason to stop.
	_, _ = fmt.Fprintf(r.Progress, "links: %5.1f s  "+format+"\n", append([]any{time.Since(r.begun).Seconds()}, args...)...)
}

// measure runs one subject, again when the machine disturbed it, and returns the
// run that it disturbed least.
func (r *run) measure(ctx context.Context, who string, offset float64, n uint64) (Result, error) {
	var best Result
	least := time.Duration(math.MaxInt64)
	for range max(1, r.Tries) {
		res, worst, bad, err := r.try(ctx, who, offset, n)
		if err != nil {
			return res, err
		}
		if worst < least {
			best, least = res, worst
		}
		if !bad {
			return best, nil
		}
	}
	r.say("%s at %g s: every try was disturbed, the least by %v: measure again when the machine is idle", who, offset, least)
	return best, nil
}

func (r *run) try(ctx context.Context, who string, offset float64, n uint64) (res Result, worst time.Duration, bad bool, err error) {
	t := &trial{which: r.Case, seconds: r.Seconds, offset: offset}
	if t.specs, err = r.specs(offset); err != nil {
		return res, 0, false, err
	}
	cfg := netns.Config{Seed: r.Seed + 100*n, FarSpace: who != subjectOurs} // peers want buffers of their own kind
	for i, s := range t.specs {
		cfg.Links = append(cfg.Links, netns.Link{Device: fmt.Sprintf("wwan%d", i), Up: s, Down: link.Spec{Delay: s.Delay}})
	}
	if t.bed, err = netns.New(cfg); err != nil {
		return res, 0, false, err
	}
	if r.Congestion != "" {
		if err := t.bed.Car.Sysctl("ipv4.tcp_congestion_control", r.Congestion); err != nil {
			return res, 0, false, errors.Join(err, t.bed.Close())
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	sampling, stopSampling := context.WithCancel(ctx)
	t.begunNS = bootNS()
	t.load = load{StartNS: t.begunNS + int64(lead), FullBitS: r.fullBitS(t.specs), Backlog: backlog(meanRates(t.specs))}
	t.load.EndNS = t.load.StartNS + int64(r.Seconds)*int64(time.Second)
	t.sampler = &sampler{specs: t.specs}
	carried, sampled := make(chan error, 1), make(chan struct{})
	go func() { carried <- t.bed.Run(ctx) }() // ends with ctx
	go func() { defer close(sampled); t.sampler.run(sampling, t.bed) }()
	t.freeze = func() {
		stopSampling()
		<-sampled
	}
	switch who {
	case subjectOurs:
		res, err = r.ours(ctx, t)
	default:
		res, err = r.peer(ctx, t, who)
	}
	t.freeze()
	worst, bad = t.bed.Disturbed()
	from, to := t.countFrom(), t.load.EndNS
	r.say("%s at %g s: share of each link's capacity %v, queue p95 %v ms, disturbed by %v at worst", who, offset, t.sampler.shares(from, to), t.sampler.queues(from, to), worst)
	cancel()
	return res, worst, bad, errors.Join(err, <-carried, t.bed.Close())
}

func (r *run) specs(offset float64) (out []link.Spec, err error) {
	for _, text := range r.Specs {
		s, err := parseLink(text, time.Duration(offset*float64(time.Second)))
		if err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, nil
}

// fullBitS returns what the full lane offers; 0 = saturation.
func (r *run) fullBitS(specs []link.Spec) float64 {
	total := r.LoadMbit * 1e6
	if total == 0 {
		var rates []float64
		for _, s := range specs {
			rates = append(rates, meanRate(s))
		}
		total = totalBitS(r.Case, rates)
	}
	if total == 0 {
		return 0
	}
	return max(total-freshBitS, 1000)
}

// meanRates returns the mean capacity of all links in bit/s.
func meanRates(specs []link.Spec) (sum float64) {
	for _, s := range specs {
		sum += meanRate(s)
	}
	return sum
}

// countFrom is from when on things count.
func (t *trial) countFrom() int64 { return t.load.StartNS + int64(warmUp) }

func (t *trial) counts(ns int64) bool { return ns >= t.countFrom() && ns < t.load.EndNS }

// calm reports whether ns lies before the first trouble of a case with troubles.
func (t *trial) calm(ns int64) bool {
	return len(t.done) > 0 && ns < t.load.StartNS+int64(baseline(t.seconds))
}

// play carries out the case's events and returns at the end of the load.
func (t *trial) play(ctx context.Context) (err error) {
	t.done, err = carryOut(ctx, t.bed, plan(t.which, len(t.specs), t.seconds), t.load.StartNS)
	return errors.Join(err, sleepUntil(ctx, t.load.EndNS))
}

func (t *trial) result(subject string) Result {
	return Result{Case: t.which, Subject: subject, OffsetS: round(t.offset)}
}

// common computes the figures that all subjects have; app is bytes.
func (t *trial) common(res *Result, app float64, crit, critBefore, live []float64) {
	from, to := t.countFrom(), t.load.EndNS
	if c := t.sampler.capacity(from, to); c > 0 {
		res.GoodputRatio = round(app / c)
	}
	res.CriticalP99 = quantile(crit, 0.99)
	if before := quantile(critBefore, 0.99); before != nil && res.CriticalP99 != nil {
		res.CriticalRise = round(*res.CriticalP99 - *before)
	}
	res.LiveP99 = quantile(live, 0.99)
	if len(t.done) == 0 {
		res.QueueP95 = quantile(t.sampler.queueMS(from, to), 0.95)
	}
	if t.load.FullBitS == 0 {
		res.HealP95 = quantile(t.sampler.healS(t.done, to), 0.95)
	}
}
