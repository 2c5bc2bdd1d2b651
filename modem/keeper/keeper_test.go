package keeper_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/modem"
	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// boot is the boot clock of a bubble: an hour at its start.
func boot() time.Duration { return time.Since(epoch) + time.Hour }

// control is a modem that does as a test says.
type control struct {
	mu    sync.Mutex
	info  modem.Info
	err   error                                        // of Poll
	slow  func(ctx context.Context, what string) error // of all that changes something; nil: at once
	did   []string
	ups   int // times that it was brought up
	times keeper.Timings
}

func (c *control) Run(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func (c *control) do(ctx context.Context, what string) error {
	c.mu.Lock()
	c.did = append(c.did, what)
	slow := c.slow
	c.mu.Unlock()
	if slow != nil {
		return slow(ctx, what)
	}
	return nil
}

func (c *control) set(f func(*control)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(c)
}

func (c *control) done() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.did)
}

func (c *control) Poll(context.Context) (modem.Info, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info, c.err
}

func (c *control) BringUp(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ups++
	return c.err
}
func (c *control) Unlock(ctx context.Context, pin string) error { return c.do(ctx, "unlock "+pin) }
func (c *control) Dial(ctx context.Context) error               { return c.do(ctx, "dial") }
func (c *control) Do(ctx context.Context, rung string) error    { return c.do(ctx, rung) }
func (c *control) Timings() keeper.Timings                      { return c.times }
func (c *control) Changed() <-chan struct{}                     { return nil }
func (c *control) Transcript() []string                         { return nil }
func (c *control) Counters() map[string]uint64                  { return nil }
func (c *control) Command(ctx context.Context, text string) ([]string, error) {
	return []string{text}, c.do(ctx, "command "+text)
}

// up is a modem that is registered and has a context.
var up = modem.Info{SIM: "READY", Registration: 1, Access: 7, Addresses: []string{"10.0.0.2"}}

// kept runs keepers in a bubble until the test ends.
func kept(t *testing.T, g *keeper.Group, parts ...keeper.Parts) []*keeper.Keeper {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, len(parts))
	var ks []*keeper.Keeper
	for _, p := range parts {
		k := g.Add(p)
		ks = append(ks, k)
		go func() { done <- k.Run(ctx) }() // ends with the bubble
	}
	t.Cleanup(func() {
		cancel()
		for range parts {
			<-done
		}
	})
	return ks
}

func opens(c *control) func(context.Context) (keeper.Control, error) {
	return func(context.Context) (keeper.Control, error) { return c, nil }
}

// The network may take minutes to answer a dial: the keeper goes on looking
// meanwhile, and says what it is doing.
func TestADialThatTakesMinutesHoldsUpNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		registered := up
		registered.Addresses = nil
		c := &control{info: registered, slow: func(ctx context.Context, _ string) error {
			select {
			case <-time.After(4 * time.Minute):
			case <-ctx.Done():
			}
			return ctx.Err()
		}}
		var resets int
		var mu sync.Mutex
		proof := time.Duration(0)
		k := kept(t, keeper.NewGroup(boot), keeper.Parts{
			Name: "a", Open: opens(c), Proof: func() time.Duration { mu.Lock(); defer mu.Unlock(); return proof },
			USB: func(context.Context) error { resets++; return nil },
		})[0]
		time.Sleep(time.Minute)
		if st := k.Status(); st.Busy == "" || st.State != ladder.Attaching {
			t.Errorf("while it dials: got %q, %s (%s)", st.Busy, st.State, st.Reason)
		}
		if _, err := k.Command(t.Context(), "AT"); !errors.Is(err, keeper.ErrBusy) {
			t.Errorf("an operator's command: got %v, want ErrBusy", err)
		}
		mu.Lock()
		proof = boot()
		mu.Unlock()
		time.Sleep(2 * time.Second)
		if st := k.Status(); st.State != ladder.Verified {
			t.Errorf("data came while it dialled: got %s (%s)", st.State, st.Reason)
		}
		if err := k.Force(t.Context(), ladder.USB); err != nil || resets != 1 {
			t.Errorf("an operator's bus reset: got %v, %d resets", err, resets)
		}
		if got := c.done(); !slices.Equal(got, []string{"dial"}) {
			t.Errorf("did %q beside the dial", got)
		}
	})
}

