package links

import (
	"fmt"

	"telemetry/reorder"
	"telemetry/wire"
)

// outputs runs what ingest produced through the sequencer's state machine and
// returns, of critical and full, how many batches came out more than once.
func outputs(got []arrival) (twice int64, released map[wire.Lane]int64, err error) {
	cfg := reorder.Defaults()
	cfg.AnchorWait = 0
	car := reorder.NewCar("lab-car", cfg)
	var out reorder.Out
	var open wire.Opener
	seen := map[wire.ID]bool{}
	released = map[wire.Lane]int64{}
	count := func() {
		for _, d := range out.Decisions {
			switch d.Kind {
			case reorder.KindRelease, reorder.KindLate:
				if seen[d.ID] {
					twice++
					continue
				}
				seen[d.ID] = true
				released[d.ID.Stream.Lane]++
			}
		}
		out.Reset()
	}
	for i, a := range got {
		in := reorder.Input{Offset: int64(i), AppendMS: a.atNS / 1e6, Header: a.header, Send: a.send}
		if a.header.Control {
			b, _, err := wire.Parse(a.control)
			if err != nil {
				return 0, nil, fmt.Errorf("links: control batch: %w", err)
			}
			payload, err := open.Payload(b)
			if err != nil {
				return 0, nil, fmt.Errorf("links: control batch: %w", err)
			}
			if in.Controls, err = wire.Controls(payload); err != nil {
				return 0, nil, fmt.Errorf("links: control batch: %w", err)
			}
		}
		car.Apply(&in, &out)
		count()
	}
	if len(got) > 0 { // what waits for a hole comes out at last
		car.Advance(got[len(got)-1].atNS/1e6+3_600_000, &out)
		count()
	}
	return twice, released, nil
}
