package can

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"telemetry/sensors"
	"telemetry/sensors/dbc"
	"telemetry/wire"
)

// maxUnknownIDs bounds the list of unknown ids; further ones are only counted.
const maxUnknownIDs = 4096

// Bus gives the databases of one interface. Where several know an id, the first
// one decodes it.
type Bus struct {
	Name      string // empty: the first interface that frames come from
	Databases []*dbc.Database
	Faults    int // statements of its files that could not be used
}

// UnknownID is an id that no database of its bus knows.
type UnknownID struct {
	Bus      string
	ID       uint32
	Extended bool
	Frames   uint64
}

// Decoder turns frames into rows: one group per bus and message, one row per
// frame. Groups are named after their messages, with the bus in front
// ("can1.Engine") where two of one name would stand. Channels are named after
// their signals, with the group in front ("Engine.Speed") where two groups have
// one of that name. Both depend on the databases alone.
//
// Add and Flush belong to one goroutine; Counters and Unknown may be called
// beside them.
type Decoder struct {
	groups  []wire.Group
	owners  []string // configured bus of each group
	config  []*busPlan
	buses   map[string]*busState
	dirty   []*target
	pending int

	count decoderCounts

	mu      sync.Mutex
	unknown map[unknownKey]uint64 // guarded by mu
}

type decoderCounts struct {
	frames, rows, values, unknown, unmapped, errors, remote, length, empty, cut, clamped atomic.Uint64
}

type unknownKey struct {
	bus      string
	id       uint32
	extended bool
}

// busPlan is a configured bus: what its databases decode.
type busPlan struct {
	Bus
	targets map[*dbc.Message]*target
}

// busState is a bus that frames have come from.
type busState struct {
	name  string
	plans []*busPlan
	known map[uint64]*target // by id and kind; nil: unknown
}

// maxKnown bounds the memory for ids met on one bus; beyond it each frame is
// looked up in the databases.
const maxKnown = 1 << 14

// target collects the rows of one group.
type target struct {
	group   int // -1: a message without signals
	message *dbc.Message
	width   int
	tick    int64 // of the latest row
	ticks   []int64
	values  []int64
	present []uint64 // built once a value is absent
	scratch []uint64
}

// NewDecoder plans the groups of some buses. At most one may be unnamed.
func NewDecoder(buses []Bus) (*Decoder, error) {
	d := &Decoder{buses: map[string]*busState{}, unknown: map[unknownKey]uint64{}}
	seen := map[string]bool{}
	for _, b := range buses {
		if seen[b.Name] {
			return nil, fmt.Errorf("can: interface %q is configured twice", b.Name)
		}
		seen[b.Name] = true
		plan := &busPlan{Bus: b, targets: map[*dbc.Message]*target{}}
		d.config = append(d.config, plan)
		for _, db := range b.Databases {
			for _, m := range db.Messages {
				if plan.targets[m] == nil && plan.find(m.ID, m.Extended) == m { // not hidden by another of its id
					d.addTarget(plan, m)
				}
			}
		}
	}
	d.nameGroups()
	d.nameChannels()
	return d, nil
}

func (b *busPlan) find(id uint32, extended bool) *dbc.Message {
	for _, db := range b.Databases {
		if m := db.Lookup(id, extended); m != nil {
			return m
		}
	}
	return nil
}

func (d *Decoder) addTarget(b *busPlan, m *dbc.Message) {
	t := &target{group: -1, message: m, width: len(m.Signals)}
	b.targets[m] = t
	if t.width == 0 {
		return
	}
	t.scratch = make([]uint64, (t.width+63)/64)
	t.group = len(d.groups)
	g := wire.Group{Name: cut(m.Name, maxNameBytes), Lane: wire.LaneFull}
	for i := range m.Signals {
		g.Channels = append(g.Channels, channel(&m.Signals[i]))
	}
	d.groups = append(d.groups, g)
	d.owners = append(d.owners, b.Name)
}

// Limits of what a catalogue says about a channel: longer texts and lists are
// cut.
const (
	maxNameBytes = 200
	maxTextBytes = 1000
	maxEnum      = 4096
)

