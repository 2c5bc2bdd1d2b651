package spoolcmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"telemetry/internal/cli"
	"telemetry/spool"
	"telemetry/wire"
)

// batchLine is one line of cat.
type batchLine struct {
	Lane     string         `json:"lane"`
	Epoch    string         `json:"epoch"`
	Seq      uint64         `json:"seq"`
	Bytes    int            `json:"bytes"`
	FirstNS  int64          `json:"first_ns"`
	LastNS   int64          `json:"last_ns"`
	Samples  uint32         `json:"samples"`
	Pending  bool           `json:"pending"`
	Blocks   int            `json:"blocks,omitempty"`
	Controls []wire.Control `json:"controls,omitempty"`
}

func catCommand(def string) *cobra.Command {
	var lane string
	c := onView(&cobra.Command{Use: "cat", Short: "Print one line of JSON for every batch"}, def, wantsKeys, func(c *cobra.Command, dir string, keys spool.KeyBox) error {
		v, err := spool.OpenView(dir, nil)
		if err != nil {
			return err
		}
		v.Use(keys)
		var o wire.Opener
		enc := json.NewEncoder(c.OutOrStdout())
		err = eachLane(v, lane, func(b wire.Batch) error {
			payload, err := o.Payload(b)
			if err != nil {
				return fmt.Errorf("spool: batch %s: %w", b.Header.ID(), err)
			}
			return enc.Encode(lineOf(v, b, payload))
		})
		return errors.Join(err, locked(v))
	})
	c.Flags().StringVar(&lane, "lane", "", "critical or full (default both)")
	return c
}

// eachLane walks one lane, or all with "".
func eachLane(v *spool.View, lane string, fn func(wire.Batch) error) error {
	for _, l := range lanes {
		if lane != "" {
			want, err := wire.ParseLane(lane)
			if err != nil || !slices.Contains(lanes[:], want) {
				return cli.Usage(fmt.Errorf("--lane: %q is no lane of a spool (want critical or full)", lane))
			}
			if want != l {
				continue
			}
		}
		if err := v.Each(l, fn); err != nil {
			return err
		}
	}
	return nil
}

func lineOf(v *spool.View, b wire.Batch, payload []byte) batchLine {
	h := b.Header
	line := batchLine{
		Lane: h.Stream.Lane.String(), Epoch: h.Stream.Epoch.String(), Seq: h.Seq, Bytes: h.Size(),
		FirstNS: h.FirstNS, LastNS: h.LastNS, Samples: h.Samples, Pending: !v.Settled(h.ID()),
	}
	if cs, err := wire.Controls(payload); err == nil { // what a newer version wrote is left out
		line.Controls = cs
	}
	for len(payload) > 0 {
		s, n, err := wire.NextSection(payload)
		if err != nil {
			break
		}
		if s.Type == wire.SectionBlock {
			line.Blocks++
		}
		payload = payload[n:]
	}
	return line
}