// An operator who went away must not share memory with the loop that answers.
func TestAnOperatorMayGoAwayBeforeTheAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		c := &control{info: up, slow: func(ctx context.Context, _ string) error {
			select {
			case <-hold:
			case <-ctx.Done():
			}
			return nil
		}}
		k := kept(t, keeper.NewGroup(boot), keeper.Parts{Name: "a", Open: opens(c), Proof: boot})[0]
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		lines, err := k.Command(ctx, "AT+COPS?")
		if !errors.Is(err, context.DeadlineExceeded) || lines != nil {
			t.Errorf("got %q, %v", lines, err)
		}
		close(hold)
		time.Sleep(2 * time.Second)
		if lines, err = k.Command(t.Context(), "ATI"); err != nil || !slices.Equal(lines, []string{"ATI"}) {
			t.Errorf("the next one: got %q, %v", lines, err)
		}
	})
}

// store is what a keeper kept.
type store struct {
	mu   sync.Mutex
	b    []byte
	fail error
}

func (s *store) save(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.b = slices.Clone(b)
	}
	return s.fail
}

func (s *store) load() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b, nil
}

// run keeps a modem for d, as one process does.
func run(t *testing.T, d time.Duration, p keeper.Parts) keeper.Status {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	k := keeper.NewGroup(boot).Add(p)
	if err := k.Run(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	return k.Status()
}

func count(all []string, want string) (n int) {
	for _, s := range all {
		if s == want {
			n++
		}
	}
	return n
}

func TestAPINIsTriedOnceForACardOverRestarts(t *testing.T) {
	locked := modem.Info{SIM: "SIM PIN", Texts: map[string]string{"iccid": "111"}}
	for name, c := range map[string]struct {
		answer error
		want   int
	}{
		"refused":                    {keeper.ErrRefused, 1},
		"no answer: once again":      {errors.New("no answer"), 2},
		"taken, but never ready":     {nil, 2},
		"the process dies meanwhile": {context.Canceled, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var s store
				ctl := &control{info: locked, slow: func(context.Context, string) error { return c.answer }}
				p := keeper.Parts{Name: "a", Open: opens(ctl), Save: s.save, Load: s.load, Config: keeper.Config{PIN: "1234"}}
				for range 5 { // a restart loop
					run(t, 40*time.Second, p)
				}
				if got := count(ctl.done(), "unlock 1234"); got != c.want {
					t.Errorf("tried %d times, want %d: a card locks itself at the third", got, c.want)
				}
				ctl.set(func(c *control) { c.info.Texts = map[string]string{} }) // it does not say which card it is: no new try
				run(t, 40*time.Second, p)
				if got := count(ctl.done(), "unlock 1234"); got != c.want {
					t.Errorf("tried %d times at a card that cannot be told apart, want %d", got, c.want)
				}
				ctl.set(func(c *control) { c.info.Texts = map[string]string{"iccid": "222"} })
				run(t, 20*time.Second, p)
				if got := count(ctl.done(), "unlock 1234"); got != c.want+1 {
					t.Errorf("another card: tried %d times in all, want %d", got, c.want+1)
				}
				p.Config.PIN = "4711"
				run(t, 20*time.Second, p)
				if got := count(ctl.done(), "unlock 4711"); got != 1 {
					t.Errorf("another PIN: tried %d times, want once", got)
				}
			})
		})
	}
}

func TestAPINIsNotUsedBeforeThatIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store{fail: errors.New("disk full")}
		c := &control{info: modem.Info{SIM: "SIM PIN"}}
		run(t, time.Minute, keeper.Parts{Name: "a", Open: opens(c), Save: s.save, Load: s.load, Config: keeper.Config{PIN: "1234"}})
		if got := c.done(); len(got) != 0 {
			t.Errorf("did %q", got)
		}
	})
}

func TestAFlickerOfTheCardDoesNotBringAnotherTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s store
		c := &control{info: modem.Info{SIM: "SIM PIN"}, slow: func(context.Context, string) error { return keeper.ErrRefused }}
		k := kept(t, keeper.NewGroup(boot), keeper.Parts{Name: "a", Open: opens(c), Save: s.save, Config: keeper.Config{PIN: "1234"}})[0]
		for range 4 {
			c.set(func(c *control) { c.info.SIM = "absent" })
			time.Sleep(5 * time.Second)
			c.set(func(c *control) { c.info.SIM = "SIM PIN" })
			time.Sleep(time.Minute)
		}
		if got := count(c.done(), "unlock 1234"); got != 1 || !k.Status().NoPIN {
			t.Errorf("tried %d times, refused %v", got, k.Status().NoPIN)
		}
		c.set(func(c *control) { c.info.SIM, c.slow = "READY", nil }) // somebody unlocked it
		time.Sleep(5 * time.Second)
		c.set(func(c *control) { c.info.SIM = "SIM PIN" }) // and it was power-cycled
		time.Sleep(5 * time.Second)
		if got := count(c.done(), "unlock 1234"); got != 2 {
			t.Errorf("after it was ready: tried %d times in all, want twice", got)
		}
	})
}

func TestAWatchedModemIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s store
		c := &control{info: modem.Info{SIM: "SIM PIN", Registration: 1}}
		st := run(t, 10*time.Minute, keeper.Parts{Name: "a", Open: opens(c), Save: s.save, Config: keeper.Config{PIN: "1234", Off: true}})
		if got := c.done(); len(got) != 0 || st.Stats != (ladder.Stats{}) || s.b != nil {
			t.Errorf("did %q, counted %+v, kept %q", got, st.Stats, s.b)
		}
	})
}

// A service that is missing is started again; its modems are not reset for it.
func TestAMissingServiceIsNoFaultOfItsModem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &control{info: up}
		var started, resets atomic.Int64
		p := keeper.Parts{
			Name: "a", Open: opens(c), USB: func(context.Context) error { resets.Add(1); return nil },
			Service: func(context.Context) error {
				if started.Add(1) == 30 { // the agent's own pauses are not the keeper's
					c.set(func(c *control) { c.err = nil })
				}
				return nil
			},
		}
		c.err = errors.Join(keeper.ErrNoService, errors.New("no such name on the bus"))
		k := kept(t, keeper.NewGroup(boot), p)[0]
		time.Sleep(9 * time.Second)
		if st := k.Status(); st.State != ladder.Unserved || !st.Resting || started.Load() != 0 {
			t.Errorf("at first: got %s (%s), started %d times", st.State, st.Reason, started.Load())
		}
		time.Sleep(45 * time.Second)
		if st := k.Status(); st.State == ladder.Unserved || resets.Load() != 0 || started.Load() != 30 {
			t.Errorf("in the end: got %s, %d resets, started %d times", st.State, resets.Load(), started.Load())
		}
	})
}

// pulse is one use of a line.
type pulse struct {
	at, hold time.Duration
}

func TestThePowerKeyIsAToggle(t *testing.T) {
	times := keeper.Timings{PowerOn: 500 * time.Millisecond, PowerOff: 800 * time.Millisecond, OffWait: 12 * time.Second, Boot: 15 * time.Second}
	for name, c := range map[string]struct {
		on    bool // on its bus at first
		hung  bool // and does not leave it
		dead  bool // never comes
		holds []time.Duration
	}{
		"runs: off, logged out, on": {on: true, holds: []time.Duration{times.PowerOff, times.PowerOn}},
		"hangs on its bus":          {on: true, hung: true, holds: []time.Duration{times.PowerOff, times.PowerOn}},
		"is off: on":                {holds: []time.Duration{times.PowerOn}},
		"is on, but not on its bus": {dead: true, holds: []time.Duration{times.PowerOn, times.PowerOff, times.PowerOn}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				there, presses := c.on, []pulse(nil)
				later := func(d time.Duration, now bool) {
					time.AfterFunc(d, func() { mu.Lock(); defer mu.Unlock(); there = now })
				}
				p := keeper.Parts{
					Name: "a", Open: opens(&control{info: up, times: times}), Proof: boot,
					Present: func() bool { mu.Lock(); defer mu.Unlock(); return there },
					Config:  keeper.Config{Timings: times},
					Power: func(_ context.Context, hold time.Duration) error {
						mu.Lock()
						defer mu.Unlock()
						presses = append(presses, pulse{boot(), hold})
						switch {
						case hold == times.PowerOff && !c.hung:
							later(3*time.Second, false)
						case hold == times.PowerOn && !c.dead:
							later(5*time.Second, true)
						}
						return nil
					},
				}
				k := kept(t, keeper.NewGroup(boot), p)[0]
				time.Sleep(5 * time.Second)
				if err := k.Force(t.Context(), ladder.PowerKey); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Minute) // timers of the modem end
				mu.Lock()
				defer mu.Unlock()
				var holds []time.Duration
				for i, x := range presses {
					holds = append(holds, x.hold)
					if i > 0 && x.at-presses[i-1].at < 3*time.Second {
						t.Errorf("press %d comes %v after the one before: it had no time to log out", i, x.at-presses[i-1].at)
					}
				}
				if !slices.Equal(holds, c.holds) {
					t.Errorf("held for %v, want %v", holds, c.holds)
				}
			})
		})
	}
}