func channel(s *dbc.Signal) wire.Channel {
	c := wire.Channel{
		Name: cut(s.Name, maxNameBytes), Unit: cut(s.Unit, maxNameBytes), Description: cut(s.Comment, maxTextBytes), Type: s.Type, Bits: s.Bits,
		Scale: s.Factor, Offset: s.Offset, Min: s.Min, Max: s.Max,
	}
	for _, v := range s.Enum[:min(len(s.Enum), maxEnum)] {
		c.Enum = append(c.Enum, wire.EnumValue{Raw: v.Raw, Name: cut(v.Name, maxNameBytes)})
	}
	if s.Type == wire.TypeF32 || s.Type == wire.TypeF64 {
		c.Bits = 0
	}
	return c
}

// cut shortens a text to whole characters within n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// nameGroups puts the bus in front where messages of several buses share a
// name, and numbers what is still the same.
func (d *Decoder) nameGroups() {
	count := map[string]int{}
	for _, g := range d.groups {
		count[g.Name]++
	}
	taken := map[string]bool{}
	for i := range d.groups {
		name := d.groups[i].Name
		if count[name] > 1 && d.owners[i] != "" {
			name = d.owners[i] + "." + name
		}
		d.groups[i].Name = unique(taken, name)
	}
}

func (d *Decoder) nameChannels() {
	count := map[string]int{}
	for _, g := range d.groups {
		for _, c := range g.Channels {
			count[c.Name]++
		}
	}
	taken := map[string]bool{}
	for i := range d.groups {
		g := &d.groups[i]
		for k := range g.Channels {
			name := g.Channels[k].Name
			if count[name] > 1 {
				name = g.Name + "." + name
			}
			g.Channels[k].Name = unique(taken, name)
		}
	}
}

// unique returns name, or name with the first free number from 2.
func unique(taken map[string]bool, name string) string {
	out := name
	for n := 2; taken[out]; n++ {
		out = fmt.Sprintf("%s#%d", name, n)
	}
	taken[out] = true
	return out
}

// Groups lists the groups in the order of buses and databases. Rows carry the
// index in it.
func (d *Decoder) Groups() []wire.Group { return d.groups }

// Pending returns how many rows wait for Flush.
func (d *Decoder) Pending() int { return d.pending }

// Add decodes one frame into a row with the given tick, in ns since boot. A tick
// before the group's latest one is raised to it and counted: rows of a group
// never go back in time.
func (d *Decoder) Add(f *Frame, tick int64) {
	d.count.frames.Add(1)
	bus := d.bus(f.Bus) // before all else: any frame tells which interface is the first
	switch {
	case f.Err:
		d.count.errors.Add(1)
		return
	case f.RTR:
		d.count.remote.Add(1)
		return
	}
	if len(bus.plans) == 0 {
		d.count.unmapped.Add(1)
		return
	}
	t := bus.target(f)
	if t == nil {
		d.addUnknown(f)
		return
	}
	if int(f.Len) != t.message.Size {
		if f.Cut && int(f.Len) < t.message.Size {
			d.count.cut.Add(1)
			return
		}
		d.count.length.Add(1)
	}
	d.addRow(t, f, tick)
}

func (d *Decoder) addRow(t *target, f *Frame, tick int64) {
	if t.group < 0 {
		d.count.empty.Add(1)
		return
	}
	row, at := len(t.ticks), len(t.values)
	t.values = slices.Grow(t.values, t.width)[:at+t.width]
	n := t.message.Decode(f.Data(), t.values[at:], t.scratch)
	if n == 0 {
		t.values = t.values[:at]
		d.count.empty.Add(1)
		return
	}
	if tick < t.tick {
		d.count.clamped.Add(1)
		tick = t.tick
	}
	t.tick = tick
	t.ticks = append(t.ticks, tick)
	if n < t.width && len(t.present) == 0 {
		t.present = appendOnes(t.present, at)
	}
	if len(t.present) > 0 {
		t.present = appendBits(t.present, at, t.scratch, t.width)
	}
	if row == 0 {
		d.dirty = append(d.dirty, t)
	}
	d.pending++
	d.count.rows.Add(1)
	d.count.values.Add(uint64(n))
}

// appendOnes returns a map of n set bits, and at least one word.
func appendOnes(dst []uint64, n int) []uint64 {
	for range n / 64 {
		dst = append(dst, ^uint64(0))
	}
	return append(dst, 1<<(n&63)-1)
}

