package links

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"telemetry/internal/clock"
	"telemetry/lab/link"
	"telemetry/lab/netns"
)

// event is one thing done to one link, at a time after the start of the load.
type event struct {
	at        time.Duration
	link      int
	state     link.State
	readdress bool
	back      bool // the end of a trouble
}

func (e event) String() string {
	switch {
	case e.readdress:
		return fmt.Sprintf("link %d rebound", e.link)
	case e.back:
		return fmt.Sprintf("link %d back", e.link)
	}
	return fmt.Sprintf("link %d %v", e.link, e.state)
}

// Periods of troubles: each link in turn.
const (
	troubleFor   = 3 * time.Second
	troubleEvery = 5 * time.Second
	healEvery    = 8 * time.Second // long enough to see the capacity come back
)

// baseline is until when nothing happens in the cases with troubles: the figures
// of the critical lane before are what its rise counts from.
func baseline(seconds int) time.Duration {
	return warmUp + max(3*time.Second, time.Duration(seconds)*time.Second/4)
}

// plan returns the events of a case for n links.
func plan(which string, n, seconds int) []event {
	every := troubleEvery
	state := link.Silent
	switch which {
	case "heal":
		every = healEvery
	case "down":
		state = link.Down
	case "kill", "rebind":
	default:
		return nil
	}
	var out []event
	end := time.Duration(seconds) * time.Second
	for i, at := 0, baseline(seconds); at+every <= end; i, at = i+1, at+every {
		// The phase walks, so that no period of anybody's own can hide.
		begin := at + time.Duration(i*37%100)*time.Millisecond
		if which == "rebind" {
			out = append(out, event{at: begin, link: i % n, readdress: true})
			continue
		}
		out = append(out, event{at: begin, link: i % n, state: state}, event{at: begin + troubleFor, link: i % n, state: link.Up, back: true})
	}
	return out
}

// happened is an event with its time on the boot clock.
type happened struct {
	event
	bootNS int64
}

// carryOut does the events; start is when the load begins, on the boot clock.
func carryOut(ctx context.Context, bed *netns.Testbed, plan []event, start int64) ([]happened, error) {
	var out []happened
	for _, e := range plan {
		if err := sleepUntil(ctx, start+int64(e.at)); err != nil {
			return out, err
		}
		at := bootNS()
		p := bed.Paths()[e.link]
		var err error
		if e.readdress {
			_, err = p.Readdress(netip.Addr{})
		} else {
			err = p.Set(e.state)
		}
		if err != nil {
			return out, fmt.Errorf("links: %v: %w", e, err)
		}
		out = append(out, happened{e, at})
	}
	return out, nil
}

func sleepUntil(ctx context.Context, at int64) error {
	return clock.Sleep(ctx, time.Duration(at-bootNS()))
}
