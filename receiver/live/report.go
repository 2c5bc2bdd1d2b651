package live

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"telemetry/wire"
)

// Report is what the other roles of the process know. The zero value is nothing.
type Report struct {
	Ingest   bool // the role is here
	Sequence bool
	Cars     map[string]CarReport
}

// CarReport is the part of one car.
type CarReport struct {
	Credit   uint64 // bytes that ingest would take
	Waiting  int64  // bytes on their way to Kafka
	SilentMS int64
	Conns    []Conn
	Lanes    map[string]LaneReport
}

// Conn is one connection of a car's link, as ingest hears it.
type Conn struct {
	Link     int
	Gen      uint32
	Bytes    uint64
	SilentMS int64
}

// LaneReport is what the sequencer counts since its start, in batches.
type LaneReport struct {
	In, Duplicates, Late, Missing, Holes uint64
	LagMS                                int64
}

// rate turns a counter into a smoothed number per second.
type rate struct {
	last  uint64
	perS  float64
	known bool
}

// rateWeight is the share of the newest interval.
const rateWeight = 0.4

func (r *rate) step(n uint64, seconds float64) {
	if !r.known || n < r.last { // the counter's owner has begun again
		r.last, r.known = n, true
		return
	}
	if seconds > 0 {
		r.perS += rateWeight * (float64(n-r.last)/seconds - r.perS)
	}
	r.last = n
}

// ratesEvery is how often rates are formed and the other roles are asked.
const ratesEvery = 500 * time.Millisecond

// rates forms the rates of all counters while somebody looks, and asks the other roles
// now and then while nobody does, until ctx ends.
func (s *Server) rates(ctx context.Context) {
	t := time.NewTicker(ratesEvery)
	defer t.Stop()
	last := time.Now()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		watched := s.watched()
		if !watched && n%int(idleReports/ratesEvery) != 0 {
			continue
		}
		var rep Report
		if s.opt.Report != nil {
			rep = s.opt.Report(ctx)
		}
		now := time.Now()
		if watched {
			s.store.step(rep, now.Sub(last).Seconds(), now.UnixMilli())
			last = now
		} else {
			s.store.idle(rep, now.UnixMilli())
		}
		s.store.dropIdle(now.UnixMilli())
	}
}

// step takes one report and forms the rates of the last seconds.
func (s *store) step(rep Report, seconds float64, nowMS int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.here = rep
	for name := range rep.Cars {
		s.car([]byte(name), nowMS) // a car that has sent no row yet is shown, too
	}
	for name, c := range s.cars {
		c.report = rep.Cars[name]
		for i := range c.lanes {
			l := &c.lanes[i]
			l.rowRate.step(l.rows, seconds)
			l.batchRate.step(l.batches, seconds)
			l.inRate.step(c.report.Lanes[wire.Lane(i).String()].In, seconds)
		}
		next := make(map[string]rate, len(c.report.Conns))
		for _, k := range c.report.Conns {
			id := fmt.Sprintf("%d.%d", k.Link, k.Gen)
			r := c.linkRates[id]
			r.step(k.Bytes, seconds)
			next[id] = r
		}
		c.linkRates = next
	}
	s.noteLanes(nowMS, true)
}

// Channels that tell of a link: link_<name>_<what>, the state in a group of the agent's
// that comes at once when it changes, the rest in the one of every second.
const (
	linksGroup = "agent.links"
	linkPrefix = "link_"
	stateLeaf  = "_state"
	linkUp     = "up" // as the car calls it
)

// link notes a channel that tells of a link. The agent lists its links in their
// order, so the position is the index that ingest knows.
func (c *car) link(ch *channel) {
	if ch.group != linksGroup || !strings.HasPrefix(ch.name, linkPrefix) || !strings.HasSuffix(ch.name, stateLeaf) {
		return
	}
	name := strings.TrimSuffix(strings.TrimPrefix(ch.name, linkPrefix), stateLeaf)
	if name != "" && len(c.links) < 32 && !slices.Contains(c.links, name) {
		c.links, ch.ofLink = append(c.links, name), true
	}
}

