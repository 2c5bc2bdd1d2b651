package reorder

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"telemetry/wire"
)

// script plays records one by one and names what was decided.
type script struct {
	t   *testing.T
	cfg Config
	c   *Car
	ms  int64
	off int64
	log []Input
}

const (
	critical = wire.LaneCritical
	live     = wire.LaneLive
	full     = wire.LaneFull
)

// newScript begins with windows that are the same for all lanes and no wait for
// anchors.
func newScript(t *testing.T, window time.Duration, change ...func(*Config)) *script {
	t.Helper()
	cfg := Defaults()
	cfg.AnchorWait = 0
	cfg.Windows = [4]time.Duration{window, window, window, window}
	for _, f := range change {
		f(&cfg)
	}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	return &script{t: t, cfg: cfg, c: NewCar("car", cfg), ms: 1000}
}

// ep names an epoch by a small number: nonces differ as much as counters.
func ep(n int) wire.Epoch {
	return wire.Epoch{Counter: uint32(n), Nonce: uint64(n)*0x9e3779b97f4a7c15 | 1}
}

func streamOf(e int, l wire.Lane) wire.Stream {
	return wire.Stream{Car: "car", Epoch: ep(e), Lane: l}
}

type option func(*Input)

func pulled(in *Input)     { in.Send.Pulled = true }
func base(b uint64) option { return func(in *Input) { in.Send.Base = b } }
func crc(v uint32) option  { return func(in *Input) { in.Header.PayloadCRC = v } }
func columns(in *Input)    { in.Header.Catalogue = wire.CatalogueHash{9} }
func control(k wire.Control) option {
	return func(in *Input) {
		in.Header.Control, in.Header.Samples = true, 0
		in.Controls = append(in.Controls, k)
	}
}

// opens carries an EpochOpen of the batch's own epoch.
func opens(preds ...wire.Predecessor) option {
	return func(in *Input) {
		control(wire.Control{EpochOpen: &wire.EpochOpen{Epoch: in.Header.Stream.Epoch, Predecessors: preds}})(in)
	}
}

// holds is a predecessor with what is still held of it, by lane.
func holds(e int, held ...wire.HeldRanges) wire.Predecessor {
	return wire.Predecessor{Epoch: ep(e), Held: held}
}

func ranges(l wire.Lane, ends ...uint64) wire.HeldRanges {
	h := wire.HeldRanges{Lane: l}
	for i := 0; i < len(ends); i += 2 {
		h.Ranges = h.Ranges.Add(ends[i], ends[i+1])
	}
	return h
}

func loses(e int, l wire.Lane, first, last uint64, why wire.Reason) option {
	return control(wire.Control{Loss: &wire.Loss{Epoch: ep(e), Lane: l, Ranges: wire.Ranges{{First: first, Last: last}}, Reason: why}})
}

func tells(e int, l wire.Lane, b uint64) option {
	return control(wire.Control{Base: &wire.Base{Epoch: ep(e), Lane: l, Base: b}})
}

func anchors(in *Input) {
	control(wire.Control{Anchor: &wire.Anchor{ID: 1, UTCNS: 1, UncertaintyNS: 1}})(in)
}

// put applies a record one millisecond after the last one and compares what was
// decided: "main 1/full#2, gap 1/full#3-4 quota".
func (s *script) put(e int, l wire.Lane, seq uint64, want string, opts ...option) {
	s.t.Helper()
	s.ms++
	s.off += 2
	in := Input{Offset: s.off, AppendMS: s.ms, Header: wire.Header{Stream: streamOf(e, l), Seq: seq, Samples: 1, PayloadCRC: uint32(seq)}}
	for _, f := range opts {
		f(&in)
	}
	s.log = append(s.log, in)
	var out Out
	s.c.Apply(&in, &out)
	s.compare(fmt.Sprintf("%d/%v#%d", e, l, seq), out, want)
}

// advance moves time to d ms after the last record.
func (s *script) advance(d int64, want string) {
	s.t.Helper()
	s.ms += d
	var out Out
	s.c.Advance(s.ms, &out)
	s.compare(fmt.Sprintf("advance to %d", s.ms), out, want)
}

// abandon plays an operator's record.
func (s *script) abandon(e int, want string) {
	s.t.Helper()
	s.ms++
	s.off += 2
	var out Out
	s.c.Abandon(s.off, s.ms, ep(e), &out)
	s.compare("abandon", out, want)
}

// open starts the first epoch.
func (s *script) open() {
	s.t.Helper()
	s.put(1, critical, 1, "main 1/critical#1", opens())
}

func (s *script) compare(what string, out Out, want string) {
	s.t.Helper()
	var got []string
	for _, d := range out.Decisions {
		got = append(got, say(d))
	}
	if out.Duplicates > 0 {
		got = append(got, "duplicate")
	}
	if g := strings.Join(got, ", "); g != want {
		s.t.Fatalf("%s:\n got %q\nwant %q", what, g, want)
	}
}

// takeover replaces the car by one restored from its state.
func (s *script) takeover() {
	s.t.Helper()
	c, err := ParseCar(s.cfg, s.c.AppendState(nil))
	if err != nil {
		s.t.Fatal(err)
	}
	from, ok := c.LowestNeeded()
	for i := range s.log {
		if ok && s.log[i].Offset >= from {
			c.Rebuild(&s.log[i])
		}
	}
	if got, want := c.Held(), s.c.Held(); got != want {
		s.t.Fatalf("after the takeover %d batches wait, want %d", got, want)
	}
	s.c = c
}

func say(d Decision) string {
	e := int(d.ID.Stream.Epoch.Counter)
	id := fmt.Sprintf("%d/%v#%d", e, d.ID.Stream.Lane, d.ID.Seq)
	run := id
	if d.Last > d.ID.Seq {
		run = fmt.Sprintf("%s-%d", id, d.Last)
	}
	switch d.Kind {
	case KindSpent:
		return "spent " + id
	case KindRelease:
		return "main " + id
	case KindLate, KindPulled:
		return d.Kind.String() + " " + id
	case KindDeadLetter:
		return "dead " + id + " " + d.Why.String()
	case KindAnchor:
		return "anchor " + id
	case KindGap:
		switch d.Gap {
		case GapWithdrawn:
			return "found " + run
		case GapRefined:
			return fmt.Sprintf("gap %s %s was %s", run, reasonName(d.Reason), reasonName(d.Was))
		}
		return fmt.Sprintf("gap %s %s", run, reasonName(d.Reason))
	}
	if d.Alarm == AlarmLimit {
		return "alarm limit " + Limit(d.Last).String()
	}
	return "alarm " + run + " " + d.Alarm.String()
}

func reasonName(r wire.Reason) string {
	return map[wire.Reason]string{
		wire.ReasonQuota: "quota", wire.ReasonCorrupt: "corrupt", wire.ReasonSuperseded: "superseded", wire.ReasonEpoch: "epoch",
		wire.ReasonGap: "gap", wire.ReasonRetention: "retention", wire.ReasonCardReplaced: "card replaced",
	}[r]
}
