package agent

import (
	"fmt"
	"slices"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/wire"
)

// maxPreview bounds the channels of the live lane when the configuration names
// them by a pattern: a page does not draw more, and the lane stays a few per
// cent of the bytes.
const maxPreview = 200

// reserved are the fields of an output row beside its channels: a channel of
// one of these names would hide it.
var reserved = map[string]bool{
	"car": true, "session": true, "epoch": true, "nonce": true, "lane": true, "seq": true, "row": true, "group": true,
	"ts_ns": true, "ts_ms": true, "boot_ns": true, "clock": true, "clock_unc_ns": true, "Timestamp": true, "Tags": true,
}

// plan is the car's catalogue and the way from a source's groups into it. It is
// fixed for the life of an epoch.
type plan struct {
	catalogue wire.Catalogue
	canonical []byte
	hash      wire.CatalogueHash
	routes    [][]route          // per source and its group: where its rows go
	views     map[uint32][]*view // by full-rate group: its previews, one a rate
	bands     map[uint32]*bands  // by group: what small changes it leaves out
	watches   []*watch           // by group: its latest row
	notes     []note

	shaped map[uint32][]*shaped // by full-rate group: what the configuration says of its channels
}

// note is something about the configuration that only its sources could tell.
type note struct{ path, text string }

// namedSource is a source with the name that the configuration gives it.
type namedSource struct {
	name   string
	source sensors.Source
	at     string       // path in the configuration; empty: not from there
	shape  config.Shape // which of its channels are taken, and how
}

// route is where the rows of one of a source's groups go: nowhere, or into a
// group for each lane.
type route []part

// part takes some channels of a source's group into one group of the catalogue.
type part struct {
	group   uint32
	columns []int // of the source's group; nil: all of them
}

// newPlan lays out the catalogue of car from its sources: all their groups, then
// the preview groups that the configuration asks for.
func newPlan(car string, sources []namedSource, live config.Preview) (*plan, error) {
	p := &plan{
		catalogue: wire.Catalogue{Car: car}, views: map[uint32][]*view{}, bands: map[uint32]*bands{}, shaped: map[uint32][]*shaped{},
	}
	groups, channels := map[string]bool{}, map[string]bool{}
	for _, s := range sources {
		sh := newShaper(s)
		var routes []route
		for _, g := range s.source.Groups() {
			if n := len(g.Channels); n == 0 || n > wire.MaxBlockColumns {
				return nil, fmt.Errorf("agent: group %s of source %s has %d channels (want 1 to %d)", g.Name, s.name, n, wire.MaxBlockColumns)
			}
			if !g.Lane.Valid() {
				g.Lane = wire.LaneFull
			}
			routes = append(routes, p.addGroup(sh, g, groups, channels))
		}
		p.routes = append(p.routes, routes)
		p.notes = append(p.notes, sh.unused()...)
	}
	if err := p.addViews(live); err != nil {
		return nil, err
	}
	if n := p.channels(); n > wire.MaxChannels || len(p.catalogue.Groups) > wire.MaxGroups {
		return nil, fmt.Errorf("agent: %d channels in %d groups (limits %d and %d)", n, len(p.catalogue.Groups), wire.MaxChannels, wire.MaxGroups)
	}
	p.canonical = p.catalogue.Append(nil)
	if len(p.canonical) > wire.MaxCatalogueBytes {
		return nil, fmt.Errorf("agent: catalogue of %d bytes (limit %d): too many channels", len(p.canonical), wire.MaxCatalogueBytes)
	}
	p.hash = wire.HashCatalogue(p.canonical)
	p.watches = newWatches(p)
	return p, nil
}

