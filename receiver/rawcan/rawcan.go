// Package rawcan decodes the raw CAN frames of sealed batches with databases of
// today: what the car would have sent, had it had them.
//
// The entry point is [New]. Its rows are those of the output format `json`, each
// with the batch that its frame came in. A frame's signals, names and numbers are
// those that the car's own decoder ([can.Decoder]) gives.
//
// The package never reads a topic or a file, and never changes a batch.
package rawcan

import (
	"errors"
	"fmt"
	"strings"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/timemap"
	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/wire"
)

// Limits of a decoder.
const (
	maxCatalogues = 64   // that are kept
	maxEpochs     = 1024 // of all cars; each has a decoder of its own
)

// Config says what to decode with.
type Config struct {
	Buses []can.Bus // databases by interface; one without a name is for a car's first interface
	Car   string    // others are passed; empty: all
	// Catalogue returns the canonical bytes of a catalogue; nil, or ok false:
	// it is not known, and raw frames are told by the shape of their columns.
	Catalogue func(h wire.CatalogueHash) (canonical []byte, ok bool, err error)
	// Interfaces are the names of raw groups whose catalogue is not known, in the
	// order in which they first appear; beyond its end "can0", "can1" and so on.
	Interfaces []string
}

// Stats is what a decoder has met.
type Stats struct {
	Batches    uint64
	Duplicates uint64 // batches that were there already
	Frames     uint64
	Rows       uint64
	Unknown    uint64 // frames with an id that no database has
}

// Decoder decodes batches. It is not safe for concurrent use.
type Decoder struct {
	cfg     Config
	stats   Stats
	opener  wire.Opener
	block   wire.Block
	row     []int64
	cats    map[wire.CatalogueHash]map[uint32]string // interface by raw group
	shapes  map[wire.CatalogueHash]map[uint32]string // likewise where no catalogue is known
	seen    map[wire.Stream]wire.Ranges
	clocks  map[string]*timemap.Car
	buses   map[carEpoch]*bus
	format  *jsonrow.Format
	output  sequence.Output
	plan    wire.Catalogue
	hash    wire.CatalogueHash
	columns [][]wire.ValueType
}

type carEpoch struct {
	car   string
	epoch wire.Epoch
}

// bus decodes the frames of one epoch of a car.
type bus struct {
	dec    *can.Decoder
	counts uint64 // frames of unknown ids that are in Stats
}

// New plans the groups.
func New(cfg Config) (*Decoder, error) {
	dec, err := can.NewDecoder(cfg.Buses)
	if err != nil {
		return nil, err
	}
	if len(dec.Groups()) == 0 {
		return nil, errors.New("rawcan: no message with a signal in the databases")
	}
	d := &Decoder{
		cfg: cfg, format: jsonrow.New(), cats: map[wire.CatalogueHash]map[uint32]string{}, shapes: map[wire.CatalogueHash]map[uint32]string{},
		seen: map[wire.Stream]wire.Ranges{}, clocks: map[string]*timemap.Car{}, buses: map[carEpoch]*bus{},
	}
	d.plan = wire.Catalogue{Car: "any", Groups: dec.Groups()}
	d.hash = d.plan.Hash()
	for _, g := range d.plan.Groups {
		types := make([]wire.ValueType, len(g.Channels))
		for i, c := range g.Channels {
			types[i] = c.Type
		}
		d.columns = append(d.columns, types)
	}
	return d, nil
}

// Catalogue describes the groups of what is decoded.
func (d *Decoder) Catalogue() *wire.Catalogue { return &d.plan }

// Stats returns what was met so far.
func (d *Decoder) Stats() Stats { return d.stats }

