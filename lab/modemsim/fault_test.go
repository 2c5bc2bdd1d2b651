package modemsim_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/lab/modemsim"
	"telemetry/modem/at"
	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
)

// outcome is what a case must end in.
type outcome uint8

const (
	flows outcome = iota // data again
	rests                // a resting state with its reason, and nothing done that cannot help
)

type faultCase struct {
	name   string
	fault  modemsim.Fault
	want   outcome
	reason string        // part of the reason of a resting state
	within time.Duration // 0 = 10 minutes
	cfg    modemsim.Config
	keep   keeper.Config
	lone   bool // no other modem
	bare   bool // neither reset line nor power key
	around keeper.Around
	nobody bool           // packets pass, but no receiver answers
	others modemsim.Fault // of the other modems
	dead   bool           // the second modem is dead, with its lines
	then   modemsim.Fault // replaces fault after a while
	after  time.Duration  // that while
	blink  time.Duration  // every 15 s a link has no proof for so long
	least  time.Duration  // it must not be mended sooner
	calm   bool           // nothing must be done
}

// car is a car with modems under virtual time.
type car struct {
	group  *keeper.Group
	modems []*modemsim.Modem
	keeps  []*keeper.Keeper
	proof  []*atomic.Int64
	mute   []*atomic.Int64 // boot clock until which a link has no proof
	dead   int             // modem that does not count as being reset; −1 = none
	cycles atomic.Int64    // times two modems were off their bus at once while a third carried data
}

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// boot is the virtual boot clock: an hour at the start of a bubble.
func boot() time.Duration { return time.Since(epoch) + time.Hour }

func newCar(ctx context.Context, c faultCase, done chan<- error) *car {
	v := &car{group: keeper.NewGroup(boot), dead: -1}
	if c.dead {
		v.dead = 1
	}
	n := 3
	if c.lone {
		n = 1
	}
	for i := range n {
		cfg := c.cfg
		cfg.Seed = uint64(i)
		m := modemsim.New(cfg)
		proof, mute := new(atomic.Int64), new(atomic.Int64)
		p := keeper.Parts{
			Name: fmt.Sprintf("m%d", i),
			Open: func(context.Context) (keeper.Control, error) {
				port, err := m.Open()
				if err != nil {
					return nil, err
				}
				return at.NewControl(port, at.Settings{APN: "internet"})
			},
			Present: m.Present,
			Proof: func() time.Duration {
				if boot() < time.Duration(mute.Load()) {
					return 0
				}
				return time.Duration(proof.Load())
			},
			Nobody: func() bool { return c.nobody },
			USB:    func(context.Context) error { m.BusReset(); return nil },
			Config: c.keep,
		}
		if !c.bare {
			p.Reset = func(_ context.Context, d time.Duration) error { m.HoldReset(d); return nil }
			p.Power = func(_ context.Context, d time.Duration) error { m.HoldPower(d); return nil }
		}
		k := v.group.Add(p)
		v.modems, v.keeps, v.proof, v.mute = append(v.modems, m), append(v.keeps, k), append(v.proof, proof), append(v.mute, mute)
	}
	v.group.SetAround(c.around)
	for _, k := range v.keeps {
		go func() { done <- k.Run(ctx) }()
	}
	go v.carry(ctx) // ends with ctx
	if c.blink > 0 {
		go v.blink(ctx, c.blink) // ends with ctx
	}
	return v
}

// blink takes all links' proof away for d every 15 s, as a reconnect does.
func (v *car) blink(ctx context.Context, d time.Duration) {
	t := time.NewTicker(15 * time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for _, m := range v.mute {
			m.Store(int64(boot() + d))
		}
	}
}

// carry is the data plane: proof of delivery wherever packets pass.
func (v *car) carry(ctx context.Context) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		off, data := 0, 0
		for i, m := range v.modems {
			if m.Data() {
				v.proof[i].Store(int64(boot()))
				data++
			}
			if !m.Present() && i != v.dead {
				off++
			}
		}
		if off > 1 && data > 0 {
			v.cycles.Add(1)
		}
	}
}

// result is a line of the table.
type result struct {
	name    string
	took    time.Duration
	rungs   []ladder.Rung
	beyond  bool
	resting string
}