// addGroup adds one of a source's groups, in as many parts as its channels have
// lanes. The one in the group's own lane keeps its name.
func (p *plan) addGroup(sh *shaper, g wire.Group, groups, channels map[string]bool) route {
	own, all := g.Lane, sh.apply(&g)
	lanes := []wire.Lane{own}
	for _, c := range all {
		if !slices.Contains(lanes, c.lane) {
			lanes = append(lanes, c.lane)
		}
	}
	var out route
	name := g.Name
	for _, lane := range lanes {
		pt := part{group: uint32(len(p.catalogue.Groups))}
		cat := wire.Group{Name: name, Source: sh.name, Lane: lane, RateMilliHz: g.RateMilliHz}
		var taken []*shaped
		for i := range all {
			c := &all[i]
			if c.lane != lane {
				continue
			}
			ch := g.Channels[c.column]
			ch.Name = unique(c.name, sh.name, channels)
			sh.named(c, ch.Name)
			cat.Channels = append(cat.Channels, ch)
			pt.columns = append(pt.columns, c.column)
			taken = append(taken, c)
		}
		if len(cat.Channels) == 0 {
			continue
		}
		if len(cat.Channels) == len(g.Channels) {
			pt.columns = nil
		}
		if len(out) > 0 {
			cat.Name += "." + lane.String()
		}
		cat.Name = unique(cat.Name, sh.name, groups)
		p.catalogue.Groups = append(p.catalogue.Groups, cat)
		p.shaped[pt.group] = taken
		if b := newBands(&cat, taken); b != nil {
			p.bands[pt.group] = b
		}
		out = append(out, pt)
	}
	return out
}

func (p *plan) channels() int {
	n := 0
	for i := range p.catalogue.Groups {
		n += len(p.catalogue.Groups[i].Channels)
	}
	return n
}

// unique returns a name that is not in seen and not reserved, preferring the
// name itself, then "source.name", then "source.name_2" and so on.
func unique(name, source string, seen map[string]bool) string {
	n := name
	if seen[n] || reserved[n] || n == "" {
		n = source + "." + name
	}
	for i := 2; seen[n]; i++ {
		n = fmt.Sprintf("%s.%s_%d", source, name, i)
	}
	seen[n] = true
	return n
}

// addViews adds a preview group for each full-rate group and preview rate.
func (p *plan) addViews(live config.Preview) error {
	if live.Off {
		return nil
	}
	stat, err := config.ParseStat(live.Statistic)
	if err != nil {
		return fmt.Errorf("agent: live.statistic: %w", err)
	}
	left := maxPreview
	for id := range len(p.catalogue.Groups) {
		for i, c := range p.shaped[uint32(id)] {
			g := &p.catalogue.Groups[id]
			ch, rate, how := g.Channels[i], uint64(live.Rate), stat
			switch own := c.preview; {
			case own != nil && own.Off:
				continue
			case own != nil:
				if own.Rate != 0 {
					rate = uint64(own.Rate)
				}
				if own.Statistic != "" {
					if how, err = config.ParseStat(own.Statistic); err != nil {
						return fmt.Errorf("agent: preview of %s: %w", ch.Name, err)
					}
				}
			case g.Lane != wire.LaneFull || left == 0 || live.Channels.Match(ch.Name) < 0:
				continue
			default:
				left--
			}
			ch.Stat = how
			v := p.view(uint32(id), rate, rate == uint64(live.Rate))
			v.add(i, ch)
			pg := &p.catalogue.Groups[v.group]
			pg.Channels = append(pg.Channels, ch)
		}
	}
	return nil
}

// view returns the preview of a group at a rate, making it if there is none.
func (p *plan) view(id uint32, rate uint64, usual bool) *view {
	period := int64(1e12 / rate)
	for _, v := range p.views[id] {
		if v.period == period {
			return v
		}
	}
	g := &p.catalogue.Groups[id]
	pg := wire.Group{Name: "live." + g.Name, Source: g.Source, Lane: wire.LaneLive, RateMilliHz: rate}
	if !usual {
		pg.Name = fmt.Sprintf("%s@%gHz", pg.Name, float64(rate)/1000)
	}
	v := &view{group: uint32(len(p.catalogue.Groups)), period: period}
	p.catalogue.Groups = append(p.catalogue.Groups, pg)
	p.views[id] = append(p.views[id], v)
	return v
}
