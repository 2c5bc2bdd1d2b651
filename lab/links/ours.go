package links

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"telemetry/lab/netns"
	"telemetry/spool"
	"telemetry/wire"
)

// ours measures the agent.
func (r *run) ours(ctx context.Context, t *trial) (Result, error) {
	dir, err := os.MkdirTemp(stateRoot(), "links")
	if err != nil {
		return Result{}, fmt.Errorf("links: folder for state: %w", err)
	}
	defer os.RemoveAll(dir)
	s, err := newSink(net.JoinHostPort(t.bed.FarAddr().String(), "0"))
	if err != nil {
		return Result{}, err
	}
	serve, stop := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- s.run(serve) }() // ends with serve
	rep, err := r.drive(ctx, t, s.broker.Addr(), dir)
	t.freeze()
	stop()
	err = errors.Join(err, <-served)
	if err != nil {
		return Result{}, err
	}
	got, err := s.take()
	if err != nil {
		return Result{}, err
	}
	kept := map[wire.ID]bool{}
	if rep.Drained != "" {
		if kept, err = keptIn(spoolDir(dir)); err != nil {
			return Result{}, err
		}
	}
	res, err := t.figures(rep, got, kept)
	if err != nil {
		return Result{}, err
	}
	r.say("%s: suspicions, re-dials and re-sent: %s", subjectOurs, brief(rep))
	if rep.Drained != "" {
		r.say("%s: not drained, what is in the car's spool is not lost: %s", subjectOurs, rep.Drained)
	}
	if r.Plot != "" {
		name := filepath.Join(r.Plot, fmt.Sprintf("links-%s-%g.svg", r.Case, t.offset))
		if err := os.WriteFile(name, t.plot(), 0o644); err != nil {
			return Result{}, fmt.Errorf("links: plot: %w", err)
		}
		r.say("%s at %g s: plot in %s", subjectOurs, t.offset, name)
	}
	return res, nil
}

func spoolDir(dir string) string { return filepath.Join(dir, "spool") }

// keptIn returns the batches of critical and full that a spool nobody has open holds.
func keptIn(dir string) (map[wire.ID]bool, error) {
	v, err := spool.OpenView(dir, nil)
	if err != nil {
		return nil, fmt.Errorf("links: what the car has kept: %w", err)
	}
	out := map[wire.ID]bool{}
	for _, l := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
		err := v.Each(l, func(b wire.Batch) error { out[b.Header.ID()] = true; return nil })
		if err != nil {
			return nil, fmt.Errorf("links: what the car has kept: %w", err)
		}
	}
	return out, nil
}

// stateRoot is where the spool lies: in memory if there is such a place, since a
// disk that others use as well is not what is measured.
func stateRoot() string {
	const memory = "/dev/shm"
	if st, err := os.Stat(memory); err == nil && st.IsDir() {
		return memory
	}
	return ""
}

func brief(rep carReport) string {
	var out []string
	for _, l := range rep.Status.Links {
		out = append(out, fmt.Sprintf("%s %d/%d/%d B", l.Name, l.Suspicions, l.Dials-1, l.Resent))
	}
	return strings.Join(out, ", ")
}