func faultCases() []faultCase {
	type f = modemsim.Fault
	return []faultCase{
		{name: "data dead, redial helps", fault: f{NoData: true, Cure: modemsim.Redial}},
		{name: "registered without data, reattach helps", fault: f{NoData: true, Cure: modemsim.Reattach}},
		{name: "registered without data, radio helps", fault: f{NoData: true, Cure: modemsim.Radio}},
		{name: "registered without data, module reset helps", fault: f{NoData: true, Cure: modemsim.Reset}},
		{name: "registered without data, bus reset helps", fault: f{NoData: true, Cure: modemsim.USB}},
		{name: "registered without data, reset line helps", fault: f{NoData: true, Cure: modemsim.ResetPin}},
		{name: "registered without data, power key helps", fault: f{NoData: true, Cure: modemsim.PowerKey}},
		{name: "short silence", fault: f{NoData: true, Cure: modemsim.Never, For: 8 * time.Second}},
		{name: "silence of twenty seconds", fault: f{NoData: true, Cure: modemsim.Never, For: 20 * time.Second}},
		{name: "context closed by the network", fault: f{NoContext: true, Cure: modemsim.Redial}},
		{name: "context refused until reattached", fault: f{NoContext: true, Cure: modemsim.Reattach}},
		{name: "context refused until the radio restarts", fault: f{NoContext: true, Cure: modemsim.Radio}},
		{name: "context refused for a minute", fault: f{NoContext: true, Cure: modemsim.Never, For: time.Minute}},
		{name: "registration lost, comes back", fault: f{Unregistered: true, Cure: modemsim.Never, For: 15 * time.Second}},
		{name: "registration lost until reattached", fault: f{Unregistered: true, Cure: modemsim.Reattach}},
		{name: "registration lost until the radio restarts", fault: f{Unregistered: true, Cure: modemsim.Radio}},
		{name: "registration lost until the module restarts", fault: f{Unregistered: true, Cure: modemsim.Reset}},
		{name: "SIM does not answer, radio helps", fault: f{SIM: "failed", Cure: modemsim.Radio}},
		{name: "SIM does not answer, module reset helps", fault: f{SIM: "failed", Cure: modemsim.Reset}},
		{name: "SIM does not answer, power key helps", fault: f{SIM: "failed", Cure: modemsim.PowerKey}},
		{name: "SIM pulled", fault: f{SIM: "absent", Cure: modemsim.Never}, want: rests, reason: "no SIM"},
		{name: "SIM pulled and put back", fault: f{SIM: "absent", Cure: modemsim.Never, For: 3 * time.Minute}},
		{name: "SIM wants a PIN that is not known", fault: f{SIM: "SIM PIN", Cure: modemsim.Never}, want: rests, reason: "PIN"},
		{name: "SIM wants a PUK", fault: f{SIM: "SIM PUK", Cure: modemsim.Never}, want: rests, reason: "PUK"},
		{name: "PIN given after a power cycle", fault: f{NoData: true, Cure: modemsim.PowerKey}, cfg: modemsim.Config{PIN: "4711"}, keep: keeper.Config{PIN: "4711"}},
		{name: "denied by the network", fault: f{Denied: true, Cure: modemsim.Never}, want: rests, reason: "denies"},
		{name: "denied for five minutes", fault: f{Denied: true, Cure: modemsim.Never, For: 5 * time.Minute}, within: 15 * time.Minute},
		{name: "control port deaf, data flows", fault: f{Deaf: true, Cure: modemsim.Never}},
		{name: "control port deaf without data, bus reset helps", fault: f{Deaf: true, NoData: true, Cure: modemsim.USB}},
		{name: "control port deaf without data, reset line helps", fault: f{Deaf: true, NoData: true, Cure: modemsim.ResetPin}},
		{name: "control port deaf without data, power key helps", fault: f{Deaf: true, NoData: true, Cure: modemsim.PowerKey}},
		{name: "control port deaf for a while", fault: f{Deaf: true, NoData: true, Cure: modemsim.Never, For: 9 * time.Second}},
		{name: "gone from the bus, reset line helps", fault: f{OffBus: true, Cure: modemsim.ResetPin}},
		{name: "gone from the bus, power key helps", fault: f{OffBus: true, Cure: modemsim.PowerKey}},
		{name: "gone from the bus and back", fault: f{OffBus: true, Cure: modemsim.Never, For: 12 * time.Second}},
		{name: "gone from the bus, board has no lines", fault: f{OffBus: true, Cure: modemsim.PowerKey}, bare: true, want: rests, reason: "used up"},
		{name: "garbage on the port and a dead context", fault: f{Garbage: true, NoData: true, Cure: modemsim.Redial}},
		{name: "storm of codes and a dead context", fault: f{Storm: true, NoData: true, Cure: modemsim.Reattach}},
		{name: "echo on and a dead context", fault: f{Echo: true, NoData: true, Cure: modemsim.Redial}},
		{name: "replies in single bytes and a dead context", fault: f{Pieces: true, NoData: true, Cure: modemsim.Redial}},
		{name: "replies late by three seconds, data flows", fault: f{Late: 3 * time.Second, Cure: modemsim.Never}},
		{name: "replies late by three seconds without data", fault: f{Late: 3 * time.Second, NoData: true, Cure: modemsim.USB}},
		{name: "every command refused, data flows", fault: f{Errors: true, Cure: modemsim.Never}},
		{name: "every command refused without data", fault: f{Errors: true, NoData: true, Cure: modemsim.USB}},
		{name: "too hot", fault: f{HotC: 92, NoData: true, Cure: modemsim.Never}, want: rests, reason: "hot"},
		{name: "too hot, then cool", fault: f{HotC: 92, NoData: true, Cure: modemsim.Never, For: 4 * time.Minute}},
		{name: "weak signal", fault: f{RSRPdBm: -128, NoData: true, Cure: modemsim.Never}, want: rests, reason: "coverage"},
		{name: "tunnel", fault: f{RSRPdBm: -118, NoData: true, Cure: modemsim.Never, For: 2 * time.Minute}, others: f{RSRPdBm: -119, NoData: true, Cure: modemsim.Never, For: 2 * time.Minute}},
		{name: "receiver down", fault: f{NoData: true, Cure: modemsim.Never}, want: rests, reason: "receiver", nobody: true},
		{name: "receiver stalled", fault: f{NoData: true, Cure: modemsim.Never}, want: rests, reason: "receiver", around: keeper.Around{Stalled: true}},
		{name: "all modems hang at once", fault: f{Deaf: true, NoData: true, Cure: modemsim.USB}, others: f{Deaf: true, NoData: true, Cure: modemsim.USB}},
		{name: "the only modem hangs", fault: f{Deaf: true, NoData: true, Cure: modemsim.ResetPin}, lone: true},
		{name: "at speed, reset waits, context does not", fault: f{NoData: true, Cure: modemsim.Radio}, around: keeper.Around{Moving: true}},
		{name: "slow attach", fault: f{NoData: true, Cure: modemsim.Reattach}, cfg: modemsim.Config{Attach: 20 * time.Second}},
		{name: "reconnects without proof for five seconds", fault: f{}, blink: 5 * time.Second, calm: true},
		{name: "no proof for five seconds again and again, redial helps", fault: f{NoData: true, Cure: modemsim.Redial}, blink: 5 * time.Second},
		{name: "hangs beside a dead modem with lines", fault: f{Deaf: true, NoData: true, Cure: modemsim.ResetPin}, dead: true, within: 15 * time.Minute},
		{name: "hot, then hangs", fault: f{HotC: 92, NoData: true, Cure: modemsim.Never}, then: f{HotC: 92, Deaf: true, NoData: true, Cure: modemsim.USB}, after: 30 * time.Second},
		{name: "leaves coverage, hangs searching", fault: f{RSRPdBm: -125, NoData: true, Cure: modemsim.Never}, then: f{NoSignal: true, Unregistered: true, Cure: modemsim.Radio}, after: 40 * time.Second},
		{name: "switched off", fault: f{OffPower: true, Cure: modemsim.PowerKey}},
		{name: "rejected for good while it searches", fault: f{Cause: 11, Cure: modemsim.Never}, want: rests, reason: "denies"},
		{name: "only watched", fault: f{NoData: true, Cure: modemsim.Never}, want: rests, reason: "only watched", keep: keeper.Config{Off: true}, calm: true},
		{name: "carrier without IPv4, context lost", fault: f{NoContext: true, Cure: modemsim.Redial}, cfg: modemsim.Config{IPv6: true}},
		{name: "at speed, hangs beside good links", fault: f{Deaf: true, NoData: true, Cure: modemsim.USB}, around: keeper.Around{Moving: true}, least: 5 * time.Minute},
		{name: "attach of a minute and a half", fault: f{NoData: true, Cure: modemsim.Reattach}, cfg: modemsim.Config{Attach: 90 * time.Second}, within: 20 * time.Minute},
		{name: "boots for half a minute", fault: f{Deaf: true, NoData: true, Cure: modemsim.USB}, cfg: modemsim.Config{Boot: 32 * time.Second, Register: 20 * time.Second}},
	}
}

