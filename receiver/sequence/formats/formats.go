// Package formats makes output formats by their names. The entry point is [New]. It
// has no format of its own.
package formats

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/columnarrow"
	"telemetry/receiver/sequence/columnpb"
	"telemetry/receiver/sequence/jsonrow"
	"telemetry/receiver/sequence/quixdata"
	"telemetry/receiver/sequence/sealed"
	"telemetry/wire"
)

// Names of formats, as they stand in configurations and on command lines.
const (
	JSON        = "json"
	Batch       = "batch"
	Protobuf    = "protobuf"
	ProtobufRaw = "protobuf-raw"
	Arrow       = "arrow"
	Quix        = "quix"
)

// Names lists all formats.
var Names = []string{JSON, Batch, Protobuf, ProtobufRaw, Arrow, Quix}

// Options say what a format writes.
type Options struct {
	Take         func(group, channel string) bool // nil: all channels
	TextIntegers bool                             // json: integers beyond ±2^53 as text
	SchemaID     func(topic string) uint32        // protobuf needs it
}

// New makes a format. It serves one partition.
func New(name string, o Options) (sequence.Format, error) {
	switch name {
	case JSON:
		return jsonrow.NewWith(jsonrow.Options{Take: o.Take, TextIntegers: o.TextIntegers}), nil
	case Batch:
		return sealed.New(), nil
	case Protobuf:
		if o.SchemaID == nil {
			return nil, errors.New("format protobuf needs the ids of a schema registry")
		}
		return columnpb.New(columnpb.Options{Take: o.Take, SchemaID: o.SchemaID}), nil
	case ProtobufRaw:
		return columnpb.New(columnpb.Options{Take: o.Take}), nil
	case Arrow:
		return columnarrow.New(o.Take), nil
	case Quix:
		return quixdata.New(o.Take), nil
	}
	return nil, fmt.Errorf("%q is no format (want %s)", name, strings.Join(Names, ", "))
}

// OfLanes makes a format of some lanes; of the others it makes nothing.
func OfLanes(name string, lanes []wire.Lane, o Options) (sequence.Format, error) {
	f, err := New(name, o)
	if err != nil {
		return nil, err
	}
	by := sequence.ByLane{wire.LaneCritical: sequence.Nothing{}, wire.LaneLive: sequence.Nothing{}, wire.LaneFull: sequence.Nothing{}}
	for _, l := range wire.Lanes {
		if slices.Contains(lanes, l) {
			by[l] = f
		}
	}
	return by, nil
}