// Link is one link of a car, from the car's own channels and from ingest; a
// number that nobody knows is null.
type Link struct {
	Name     string   `json:"name"`
	State    string   `json:"state"`     // as the car says; "" = not known
	RTTMS    *float64 `json:"rtt_ms"`    // the car's
	RateBS   *float64 `json:"rate_bs"`   // delivery rate that the car measures, bytes/s
	InFlight *float64 `json:"in_flight"` // bytes without proof of delivery, as the car says
	TimeMS   int64    `json:"time_ms"`   // of the newest that the car says; 0: nothing
	HeardMS  *int64   `json:"heard_ms"`  // since ingest heard the link
	InBS     *float64 `json:"in_bs"`     // bytes/s that ingest hears
}

// linksOf joins what the car and what ingest say. Guarded by the store's mu.
func (c *car) linksOf() []Link {
	out := []Link{}
	for _, name := range c.links {
		l := Link{Name: name}
		if ch := c.named(linkPrefix + name + stateLeaf); ch != nil {
			l.State, l.TimeMS = ch.text(), ch.tsMS
		}
		if ch := c.named(linkPrefix + name + "_rtt"); ch != nil {
			l.TimeMS = max(l.TimeMS, ch.tsMS)
		}
		l.RTTMS, l.RateBS, l.InFlight = c.number(name, "_rtt"), c.number(name, "_rate"), c.number(name, "_in_flight")
		out = append(out, l)
	}
	for _, k := range c.report.Conns {
		for len(out) <= k.Link && k.Link < 256 {
			out = append(out, Link{Name: "link " + strconv.Itoa(len(out))})
		}
		l, r := &out[k.Link], c.linkRates[fmt.Sprintf("%d.%d", k.Link, k.Gen)]
		if l.HeardMS == nil || k.SilentMS < *l.HeardMS {
			l.HeardMS = &k.SilentMS
		}
		if l.InBS == nil {
			l.InBS = new(float64)
		}
		*l.InBS += r.perS
	}
	return out
}

func (c *car) named(name string) *channel {
	// The agent's names need no escaping: links are words of a configuration.
	return c.byKey[strconv.Quote(name)]
}

func (c *car) number(link, what string) *float64 {
	ch := c.named(linkPrefix + link + what)
	if ch == nil {
		return nil
	}
	v := ch.value
	return &v
}

// text returns the name of the channel's value, or the value.
func (ch *channel) text() string {
	i, ok := slices.BinarySearchFunc(ch.enum, int64(ch.value), func(e wire.EnumValue, v int64) int { return cmp.Compare(e.Raw, v) })
	if ok {
		return ch.enum[i].Name
	}
	return strconv.FormatFloat(ch.value, 'g', -1, 64)
}

// LaneView is one lane of a car. In to Lag come from the sequencer and are null
// when it runs elsewhere; without it late and missing count what the topics show
// since the page's role began.
type LaneView struct {
	Lane       string   `json:"lane"`
	RowsS      float64  `json:"rows_s"`     // rows written per second
	BatchesS   float64  `json:"batches_s"`  // batches written per second
	InS        *float64 `json:"in_s"`       // batches read per second, duplicates included
	LagMS      *int64   `json:"lag_ms"`     // of what is written behind what was read
	Holes      *uint64  `json:"holes"`      // batches waited for
	Duplicates *uint64  `json:"duplicates"` // batches dropped
	Missing    uint64   `json:"missing"`    // batches that will never come
	Late       uint64   `json:"late"`       // batches after their window
	NewestMS   int64    `json:"newest_ms"`  // event time of the newest sample; 0: none
}

func (c *car) lanesOf(here Report) []LaneView {
	var out []LaneView
	for _, id := range wire.Lanes {
		l := &c.lanes[id]
		v := LaneView{
			Lane: id.String(), RowsS: l.rowRate.perS, BatchesS: l.batchRate.perS, Missing: l.missing, Late: l.late, NewestMS: l.newestMS,
		}
		if r, ok := c.report.Lanes[v.Lane]; ok && here.Sequence {
			in := l.inRate.perS
			v.InS, v.LagMS, v.Holes, v.Duplicates, v.Missing, v.Late = &in, &r.LagMS, &r.Holes, &r.Duplicates, r.Missing, r.Late
		}
		out = append(out, v)
	}
	return out
}