// TestFault drives each scripted fault to data or to rest.
func TestFault(t *testing.T) {
	var table []result
	for _, c := range faultCases() {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { table = append(table, runFault(t, c)) })
		})
	}
	beyond := 0
	for _, r := range table {
		if r.beyond {
			beyond++
		}
		end := fmt.Sprintf("data after %v", r.took.Round(time.Second))
		if r.resting != "" {
			end = "rests: " + r.resting
		}
		t.Logf("%-52s %-20s rungs %v", r.name, end, r.rungs)
	}
	t.Logf("%d faults, %d recoveries went beyond what was needed", len(table), beyond)
	if len(table) < 40 {
		t.Errorf("%d faults, want at least 40", len(table))
	}
	if beyond*10 > len(table) {
		t.Errorf("%d of %d recoveries went beyond what was needed, want at most one in ten", beyond, len(table))
	}
}

func runFault(t *testing.T, c faultCase) result {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 3)
	v := newCar(ctx, c, done)
	defer func() {
		cancel()
		for range v.keeps {
			<-done
		}
		for _, m := range v.modems {
			m.Close()
		}
		synctest.Wait()
	}()
	settle := 90 * time.Second
	time.Sleep(settle) // virtual: the modems come up and their ladders come down
	if st := v.keeps[0].Status(); st.State != ladder.Verified {
		t.Fatalf("before the fault: %s (%s)", st.State, st.Reason)
	}
	before := v.keeps[0].Status().Stats.Tried
	v.modems[0].Break(c.fault)
	for _, m := range v.modems[1:] {
		m.Break(c.others)
	}
	if c.dead {
		v.modems[1].Break(modemsim.Fault{OffBus: true, Cure: modemsim.Never})
	}
	at := boot()
	if c.after > 0 {
		time.Sleep(c.after)
		v.modems[0].Break(c.then)
		c.fault = c.then
	}
	if c.want == flows {
		return c.checkFlows(t, v, at, before)
	}
	return c.checkRests(t, v, before)
}