// Batch decodes one sealed batch and gives row each row as a line of JSON without
// its end; the line is valid during the call. A batch that was there already
// gives nothing. appendMS is the time of rows of an epoch without a known clock.
func (d *Decoder) Batch(value []byte, appendMS int64, row func(line []byte) error) error {
	sealed, n, err := wire.Parse(value)
	if err == nil && n != len(value) {
		err = fmt.Errorf("%d bytes behind the batch", len(value)-n)
	}
	if err != nil {
		return fmt.Errorf("rawcan: %w", err)
	}
	h := &sealed.Header
	if d.cfg.Car != "" && h.Stream.Car != d.cfg.Car {
		return nil
	}
	if d.seen[h.Stream].Contains(h.Seq) {
		d.stats.Duplicates++
		return nil
	}
	b, err := d.decode(&sealed)
	if err != nil {
		return fmt.Errorf("rawcan: batch %s: %w", h.ID(), err)
	}
	d.seen[h.Stream] = d.seen[h.Stream].Add(h.Seq, h.Seq)
	d.stats.Batches++
	b.AppendMS = appendMS
	d.output.Reset()
	if err := d.format.Append(&d.output, b); err != nil {
		return fmt.Errorf("rawcan: batch %s: %w", h.ID(), err)
	}
	for i := range d.output.Records {
		d.stats.Rows++
		if err := row(d.output.Records[i].Value); err != nil {
			return err
		}
	}
	return nil
}

// decode reads a batch's raw frames and decodes them. The rows of a batch that is
// no good are dropped with their decoder, so that the next one does not have them.
func (d *Decoder) decode(sealed *wire.Batch) (*sequence.Batch, error) {
	b, err := d.frameRows(sealed)
	if err != nil {
		delete(d.buses, carEpoch{sealed.Header.Stream.Car, sealed.Header.Stream.Epoch})
	}
	return b, err
}

func (d *Decoder) frameRows(sealed *wire.Batch) (*sequence.Batch, error) {
	h := &sealed.Header
	b := &sequence.Batch{ID: h.ID(), FirstNS: h.FirstNS, LastNS: h.LastNS, Hash: d.hash, Catalogue: &d.plan}
	payload, err := d.opener.Payload(*sealed)
	if err != nil {
		return nil, err
	}
	raw, err := d.rawGroups(h.Catalogue)
	if err != nil {
		return nil, err
	}
	clock := d.clocks[h.Stream.Car]
	if clock == nil {
		clock = &timemap.Car{}
		d.clocks[h.Stream.Car] = clock
	}
	out := &blocks{types: d.columns}
	var from *bus
	for len(payload) > 0 {
		s, n, err := wire.NextSection(payload)
		if err != nil {
			return nil, err
		}
		payload = payload[n:]
		switch {
		case s.Type == wire.SectionAnchor:
			c, err := wire.ParseControl(s)
			if err != nil {
				return nil, err
			}
			clock.Add(h.Stream.Epoch, *c.Anchor)
		case s.Type == wire.SectionBlock:
			if err := wire.ParseBlock(s.Body, &d.block); err != nil {
				return nil, err
			}
			iface, ok := d.iface(raw, h.Catalogue)
			if !ok {
				continue
			}
			if from, err = d.bus(h.Stream); err != nil {
				return nil, err
			}
			if err := d.frames(from.dec, iface); err != nil {
				return nil, err
			}
		case s.Type >= wire.SectionMustUnderstand:
			return nil, fmt.Errorf("%w: section of type %d", wire.ErrMustUnderstand, s.Type)
		}
	}
	b.Clock = clock.Map(h.Stream.Epoch)
	if from != nil {
		if err := from.dec.Flush(out); err != nil {
			return nil, err
		}
		unknown := from.unknown()
		d.stats.Unknown += unknown - from.counts
		from.counts = unknown
	}
	b.Blocks = out.list
	return b, nil
}

// unknown returns how many frames had an id without a database.
func (b *bus) unknown() uint64 {
	for _, c := range b.dec.Counters() {
		if c.Name == "frames_unknown" {
			return c.Value
		}
	}
	return 0
}

