package fire

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"telemetry/lab/link"
	"telemetry/lab/netns"
)

// linkCount is how many modems the car has.
const linkCount = 3

// newBed makes the car's namespace and its links.
func newBed(seed uint64) (*netns.Testbed, error) {
	cfg := netns.Config{Seed: seed}
	for i := range linkCount {
		delay := time.Duration(20+10*i) * time.Millisecond
		up := link.Spec{BitRate: int64(10-3*i) * 1e6, Delay: delay, Jitter: delay / 4, Loss: 0.003}
		down := link.Spec{BitRate: 20e6, Delay: delay, Jitter: delay / 4, Loss: 0.003}
		cfg.Links = append(cfg.Links, netns.Link{Device: device(i), Up: up, Down: down})
	}
	return netns.New(cfg)
}

func device(i int) string { return "wwan" + string(rune('0'+i)) }

// trouble is what can happen to a link.
type trouble struct {
	what    string
	state   link.State
	address bool // the link comes back under another address
	unplug  bool // the modem goes and comes, with its device
}

// troubles happen once each, in an order of the seed.
var troubles = []trouble{
	{what: "silent", state: link.Silent},
	{what: "silent, then under another address", state: link.Silent, address: true},
	{what: "dropped", state: link.Drop},
	{what: "down, then under another address", state: link.Down, address: true},
	{what: "held", state: link.Hold},
	{what: "unplugged, then under another address", unplug: true, address: true},
}

// change is one thing done to a link at a time after the start.
type change struct {
	at      time.Duration
	link    int
	trouble trouble
	end     bool // of the trouble
}

// linkPlan spreads all troubles over the time; they may overlap, never on one
// link. All are over at the end.
func linkPlan(seed uint64, length time.Duration) []change {
	rng := rand.New(rand.NewPCG(seed, 0x11c5))
	part := length / time.Duration(len(troubles)+1)
	var free [linkCount]time.Duration
	var out []change
	for i, k := range rng.Perm(len(troubles)) {
		begin := time.Duration(i)*part + time.Duration(rng.Int64N(int64(part)+1))
		n := rng.IntN(linkCount)
		for free[n] > begin { // no trouble lasts for two parts: one of three is free
			n = (n + 1) % linkCount
		}
		end := begin + part/4 + time.Duration(rng.Int64N(int64(part)+1))
		end = min(end, length)
		free[n] = end
		out = append(out, change{begin, n, troubles[k], false}, change{end, n, troubles[k], true})
	}
	slices.SortStableFunc(out, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	return out
}

// runLinks carries out a plan.
func (r *run) runLinks(ctx context.Context, begun time.Time, plan []change) error {
	for _, c := range plan {
		t := time.NewTimer(time.Until(begun.Add(c.at)))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-t.C:
		}
		if err := r.apply(c); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) apply(c change) error {
	p := r.bed.Paths()[c.link]
	if !c.end {
		r.say("link %s: %s", p.Device(), c.trouble.what)
		if c.trouble.unplug {
			return p.Unplug()
		}
		return p.Set(c.trouble.state)
	}
	if c.trouble.address {
		if _, err := p.Readdress(netip.Addr{}); err != nil {
			return err
		}
	}
	r.say("link %s: back, address %v", p.Device(), p.Addr())
	if c.trouble.unplug {
		return p.Plug()
	}
	return p.Set(link.Up)
}