// The agent ends while the module logs out: it is switched on again all the same,
// and none is switched off for an agent that ends.
func TestAModuleIsNotLeftOff(t *testing.T) {
	times := keeper.Timings{PowerOn: 500 * time.Millisecond, PowerOff: 800 * time.Millisecond, OffWait: 12 * time.Second, Boot: 15 * time.Second}
	for name, c := range map[string]struct {
		there bool
		end   time.Duration // of the agent after the rung began
		holds []time.Duration
	}{
		"while off is pressed":      {true, 400 * time.Millisecond, []time.Duration{times.PowerOff, times.PowerOn}},
		"while it logs out":         {true, 3 * time.Second, []time.Duration{times.PowerOff, times.PowerOn}},
		"before on is pressed":      {true, 13 * time.Second, []time.Duration{times.PowerOff, times.PowerOn}},
		"before off would be":       {false, 10 * time.Second, []time.Duration{times.PowerOn}},
		"while on is pressed again": {true, 13*time.Second + 900*time.Millisecond, []time.Duration{times.PowerOff, times.PowerOn}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var holds []time.Duration
				p := keeper.Parts{
					Name: "a", Proof: boot, Config: keeper.Config{Timings: times},
					Present: func() bool { return c.there }, // it hangs on its bus, or never comes
					Power: func(ctx context.Context, hold time.Duration) error {
						select {
						case <-time.After(hold):
						case <-ctx.Done():
							return ctx.Err()
						}
						mu.Lock()
						defer mu.Unlock()
						holds = append(holds, hold)
						return nil
					},
				}
				ctx, cancel := context.WithCancel(t.Context())
				k := keeper.NewGroup(boot).Add(p)
				done, forced := make(chan error, 1), make(chan error, 1)
				go func() { done <- k.Run(ctx) }() // ends with cancel
				time.Sleep(5 * time.Second)
				go func() { forced <- k.Force(t.Context(), ladder.PowerKey) }() // ends with the rung
				for !k.Status().Acting {
					time.Sleep(time.Millisecond)
				}
				time.Sleep(c.end)
				cancel()
				ended := time.Now()
				<-done
				<-forced
				if d := time.Since(ended); d > 20*time.Second {
					t.Errorf("the keeper took %v to end", d)
				}
				if !slices.Equal(holds, c.holds) {
					t.Errorf("held for %v, want %v", holds, c.holds)
				}
			})
		})
	}
}

// A line must be held for its time although the port dies with the first
// millisecond of it.
func TestALineIsHeldAlthoughTheControlDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &dying{control: control{info: up}, dead: make(chan struct{})}
		var held error
		k := kept(t, keeper.NewGroup(boot), keeper.Parts{
			Name: "a", Open: func(context.Context) (keeper.Control, error) { return c, nil }, Proof: boot,
			Reset: func(ctx context.Context, d time.Duration) error {
				c.once.Do(func() { close(c.dead) })
				select {
				case <-time.After(d):
				case <-ctx.Done():
					held = ctx.Err()
				}
				return nil
			},
		})[0]
		time.Sleep(3 * time.Second)
		if err := k.Force(t.Context(), ladder.ResetPin); err != nil || held != nil {
			t.Errorf("got %v, the line was let go: %v", err, held)
		}
	})
}

// dying is a control whose port dies when a test says so.
type dying struct {
	control
	dead chan struct{}
	once sync.Once
}

func (d *dying) Run(ctx context.Context) error {
	select {
	case <-d.dead:
		return keeper.ErrGone
	case <-ctx.Done():
		return ctx.Err()
	}
}

// A modem that was deaf when its port was opened, or whose service began anew, is
// brought up once it answers.
func TestWhatWasNotBroughtUpIsTriedAgain(t *testing.T) {
	for name, err := range map[string]error{"deaf at first": errors.New("no answer"), "service missing": keeper.ErrNoService} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := &control{info: up, err: err}
				kept(t, keeper.NewGroup(boot), keeper.Parts{Name: "a", Open: opens(c), Proof: boot})
				ups := func() (n int) { c.set(func(c *control) { n = c.ups }); return n }
				time.Sleep(20 * time.Second)
				if n := ups(); n != 1 {
					t.Errorf("while it does not answer: tried %d times, want once", n)
				}
				c.set(func(c *control) { c.err = nil })
				time.Sleep(20 * time.Second)
				if n := ups(); n != 2 {
					t.Errorf("now that it answers: tried %d times in all, want twice", n)
				}
				c.set(func(c *control) { c.err = keeper.ErrNoService })
				time.Sleep(30 * time.Second)
				c.set(func(c *control) { c.err = nil })
				time.Sleep(20 * time.Second)
				if n := ups(); n != 3 {
					t.Errorf("after its service began anew: tried %d times in all, want three", n)
				}
			})
		})
	}
}
