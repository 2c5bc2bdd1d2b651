package archive

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// gapRecord is what is needed of a record in telemetry.gaps.
type gapRecord struct {
	Car    string `json:"car"`
	Epoch  uint32 `json:"epoch"`
	Nonce  string `json:"nonce"`
	Lane   string `json:"lane"`
	Shard  uint16 `json:"shard"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Change string `json:"change"`
	Reason string `json:"reason"`
	AtMS   int64  `json:"at_ms"`
}

const (
	// maxGapRecords bounds the records of one reading that are kept; later ones are passed.
	maxGapRecords = 100_000
	// maxGapReasons bounds the reasons of one gap.
	maxGapReasons = 4
	withdrawn     = "withdrawn"
)

// of reports whether a record tells of numbers of a gap.
func (r *gapRecord) of(g *Gap) bool {
	s := &g.Stream
	return r.First <= g.Range.Last && r.Last >= g.Range.First && r.Epoch == s.Epoch.Counter && r.Lane == s.Lane.String() &&
		r.Shard == s.Shard && r.Car == s.Car && r.Nonce == fmt.Sprintf("%016x", s.Epoch.Nonce)
}

// explain gives the reasons that stand in telemetry.gaps to those gaps of the report
// that are new. Who cannot read the topic has gaps without reasons.
func (r *reading) explain(ctx context.Context) error {
	gaps := r.report.Gaps[r.explained:]
	r.explained = len(r.report.Gaps)
	if len(gaps) == 0 {
		return nil
	}
	if r.why == nil {
		r.why = []gapRecord{}
		if err := r.readWhy(ctx); err != nil && ctx.Err() != nil {
			return err
		}
	}
	for i := range gaps {
		gaps[i].Reason = reasonOf(&gaps[i], r.why)
	}
	return nil
}

// readWhy reads what telemetry.gaps has of the window, in the order of its changes.
func (r *reading) readWhy(ctx context.Context) error {
	since := int64(0)
	if r.from != math.MinInt64 {
		since = max(0, r.from/1e6-Lateness)
	}
	err := r.a.since(ctx, r.a.src.Names().Gaps, since, func(rec *topic.Record) {
		var g gapRecord
		if len(r.why) == maxGapRecords || len(rec.Value) == 0 || json.Unmarshal(rec.Value, &g) != nil || r.q.Car != "" && g.Car != r.q.Car {
			return
		}
		r.why = append(r.why, g)
	})
	slices.SortStableFunc(r.why, func(a, b gapRecord) int { return cmp.Compare(a.AtMS, b.AtMS) })
	return err
}

// reasonOf joins what was said of a gap's numbers. That a window ran out is no reason:
// nobody knows more then.
func reasonOf(g *Gap, said []gapRecord) string {
	var reasons []string
	for i := range said {
		r := &said[i]
		if r.Change == withdrawn || r.Reason == "" || r.Reason == wire.ReasonGap.String() || r.Reason == wire.ReasonNone.String() ||
			len(reasons) == maxGapReasons || slices.Contains(reasons, r.Reason) || !r.of(g) {
			continue
		}
		reasons = append(reasons, r.Reason)
	}
	return strings.Join(reasons, ", ")
}