// drive runs the car's process from the load's begin until it has drained.
func (r *run) drive(ctx context.Context, t *trial, broker, dir string) (carReport, error) {
	var rep carReport
	cc := carConfig{Agent: filepath.Join(dir, "car.yaml"), Load: t.load, Report: filepath.Join(dir, "report.json")}
	path := filepath.Join(dir, "car.json")
	if err := errors.Join(os.WriteFile(cc.Agent, agentYAML(t.bed, broker, dir), 0o644), writeJSON(path, cc)); err != nil {
		return rep, err
	}
	var said bytes.Buffer
	cmd := exec.Command(r.Self, append(append([]string{}, r.SelfArgs...), path)...)
	cmd.Stderr = &said
	if err := t.bed.Car.Start(cmd); err != nil {
		return rep, fmt.Errorf("links: start the car: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // ends with the process
	cpu := make(chan float64, 1)
	go func() { cpu <- cpuOf(ctx, cmd.Process.Pid, t.countFrom(), t.load.EndNS) }() // ends at the load's end, or with ctx
	err := t.play(ctx)
	wait := drainLimit + 15*time.Second
	if ctx.Err() != nil {
		wait = 5 * time.Second
		err = errors.Join(err, cmd.Process.Signal(syscall.SIGTERM))
	}
	limit := time.NewTimer(wait)
	defer limit.Stop()
	select {
	case werr := <-ended:
		err = errors.Join(err, werr)
	case <-limit.C:
		err = errors.Join(err, errors.New("links: the car's process does not end"), cmd.Process.Signal(syscall.SIGKILL), <-ended)
	}
	t.cores = <-cpu
	if ctx.Err() != nil {
		return rep, fmt.Errorf("links: %w", ctx.Err()) // and so did the car
	}
	if err != nil {
		return rep, fmt.Errorf("links: the car: %w\n%s", err, tail(said.String()))
	}
	return rep, readJSON(cc.Report, &rep)
}

func tail(s string) string { return s[max(0, len(s)-2000):] }

func agentYAML(bed *netns.Testbed, broker, dir string) []byte {
	var b strings.Builder
	q := strconv.Quote
	fmt.Fprintf(&b, "version: 1\ncar: lab-car\nsocket: %s\nspool: {dir: %s}\n", q(filepath.Join(dir, "s.sock")), q(spoolDir(dir)))
	b.WriteString("live: {off: true}\nseal: {full: 1ms, live: 1ms, critical: 1ms}\n")
	b.WriteString("sources: [{name: sim, sim: {channels: 1, rate: 1Hz}}]\nlinks:\n")
	for _, p := range bed.Paths() {
		fmt.Fprintf(&b, "  - {name: %s, interface: %s, addresses: [%s]}\n", q(p.Device()), q(p.Device()), q("tcp://"+broker))
	}
	b.WriteString("log: {level: warn}\n")
	return []byte(b.String())
}

// cpuOf returns the processors that a process used between two times.
func cpuOf(ctx context.Context, pid int, from, to int64) float64 {
	if sleepUntil(ctx, from) != nil {
		return 0
	}
	begin := cpuTime(pid)
	if sleepUntil(ctx, to) != nil {
		return 0
	}
	return float64(cpuTime(pid)-begin) / float64(to-from)
}

// cpuTime returns what a process has used, in ns; 0 if it is gone.
func cpuTime(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) < 13 {
		return 0
	}
	const tick = 10_000_000 // USER_HZ is 100
	user, _ := strconv.ParseInt(f[11], 10, 64)
	sys, _ := strconv.ParseInt(f[12], 10, 64)
	return (user + sys) * tick
}

// figures computes the result of our run; kept is what was in the spool at its end.
func (t *trial) figures(rep carReport, got []arrival, kept map[wire.ID]bool) (Result, error) {
	res := t.result(subjectOurs)
	first := map[wire.ID]arrival{}
	var app int64
	var crit, critBefore, live []float64
	for _, a := range got {
		id := a.header.ID()
		if _, ok := first[id]; ok {
			continue
		}
		first[id] = a
		delete(kept, id)
		if t.counts(a.atNS) {
			app += int64(a.size)
		}
		made := a.header.LastNS
		late := float64(a.atNS-made) / 1e6
		switch lane := id.Stream.Lane; {
		case !t.counts(made) || a.header.Control:
		case lane == wire.LaneCritical && t.calm(made):
			critBefore = append(critBefore, late)
		case lane == wire.LaneCritical:
			crit = append(crit, late)
		case lane == wire.LaneLive:
			live = append(live, late)
		}
	}
	t.common(&res, float64(app), crit, critBefore, live)
	top := t.resent(&res, rep.Sends)
	t.stuck(&res, rep.Sends, first)
	res.CPUCores = round(t.cores)
	twice, released, err := outputs(got)
	if err != nil {
		return res, err
	}
	var lost int64
	for id := range kept { // has not arrived and can still come
		lost--
		top[id.Stream.Lane] = max(top[id.Stream.Lane], id.Seq) // the agent's end made some
	}
	for _, l := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
		lost += int64(max(top[l], rep.Status.Lanes[l.String()].Batches)) - released[l]
	}
	res.Lost, res.Duplicates = &lost, &twice
	return res, nil
}

// resent computes the share of the full lane's bytes that went out again, and
// returns the greatest number of each lane.
func (t *trial) resent(res *Result, sends []sentBatch) map[wire.Lane]uint64 {
	top := map[wire.Lane]uint64{}
	var full, again int64
	sent := map[uint64]bool{}
	for _, s := range sends {
		top[s.Lane] = max(top[s.Lane], s.Seq)
		switch {
		case s.Lane != wire.LaneFull:
		case sent[s.Seq]:
			again += int64(s.Size)
		default:
			full += int64(s.Size)
			sent[s.Seq] = true
		}
	}
	if full > 0 {
		res.ResentRatio = round(float64(again) / float64(full))
	}
	return top
}

// stuck computes how long batches of live and full that were on their way over a
// link when it fell silent took to arrive by another one.
func (t *trial) stuck(res *Result, sends []sentBatch, first map[wire.ID]arrival) {
	byID := map[[2]uint64]arrival{}
	for id, a := range first {
		byID[[2]uint64{uint64(id.Stream.Lane), id.Seq}] = a
	}
	var v []float64
	for _, e := range t.done {
		if e.back || e.readdress {
			continue
		}
		seen := map[[2]uint64]bool{}
		for _, s := range sends {
			key := [2]uint64{uint64(s.Lane), s.Seq}
			if int(s.Link) != e.link || s.AtNS > e.bootNS || s.AtNS < e.bootNS-int64(time.Second) || s.Lane == wire.LaneCritical || seen[key] {
				continue
			}
			seen[key] = true
			a, ok := byID[key]
			if ok && a.atNS > e.bootNS && int(a.send.Link) != e.link {
				v = append(v, float64(a.atNS-e.bootNS)/1e6)
			}
		}
	}
	res.StuckP99, res.StuckMax = quantile(v, 0.99), quantile(v, 1)
}
