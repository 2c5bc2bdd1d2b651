package pagetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"telemetry/lab/link"
)

// silences is how often a link of the demo falls silent: when in the agent's second
// that happens is not always the worst.
const silences = 5

// leastShare of what is delivered is what a link carries that is in use.
const leastShare = 0.2

func demoSteps() []step {
	return []step{{"demo", (*suite).demo, nil}, {"silent", (*suite).silent, []string{"demo"}}}
}

// demo opens the wall of the demo's car.
func (s *suite) demo(ctx context.Context) (err error) {
	if err := s.reports(ctx); err != nil {
		return err
	}
	if s.page, err = s.browser.Open(desktop, false); err != nil {
		return err
	}
	if err := s.page.Go(s.wall()); err != nil {
		return err
	}
	_, err = s.page.Wait(20*time.Second, "__lab.ready > 0")
	return err
}

// silent lets the demo's fastest link fall silent, several times.
func (s *suite) silent(ctx context.Context) error {
	var suspect, dead []float64
	for range silences {
		if err := s.carries(ctx, 0); err != nil {
			return err
		}
		q, d, err := s.silence("lte-a", 0)
		if err != nil {
			return err
		}
		suspect, dead = append(suspect, ms(q)), append(dead, ms(d))
	}
	slices.Sort(suspect)
	slices.Sort(dead)
	s.l.told(fmt.Sprintf("a silent link is shown as suspect after, median of %d", silences), suspect[silences/2], "ms")
	s.l.atMost(fmt.Sprintf("a silent link is shown as suspect after, worst of %d", silences), suspect[silences-1], maxSuspectMS, "ms")
	s.l.atMost(fmt.Sprintf("a silent link is shown as dead after, worst of %d", silences), dead[silences-1], maxDeadMS, "ms")
	return nil
}

// carries waits until a link carries a part of what is sent: only then is it missed.
func (s *suite) carries(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	for {
		st, err := s.stack.AgentStatus(ctx)
		if err == nil && len(st.Links) > n && st.Links[n].Share >= leastShare {
			return nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("pagetest: link %d carries nothing: %w", n, context.Cause(ctx)), err)
		}
	}
}

// narrow does it to a link that takes half a second for what is on it: that must have
// arrived before anything is overdue.
func (s *suite) narrow(context.Context) error {
	suspect, dead, err := s.silence("lte-a", 0)
	s.l.check("a silent link of 60 kbit/s is shown, and that it is back", err == nil, "%v", err)
	s.l.told("a silent link of 60 kbit/s is shown as suspect after", ms(suspect), "ms")
	s.l.told("a silent link of 60 kbit/s is shown as dead after", ms(dead), "ms")
	return nil
}

// silence lets a link fall silent until the page says that it is dead, and returns how
// long it took until the page said suspect, and dead; then the link comes back, which
// the page must say, too.
func (s *suite) silence(name string, n int) (suspect, dead time.Duration, err error) {
	relay := s.stack.Relay(n)
	state := func(words ...string) string {
		return fmt.Sprintf("%s.includes(document.querySelector('[data-link=%q]')?.dataset.state)", list(words), name)
	}
	if _, err := s.page.Wait(30*time.Second, state("up")); err != nil {
		return 0, 0, err
	}
	relay.Set(link.Silent)
	defer relay.Set(link.Up)
	if suspect, err = s.page.Wait(8*time.Second, state("suspect", "dead", "down", "dialing")); err != nil {
		return suspect, 0, err
	}
	dead, err = s.page.Wait(10*time.Second, state("dead", "down", "dialing"))
	dead += suspect
	if err != nil {
		return suspect, dead, err
	}
	s.snap("link-dead")
	relay.Set(link.Up)
	_, err = s.page.Wait(30*time.Second, state("up"))
	return suspect, dead, err
}