// appendBits writes the first n bits of src at bit at, where dst ends.
func appendBits(dst []uint64, at int, src []uint64, n int) []uint64 {
	for len(dst) < (at+n+63)/64 {
		dst = append(dst, 0)
	}
	for i, w := range src {
		if left := n - i*64; left < 64 {
			w &= 1<<left - 1
		}
		k := at + i*64
		dst[k>>6] |= w << (k & 63)
		if high := w >> (64 - k&63); high != 0 {
			dst[k>>6+1] |= high
		}
	}
	return dst
}

// bus returns the state of an interface, making it at its first frame.
func (d *Decoder) bus(name string) *busState {
	if s := d.buses[name]; s != nil {
		return s
	}
	s := &busState{name: name, known: map[uint64]*target{}}
	for _, b := range d.config { // the named databases go first
		if b.Name == name && name != "" {
			s.plans = append(s.plans, b)
		}
	}
	for _, b := range d.config {
		if b.Name == "" && len(d.buses) == 0 {
			s.plans = append(s.plans, b)
		}
	}
	d.buses[name] = s
	return s
}

func (s *busState) target(f *Frame) *target {
	key := uint64(f.ID)
	if f.Extended {
		key |= 1 << 32
	}
	if t, ok := s.known[key]; ok {
		return t
	}
	var t *target
	for _, b := range s.plans {
		if m := b.find(f.ID, f.Extended); m != nil {
			t = b.targets[m]
			break
		}
	}
	if len(s.known) < maxKnown {
		s.known[key] = t
	}
	return t
}

func (d *Decoder) addUnknown(f *Frame) {
	d.count.unknown.Add(1)
	key := unknownKey{bus: f.Bus, id: f.ID, extended: f.Extended}
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.unknown[key]; ok || len(d.unknown) < maxUnknownIDs {
		d.unknown[key]++
	}
}

// Unknown returns the n unknown ids with the most frames, most first. The first
// 4096 ids are known by name, all are counted.
func (d *Decoder) Unknown(n int) []UnknownID {
	d.mu.Lock()
	out := make([]UnknownID, 0, len(d.unknown))
	for k, frames := range d.unknown {
		out = append(out, UnknownID{Bus: k.bus, ID: k.id, Extended: k.extended, Frames: frames})
	}
	d.mu.Unlock()
	slices.SortFunc(out, func(a, b UnknownID) int {
		return cmp.Or(-cmp.Compare(a.Frames, b.Frames), cmp.Compare(a.Bus, b.Bus), cmp.Compare(a.ID, b.ID))
	})
	return out[:min(n, len(out))]
}

// Flush hands all rows to out, group by group, and forgets them, also when it
// fails.
func (d *Decoder) Flush(out sensors.Sink) error {
	var err error
	for _, t := range d.dirty {
		if err == nil {
			r := sensors.Rows{Group: t.group, Ticks: t.ticks, Values: t.values}
			if len(t.present) > 0 {
				r.Present = t.present
			}
			err = out.Append(r)
		}
		t.ticks, t.values, t.present = t.ticks[:0], t.values[:0], t.present[:0]
	}
	d.dirty, d.pending = d.dirty[:0], 0
	return err
}

// Counters returns what was counted so far.
func (d *Decoder) Counters() []sensors.Counter {
	c := &d.count
	faults := 0
	for _, b := range d.config {
		faults += b.Faults
	}
	return []sensors.Counter{
		{Name: "dbc_faults", Help: "statements of the DBC files that could not be used", Value: uint64(faults)},
		{Name: "frames", Help: "frames given to the decoder", Value: c.frames.Load()},
		{Name: "rows", Help: "frames that became a row", Value: c.rows.Load()},
		{Name: "values", Help: "signal values in rows", Value: c.values.Load()},
		{Name: "frames_unknown", Help: "frames with an id that no database of the bus has", Value: c.unknown.Load()},
		{Name: "frames_unmapped", Help: "frames of an interface without a database", Value: c.unmapped.Load()},
		{Name: "frames_error", Help: "error frames of the controller", Value: c.errors.Load()},
		{Name: "frames_remote", Help: "remote requests", Value: c.remote.Load()},
		{Name: "frames_length", Help: "frames whose length is not the database's; decoded as far as they go", Value: c.length.Load()},
		{Name: "frames_empty", Help: "frames that held no value", Value: c.empty.Load()},
		{Name: "frames_cut", Help: "frames left out because the log ended inside them", Value: c.cut.Load()},
		{Name: "ticks_raised", Help: "rows whose time was raised to that of the row before", Value: c.clamped.Load()},
	}
}
