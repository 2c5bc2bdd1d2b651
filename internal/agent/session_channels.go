package agent

import (
	"fmt"
	"strings"

	"telemetry/internal/config"
)

// spot is one channel of one source.
type spot struct {
	source, group, column int
	name                  string // source.channel
}

// sought are the channels that a session rests on.
type sought struct {
	lat, lon *spot // both or none, in one group
	lap      *spot
}

// seek finds the channels that a session rests on among those of the sources, and
// notes what is unknown or could be another one.
func seek(cfg config.Session, sources []namedSource, p *plan) (w sought, notes []note) {
	warn := func(key, format string, args ...any) {
		notes = append(notes, note{"session." + key, fmt.Sprintf(format, args...)})
	}
	find := func(key, want string) []spot {
		hits, only := spots(want, sources, p)
		switch {
		case len(hits) == 0:
			warn(key, "no channel is called %q, there will be no laps (edgeagent channels lists them)", want)
		case !only:
			warn(key, "%q may be %s: the first one is taken", want, names(hits))
		}
		return hits
	}
	if cfg.LapChannel != "" {
		if hits := find("lap_channel", cfg.LapChannel); len(hits) > 0 {
			w.lap = &hits[0]
		}
	}
	if cfg.Start == nil {
		return w, notes
	}
	lats, lons := find("latitude", cfg.Latitude), find("longitude", cfg.Longitude)
	for i := range lats {
		for k := range lons {
			if w.lat == nil && lats[i].source == lons[k].source && lats[i].group == lons[k].group {
				w.lat, w.lon = &lats[i], &lons[k]
			}
		}
	}
	if w.lat == nil && len(lats) > 0 && len(lons) > 0 {
		warn("latitude", "%s and %s do not come together in one group: there will be no laps", lats[0].name, lons[0].name)
	}
	return w, notes
}

// spots returns the channels that a name may mean, the best one first: one with the
// name of its source or group before it, one that the car's catalogue calls so, one
// that its source calls so. only is whether none but the first may be meant.
func spots(want string, sources []namedSource, p *plan) (hits []spot, only bool) {
	var exact, listed, short []spot
	for i, s := range sources {
		if s.name == config.OwnSource || s.name == sourcesName {
			continue
		}
		for g, group := range s.source.Groups() {
			for k := range group.Channels {
				ch := group.Channels[k].Name
				at := spot{i, g, k, s.name + "." + ch}
				switch want {
				case s.name + "." + ch, s.name + "." + group.Name + "." + ch, group.Name + "." + ch:
					exact = append(exact, at)
				case p.nameOf(i, g, k):
					listed = append(listed, at)
				case ch:
					short = append(short, at)
				}
			}
		}
	}
	hits = append(append(exact, listed...), short...)
	if len(exact) > 0 {
		return hits, len(exact) == 1
	}
	return hits, len(hits) == 1
}

// nameOf returns the name in the catalogue of a source's channel; empty if it is
// not taken.
func (p *plan) nameOf(source, group, column int) string {
	for _, part := range p.routes[source][group] {
		channels := p.catalogue.Groups[part.group].Channels
		if part.columns == nil {
			return channels[column].Name
		}
		for i, c := range part.columns {
			if c == column {
				return channels[i].Name
			}
		}
	}
	return ""
}

// names lists spots for a person.
func names(hits []spot) string {
	var out []string
	for _, h := range hits {
		out = append(out, h.name)
	}
	return strings.Join(out, ", ")
}