func (c faultCase) checkFlows(t *testing.T, v *car, at time.Duration, before [8]uint64) result {
	within := c.within
	if within == 0 {
		within = 10 * time.Minute
	}
	r := result{name: c.name, took: -1}
	good := time.Duration(0) // when data began to flow without a break
	if c.calm {              // nothing is to happen: look for long
		time.Sleep(within)
	}
	for boot()-at < within+time.Minute {
		time.Sleep(time.Second)
		switch {
		case !v.modems[0].Data():
			good = 0
		case good == 0:
			good = boot()
		case boot()-good >= 30*time.Second:
			r.took = good - at
		}
		if r.took >= 0 {
			break
		}
	}
	r.rungs = tried(before, v.keeps[0].Status().Stats.Tried)
	if r.took < 0 {
		st := v.keeps[0].Status()
		t.Errorf("no data within %v: %s (%s), rungs %v, port %q\n%s", within, st.State, st.Reason, r.rungs, st.PortError, strings.Join(st.Last, "\n"))
	}
	if r.took < c.least {
		t.Errorf("data after %v, want not before %v", r.took, c.least)
	}
	if c.calm {
		r.resting = "left alone, data flows"
		if len(r.rungs) > 0 {
			t.Errorf("it was disturbed: %v", r.rungs)
		}
	}
	need := ladder.Rung(c.fault.Cure)
	if c.fault.Cure == modemsim.Never || c.fault.Cure == modemsim.Nothing {
		need = ladder.Redial // it mends itself: a gentle attempt meanwhile does no harm
	}
	for _, x := range r.rungs {
		r.beyond = r.beyond || x > need
	}
	if n := v.cycles.Load(); n > 0 {
		t.Errorf("two modems were off their buses at once while a third carried data (%d times)", n)
	}
	return r
}

func (c faultCase) checkRests(t *testing.T, v *car, before [8]uint64) result {
	time.Sleep(9 * time.Minute)
	st := v.keeps[0].Status()
	r := result{name: c.name, resting: st.Reason, rungs: tried(before, st.Stats.Tried)}
	if !st.Resting || !strings.Contains(st.Reason, c.reason) {
		t.Errorf("got %s, resting %v (%s), want rest because of %q", st.State, st.Resting, st.Reason, c.reason)
	}
	if c.calm && (len(r.rungs) > 0 || len(v.modems[0].Actions()) > 0) {
		t.Errorf("rungs %v and actions %v, want none", r.rungs, v.modems[0].Actions())
	}
	if c.reason != "used up" && slices.ContainsFunc(r.rungs, ladder.Rung.Disruptive) {
		t.Errorf("it was reset although nothing could help: %v", r.rungs)
	}
	for i, k := range v.keeps[1:] {
		if k.Status().State != ladder.Verified {
			t.Errorf("modem %d suffered: %s", i+1, k.Status().State)
		}
	}
	return r
}

func tried(before, after [8]uint64) []ladder.Rung {
	var rs []ladder.Rung
	for i := range after {
		for range after[i] - before[i] {
			rs = append(rs, ladder.Rung(i))
		}
	}
	return rs
}