func (d *Decoder) bus(st wire.Stream) (*bus, error) {
	key := carEpoch{st.Car, st.Epoch}
	if b := d.buses[key]; b != nil {
		return b, nil
	}
	if len(d.buses) == maxEpochs {
		clear(d.buses)
	}
	dec, err := can.NewDecoder(d.cfg.Buses)
	if err != nil {
		return nil, err
	}
	d.buses[key] = &bus{dec: dec}
	return d.buses[key], nil
}

// frames gives the block at hand to a decoder.
func (d *Decoder) frames(dec *can.Decoder, iface string) error {
	columns := d.block.Columns
	d.row = append(d.row[:0], make([]int64, 2*len(columns))...)
	row, next := d.row[:len(columns)], d.row[len(columns):]
	for i, tick := range d.block.Ticks {
		for c := range columns {
			row[c] = 0 // absent is 0, as RawFrame wants it
			if sensors.Bit(columns[c].Present, i) {
				row[c] = columns[c].Values[next[c]]
				next[c]++
			}
		}
		f, err := can.RawFrame(row)
		if err != nil {
			return err
		}
		f.Bus = iface
		d.stats.Frames++
		dec.Add(&f, tick)
	}
	return nil
}

// rawGroups returns the interfaces of a catalogue's raw groups; nil when the
// catalogue is not known.
func (d *Decoder) rawGroups(h wire.CatalogueHash) (map[uint32]string, error) {
	if h == (wire.CatalogueHash{}) || d.cfg.Catalogue == nil {
		return nil, nil
	}
	if m, ok := d.cats[h]; ok {
		return m, nil
	}
	canonical, ok, err := d.cfg.Catalogue(h)
	if err != nil || !ok {
		return nil, err
	}
	cat, err := wire.ParseCatalogue(canonical)
	if err != nil {
		return nil, err
	}
	m := map[uint32]string{}
	for i := range cat.Groups {
		if g := &cat.Groups[i]; can.RawKeys(g) > 0 {
			name := strings.TrimPrefix(strings.TrimSuffix(g.Name, ".raw"), g.Source+".")
			m[uint32(i)] = name
		}
	}
	if len(d.cats) == maxCatalogues {
		clear(d.cats)
	}
	d.cats[h] = m
	return m, nil
}

// iface returns the interface of the block at hand; ok is false when it holds no
// raw frames.
func (d *Decoder) iface(raw map[uint32]string, cat wire.CatalogueHash) (name string, ok bool) {
	if raw != nil {
		name, ok = raw[d.block.Group]
		return name, ok
	}
	if !can.RawBlock(&d.block) {
		return "", false
	}
	return d.shape(cat, d.block.Group), true
}

// shape names the interface of a raw group whose catalogue is not at hand: the
// configured ones in the order in which the groups were first seen.
func (d *Decoder) shape(cat wire.CatalogueHash, group uint32) string {
	shapes := d.shapes[cat]
	if shapes == nil {
		if len(d.shapes) == maxCatalogues {
			clear(d.shapes)
		}
		shapes = map[uint32]string{}
		d.shapes[cat] = shapes
	}
	name, ok := shapes[group]
	if !ok {
		n := len(shapes)
		name = fmt.Sprintf("can%d", n)
		if n < len(d.cfg.Interfaces) {
			name = d.cfg.Interfaces[n]
		}
		shapes[group] = name
	}
	return name
}

// blocks turns a decoder's rows into blocks.
type blocks struct {
	types [][]wire.ValueType
	list  []wire.Block
}

var _ sensors.Sink = (*blocks)(nil)

// Append takes rows; each group comes once a flush.
func (o *blocks) Append(r sensors.Rows) error {
	b := wire.NewBuilder(uint32(r.Group), o.types[r.Group])
	width := len(o.types[r.Group])
	for i, tick := range r.Ticks {
		b.Append(tick, r.Values[i*width:(i+1)*width], r.Present, i*width)
	}
	o.list = append(o.list, *b.Block())
	return nil
}

// Event is never called: a decoder has none.
func (o *blocks) Event(wire.Event) error { return nil }
