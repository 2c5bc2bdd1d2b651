package live

import (
	"bytes"
	"slices"
	"strings"

	"telemetry/receiver/live/strip"
	"telemetry/wire"
)

// group is one group of channels, as rows show it.
type group struct {
	order []*channel // as in the last row: the next one is the same
}

// channel is one channel with its last value.
type channel struct {
	id          int
	key         []byte // name as it stands in rows, with quotes
	name        string
	group       string
	folded      string // name, group and unit in lower case, for the search
	unit        string
	description string
	enum        []wire.EnumValue
	value       float64
	tsMS        int64
	lane        wire.Lane
	synced      bool
	ofLink      bool   // the state of a link
	version     uint64 // of the car, when the value came
	hist        *history
	strip       *strip.Strip // while somebody has charted it
	strippedMS  int64        // when somebody last looked at the strip
}

// plot puts a value where charts show it.
func (ch *channel) plot(ms int64, v float64) {
	if ch.hist != nil {
		ch.hist.add(ms, v)
	}
	if ch.strip != nil {
		ch.strip.Add(ms, v)
	}
}

// show makes a value the one that is shown, unless a newer one is, or it is shown
// already, as it arrived.
func (ch *channel) show(c *car, v float64, a arrival) {
	if a.tsMS < ch.tsMS || a.tsMS == ch.tsMS && v == ch.value && a.synced == ch.synced && ch.version > 0 {
		return
	}
	if ch.ofLink && v != ch.value {
		c.linkChanges++
	}
	ch.value, ch.tsMS, ch.synced, ch.version, ch.lane = v, a.tsMS, a.synced, c.version, a.lane
}

// askEveryMS is how often a catalogue is looked up for a car whose channels are
// still being discovered; maxDescribed is how many are remembered.
const (
	askEveryMS   = 2000
	maxDescribed = 16
)

// channel returns the channel of a name as it stands in rows, new when it is not
// known yet; nil at a limit.
func (s *store) channel(c *car, key, group []byte) *channel {
	if ch := c.byKey[string(key)]; ch != nil {
		c.regroup(ch, group)
		return ch
	}
	if len(c.channels) >= MaxCarChannels || s.channels >= MaxChannels || len(key) > maxNameBytes {
		return nil
	}
	ch := &channel{id: len(c.channels), key: bytes.Clone(key), name: unquote(key), group: unquote(group)}
	ch.fold()
	if s.histories < maxHistories {
		ch.hist = &history{}
		s.histories++
	}
	c.channels = append(c.channels, ch)
	c.byKey[string(key)] = ch
	c.sorted = nil
	clear(c.described)
	s.channels++
	c.link(ch)
	return ch
}

// previewPrefix is what the agent puts in front of a group's name for its preview.
const previewPrefix = "live."

// regroup gives a channel that was first seen in a preview its proper group.
func (c *car) regroup(ch *channel, group []byte) {
	if !strings.HasPrefix(ch.group, previewPrefix) || bytes.HasPrefix(group, []byte(`"`+previewPrefix)) {
		return
	}
	ch.group = unquote(group)
	ch.fold()
	c.link(ch)
}

func (ch *channel) fold() {
	ch.folded = strings.ToLower(ch.name + "\x00" + ch.group + "\x00" + ch.unit)
	if rest, ok := strings.CutPrefix(ch.unit, "deg"); ok { // the page writes it so
		ch.folded += "\x00°" + strings.ToLower(rest)
	}
}

// tell gives a channel what its catalogue says of it, and reports whether that is news.
func (ch *channel) tell(w *wire.Channel) bool {
	if ch.unit == w.Unit && ch.description == w.Description && slices.Equal(ch.enum, w.Enum) {
		return false
	}
	ch.unit, ch.description, ch.enum = w.Unit, w.Description, w.Enum
	ch.fold()
	return true
}

// ask has a catalogue read, once.
func (s *store) ask(h wire.CatalogueHash) bool {
	if s.asked[h] {
		return true
	}
	if len(s.asked) >= maxHashes || !s.want(h) {
		return false
	}
	s.asked[h] = true
	return true
}

// forgetHash lets a catalogue be asked for again.
func (s *store) forgetHash(h wire.CatalogueHash) {
	s.mu.Lock()
	delete(s.asked, h)
	s.mu.Unlock()
}

// describe gives the channels of a catalogue's car their units.
func (s *store) describe(h wire.CatalogueHash, cat *wire.Catalogue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.asked, h)
	c := s.cars[cat.Car]
	if c == nil {
		return
	}
	byName := make(map[string]*channel, len(c.channels))
	for _, ch := range c.channels {
		byName[ch.name] = ch
	}
	for i := range cat.Groups {
		for j := range cat.Groups[i].Channels {
			w := &cat.Groups[i].Channels[j]
			ch := byName[w.Name]
			if ch == nil {
				ch = byName[w.Name+"_"] // the name is one of a row's own fields
			}
			if ch != nil && ch.tell(w) {
				c.told++
			}
		}
	}
	if len(c.described) >= maxDescribed {
		clear(c.described)
	}
	c.described[h] = true
	c.place.choose(c)
}
