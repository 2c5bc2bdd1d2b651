package inspect

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columns"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// batchValue is a sealed batch. Times are ns since the car's boot: UTC is what the
// sequencer makes of them.
type batchValue struct {
	Car       string         `json:"car"`
	Epoch     string         `json:"epoch"`
	Lane      string         `json:"lane"`
	Shard     uint16         `json:"shard,omitempty"`
	Seq       uint64         `json:"seq"`
	Catalogue string         `json:"catalogue,omitempty"`
	Samples   uint32         `json:"samples"`
	FirstNS   int64          `json:"first_ns"`
	LastNS    int64          `json:"last_ns"`
	Controls  []controlValue `json:"controls,omitempty"`
	Groups    []groupValue   `json:"groups,omitempty"`
	// Raw says that the catalogue is not known: names are numbers, values unscaled.
	Raw bool `json:"raw,omitempty"`
}

// controlValue is what of a batch is no columns.
type controlValue struct {
	Type     string      `json:"type"` // "epoch_open", "loss", "base", "anchor" or "event"
	Epoch    string      `json:"epoch,omitempty"`
	Lane     string      `json:"lane,omitempty"`
	Before   []string    `json:"before,omitempty"` // epochs that an epoch_open names
	Ranges   [][2]uint64 `json:"ranges,omitempty"`
	Reason   string      `json:"reason,omitempty"`
	Base     uint64      `json:"base,omitempty"`
	BootNS   int64       `json:"boot_ns,omitempty"`
	UTCNS    int64       `json:"utc_ns,omitempty"`
	UncNS    int64       `json:"unc_ns,omitempty"`
	Source   string      `json:"source,omitempty"`
	Name     string      `json:"name,omitempty"`
	Detail   string      `json:"detail,omitempty"`
	AnchorID uint32      `json:"anchor,omitempty"`
}

// groupValue is a stretch of rows of one group.
type groupValue struct {
	Group    string           `json:"group"`
	BootNS   []int64          `json:"boot_ns"`
	Channels map[string][]any `json:"channels"` // one value a row; null: none
}

// batch decodes a sealed batch.
func (v *Viewer) batch(value []byte) (any, error) {
	sealed, n, err := wire.Parse(value)
	if err == nil && n != len(value) {
		err = fmt.Errorf("%d bytes behind the batch", len(value)-n)
	}
	if err != nil {
		return nil, err
	}
	h := &sealed.Header
	out := &batchValue{
		Car: h.Stream.Car, Epoch: h.Stream.Epoch.String(), Lane: h.Stream.Lane.String(), Shard: h.Stream.Shard, Seq: h.Seq,
		Samples: h.Samples, FirstNS: h.FirstNS, LastNS: h.LastNS,
	}
	payload, err := v.opener.Payload(sealed)
	if err != nil {
		return nil, err
	}
	controls, err := wire.Controls(payload)
	if err != nil {
		return nil, err
	}
	for i := range controls {
		out.Controls = append(out.Controls, control(&controls[i]))
	}
	var b sequence.Batch
	if err := v.decoder.Decode(&b, value); err != nil {
		return nil, err
	}
	if h.Catalogue != (wire.CatalogueHash{}) {
		out.Catalogue = h.Catalogue.String()
	}
	if len(b.Blocks) == 0 {
		return out, nil
	}
	b.Events = nil
	if b.Catalogue, err = v.known(h.Catalogue); err != nil {
		return nil, err
	}
	if b.Catalogue == nil {
		out.Raw, out.Groups = true, rawGroups(&b)
		return out, nil
	}
	return out, v.groups(out, &b)
}

func control(c *wire.Control) controlValue {
	switch {
	case c.EpochOpen != nil:
		o := controlValue{Type: "epoch_open", Epoch: c.EpochOpen.Epoch.String(), BootNS: c.EpochOpen.OpenedNS}
		for _, p := range c.EpochOpen.Predecessors {
			o.Before = append(o.Before, p.Epoch.String())
		}
		return o
	case c.Loss != nil:
		o := controlValue{Type: "loss", Epoch: c.Loss.Epoch.String(), Lane: c.Loss.Lane.String(), Reason: c.Loss.Reason.String()}
		for _, r := range c.Loss.Ranges {
			o.Ranges = append(o.Ranges, [2]uint64{r.First, r.Last})
		}
		return o
	case c.Base != nil:
		return controlValue{Type: "base", Epoch: c.Base.Epoch.String(), Lane: c.Base.Lane.String(), Base: c.Base.Base}
	case c.Anchor != nil:
		a := c.Anchor
		return controlValue{Type: "anchor", AnchorID: a.ID, BootNS: a.BootNS, UTCNS: a.UTCNS, UncNS: a.UncertaintyNS, Source: a.Source.String()}
	case c.Event != nil:
		return controlValue{Type: "event", BootNS: c.Event.BootNS, Name: text([]byte(c.Event.Name)), Detail: text([]byte(c.Event.Detail))}
	}
	return controlValue{Type: KindUnknown}
}

// maxParsed bounds the catalogues that stay parsed.
const maxParsed = 64

