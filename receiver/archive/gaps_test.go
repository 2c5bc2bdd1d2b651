package archive_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	"telemetry/receiver/archive"
	"telemetry/receiver/archive/archivetest"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// withoutGaps is a source whose telemetry.gaps nobody may read.
type withoutGaps struct{ archive.Source }

var errNotAllowed = errors.New("not allowed")

// Extents implements archive.Source.
func (s withoutGaps) Extents(ctx context.Context, name string, sinceMS int64) ([]archive.Extent, error) {
	if name == s.Names().Gaps {
		return nil, errNotAllowed
	}
	return s.Source.Extents(ctx, name, sinceMS)
}

// What the car has given up is told with its reason: by the sequencer's own words, and
// by those that refine them.
func TestGapsHaveTheirReasons(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	recs := []topic.Record{car.Open(), car.Anchor(1, 1e9, utc+1e9, 1e6)}
	for i := range 20 {
		r := car.Full(int64(i+100)*10e6, batchRows)
		switch i {
		case 2, 3, 8, 12: // never comes
			continue
		}
		recs = append(recs, r)
	}
	recs = append(recs, car.Loss(wire.LaneFull, 3, 4, wire.ReasonQuota), car.Loss(wire.LaneFull, 9, 9, wire.ReasonCorrupt), car.Loss(wire.LaneFull, 13, 13, wire.ReasonDisk))
	p.Batches(recs...)
	p.Sequence(nil)
	gap := func(partition int32, value string) topic.Record {
		return topic.Record{Partition: partition, Key: []byte(value[:8]), Value: []byte(value)}
	}
	p.Write(p.Cluster.Names().Gaps,
		gap(0, `{"car":"car-1","epoch":1,"nonce":"0000000000000007","lane":"full","first":13,"last":13,"count":1,"change":"settled","reason":"gap","at_ms":1}`),
		gap(1, `{"car":"car-1","epoch":1,"nonce":"0000000000000007","lane":"full","first":9,"last":13,"count":5,"change":"refined","reason":"disk","at_ms":9000000000000}`),
		gap(0, `{"car":"car-1","epoch":1,"nonce":"0000000000000007","lane":"full","first":1,"last":99,"count":99,"change":"withdrawn","reason":"none","was":"gap","at_ms":3}`),
		gap(0, `{"car":"car-2","epoch":1,"nonce":"0000000000000007","lane":"full","first":1,"last":99,"count":99,"change":"settled","reason":"limit","at_ms":3}`),
		gap(0, `{"car":"car-1","epoch":2,"nonce":"0000000000000007","lane":"full","first":1,"last":99,"count":99,"change":"settled","reason":"limit","at_ms":3}`),
		gap(0, `{"car":"car-1","epoch":1,"nonce":"0000000000000008","lane":"full","first":1,"last":99,"count":99,"change":"settled","reason":"limit","at_ms":3}`),
		gap(0, `{"car":"car-1","epoch":1,"nonce":"0000000000000007","lane":"live","first":1,"last":99,"count":99,"change":"settled","reason":"limit","at_ms":3}`),
		topic.Record{Partition: 0, Key: []byte("gone")}, gap(0, "rubbish…"),
	)
	reasons := func(src archive.Source, q archive.Query) (out []string) {
		t.Helper()
		_, _, rep := collect(t, archive.New(src, archive.Options{}), q)
		for _, g := range rep.Gaps {
			out = append(out, g.Reason)
		}
		return out
	}
	for _, q := range []archive.Query{{Car: "car-1"}, {Car: "car-1", FromNS: utc + 1e9, ToNS: utc + 2e9}} {
		if got, want := reasons(p.Past, q), []string{"quota", "corrupt, disk", "disk"}; !slices.Equal(got, want) {
			t.Errorf("reasons %q, want %q", got, want)
		}
	}
	if got, want := reasons(withoutGaps{p.Past}, archive.Query{Car: "car-1"}), []string{"", "", ""}; !slices.Equal(got, want) {
		t.Errorf("without the topic: %q", got)
	}
}
