package agent

import (
	"fmt"
	"path"

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
	groups    [][]uint32       // per source and its group: the catalogue's group
	views     map[uint32]*view // by full-rate group: its preview
	watches   []*watch         // by group: its latest row
}

// namedSource is a source with the name that the configuration gives it.
type namedSource struct {
	name   string
	source sensors.Source
}

// newPlan lays out the catalogue of car from its sources: all their groups, then
// a preview group for each that the configuration asks for.
func newPlan(car string, sources []namedSource, live config.Preview) (*plan, error) {
	p := &plan{catalogue: wire.Catalogue{Car: car}, views: map[uint32]*view{}}
	groups, channels := map[string]bool{}, map[string]bool{}
	for _, s := range sources {
		var ids []uint32
		for _, g := range s.source.Groups() {
			if n := len(g.Channels); n == 0 || n > wire.MaxBlockColumns {
				return nil, fmt.Errorf("agent: group %s of source %s has %d channels (want 1 to %d)", g.Name, s.name, n, wire.MaxBlockColumns)
			}
			g.Source = s.name
			g.Name = unique(g.Name, s.name, groups)
			if !g.Lane.Valid() {
				g.Lane = wire.LaneFull
			}
			g.Channels = append([]wire.Channel(nil), g.Channels...)
			for i := range g.Channels {
				g.Channels[i].Name = unique(g.Channels[i].Name, s.name, channels)
			}
			ids = append(ids, uint32(len(p.catalogue.Groups)))
			p.catalogue.Groups = append(p.catalogue.Groups, g)
		}
		p.groups = append(p.groups, ids)
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

func (p *plan) addViews(live config.Preview) error {
	if live.Off {
		return nil
	}
	stat, err := config.ParseStat(live.Statistic)
	if err != nil {
		return fmt.Errorf("agent: live.statistic: %w", err)
	}
	left := maxPreview
	for id := range p.catalogue.Groups {
		g := p.catalogue.Groups[id]
		if g.Lane != wire.LaneFull || left == 0 {
			continue
		}
		v := &view{group: uint32(len(p.catalogue.Groups)), stat: stat, period: int64(1e12 / uint64(live.Rate))}
		pg := wire.Group{Name: "live." + g.Name, Source: g.Source, Lane: wire.LaneLive, RateMilliHz: uint64(live.Rate)}
		for i, c := range g.Channels {
			if left == 0 || !matches(c.Name, live.Channels) {
				continue
			}
			c.Stat = stat
			v.add(i, c)
			pg.Channels = append(pg.Channels, c)
			left--
		}
		if len(pg.Channels) > 0 {
			p.catalogue.Groups = append(p.catalogue.Groups, pg)
			p.views[uint32(id)] = v
		}
	}
	return nil
}

// matches reports whether a name fits one of the patterns with * and ?.
func matches(name string, patterns []string) bool {
	for _, pat := range patterns {
		if ok, err := path.Match(pat, name); err == nil && ok || pat == "*" {
			return true
		}
	}
	return false
}