// known returns a catalogue, nil when it is not known.
func (v *Viewer) known(h wire.CatalogueHash) (*wire.Catalogue, error) {
	if c := v.parsed[h]; c != nil {
		return c, nil
	}
	if v.Catalogue == nil {
		return nil, nil
	}
	canonical, ok, err := v.Catalogue(h)
	if err != nil || !ok {
		return nil, err
	}
	c, err := wire.ParseCatalogue(canonical)
	if err != nil {
		return nil, fmt.Errorf("catalogue %s: %w", h, err)
	}
	if v.parsed == nil || len(v.parsed) >= maxParsed {
		v.parsed = map[wire.CatalogueHash]*wire.Catalogue{}
	}
	v.parsed[h] = c
	return c, nil
}

// groups adds the columns of a batch in physical values.
func (v *Viewer) groups(out *batchValue, b *sequence.Batch) error {
	if v.reader == nil {
		v.reader = columns.NewReader(nil)
	}
	_, err := v.reader.Read(b, func(t *columns.Table) error {
		g := groupValue{Group: t.Group.Name, BootNS: append([]int64{}, t.Boot...), Channels: map[string][]any{}}
		for i := range t.Columns {
			c := &t.Columns[i]
			vs := make([]any, len(t.Boot))
			for k := range c.Len() {
				row := k
				if c.Rows != nil {
					row = int(c.Rows[k])
				}
				vs[row] = cell(c, k)
			}
			g.Channels[c.Channel.Field] = vs
		}
		out.Groups = append(out.Groups, g)
		return nil
	})
	return err
}

func cell(c *columns.Column, k int) any {
	switch c.Kind {
	case columns.Int:
		return c.Ints[k]
	case columns.Uint:
		return c.Uints[k]
	case columns.Float32:
		return number(float64(c.Float32[k]), 32)
	default:
		return number(c.Float64[k], 64)
	}
}

// double is a number in JSON: NaN and infinities, which JSON has not, are text.
type double string

// MarshalJSON implements json.Marshaler.
func (d double) MarshalJSON() ([]byte, error) { return []byte(d), nil }

func number(f float64, bits int) double {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return double(strconv.Quote(strings.TrimPrefix(strconv.FormatFloat(f, 'g', -1, 64), "+")))
	}
	return double(strconv.FormatFloat(f, 'g', -1, bits))
}

// rawGroups shows columns without their catalogue: raw words by number.
func rawGroups(b *sequence.Batch) []groupValue {
	var out []groupValue
	for i := range b.Blocks {
		blk := &b.Blocks[i]
		g := groupValue{Group: strconv.Itoa(int(blk.Group)), BootNS: append([]int64{}, blk.Ticks...), Channels: map[string][]any{}}
		for c := range blk.Columns {
			col, vs, next := &blk.Columns[c], make([]any, len(blk.Ticks)), 0
			for row := range vs {
				if col.Present == nil || col.Present[row/64]>>(row%64)&1 != 0 {
					vs[row] = col.Values[next]
					next++
				}
			}
			g.Channels[strconv.Itoa(int(blk.FirstColumn)+c)] = vs
		}
		out = append(out, g)
	}
	return out
}

// partValue is a part of a catalogue, with the catalogue itself at the first one.
type partValue struct {
	Hash   string           `json:"hash"`
	Part   string           `json:"part"` // "1/3"
	Bytes  int              `json:"bytes"`
	Car    string           `json:"car,omitempty"`
	Groups []catalogueGroup `json:"groups,omitempty"`
}

type catalogueGroup struct {
	Group    string             `json:"group"`
	Source   string             `json:"source"`
	Lane     string             `json:"lane"`
	RateHz   float64            `json:"rate_hz"` // 0: as it comes
	Channels []catalogueChannel `json:"channels"`
}

type catalogueChannel struct {
	Name   string  `json:"name"`
	Unit   string  `json:"unit,omitempty"`
	Scale  float64 `json:"scale"`
	Offset float64 `json:"offset,omitempty"`
}

var errCatalogueKey = errors.New("is no part of a catalogue: its key is not <hash>/<crc>/<index>/<count>")

// catalogue shows a part of a catalogue.
func (v *Viewer) catalogue(r *topic.Record) (any, error) {
	fields := strings.Split(string(r.Key), "/")
	if len(fields) != 4 {
		return nil, errCatalogueKey
	}
	h, err := wire.ParseCatalogueHash(fields[0])
	index, ierr := strconv.Atoi(fields[2])
	if err != nil || ierr != nil {
		return nil, errCatalogueKey
	}
	out := &partValue{Hash: h.String(), Part: fmt.Sprintf("%d/%s", index+1, fields[3]), Bytes: len(r.Value)}
	if index > 0 {
		return out, nil
	}
	c, err := v.known(h)
	if err != nil || c == nil {
		return out, err
	}
	out.Car = c.Car
	for i := range c.Groups {
		g := &c.Groups[i]
		o := catalogueGroup{Group: g.Name, Source: g.Source, Lane: g.Lane.String(), RateHz: float64(g.RateMilliHz) / 1000, Channels: []catalogueChannel{}}
		for k := range g.Channels {
			ch := &g.Channels[k]
			scale := ch.Scale
			if scale == 0 {
				scale = 1
			}
			o.Channels = append(o.Channels, catalogueChannel{ch.Name, ch.Unit, scale, ch.Offset})
		}
		out.Groups = append(out.Groups, o)
	}
	return out, nil
}
