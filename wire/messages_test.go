package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// message is one self-checked message and its parser.
type message struct {
	name  string
	b     []byte
	want  any
	parse func(b []byte) (any, error)
}

func messages() []message {
	return []message{
		{"send", AppendSend(nil, sampleSend()), sampleSend(), func(b []byte) (any, error) { s, _, err := ParseSend(b); return s, err }},
		{"send sampled", AppendSend(nil, sampledSend()), sampledSend(), func(b []byte) (any, error) { s, _, err := ParseSend(b); return s, err }},
		{"send zero", AppendSend(nil, Send{}), Send{}, func(b []byte) (any, error) { s, _, err := ParseSend(b); return s, err }},
		{
			"send extremes", AppendSend(nil, Send{Link: 255, Gen: math.MaxUint32, SentNS: math.MinInt64, Base: MaxSeq}),
			Send{Link: 255, Gen: math.MaxUint32, SentNS: math.MinInt64, Base: MaxSeq},
			func(b []byte) (any, error) { s, _, err := ParseSend(b); return s, err },
		},
		{"ack", AppendAck(nil, sampleAck()), sampleAck(), func(b []byte) (any, error) { a, _, err := ParseCtl(b); return a, err }},
		{"ack empty", AppendAck(nil, &Ack{}), &Ack{}, func(b []byte) (any, error) { a, _, err := ParseCtl(b); return a, err }},
		{"command", AppendCommand(nil, sampleCommand()), sampleCommand(), func(b []byte) (any, error) { _, c, err := ParseCtl(b); return c, err }},
		{"command empty", AppendCommand(nil, &Command{}), &Command{}, func(b []byte) (any, error) { _, c, err := ParseCtl(b); return c, err }},
		{"answer", AppendAnswer(nil, sampleAnswer()), sampleAnswer(), func(b []byte) (any, error) { return ParseAnswer(b) }},
		{"answer ok", AppendAnswer(nil, &Answer{OK: true}), &Answer{OK: true}, func(b []byte) (any, error) { return ParseAnswer(b) }},
		{"part", AppendCataloguePart(nil, samplePart()), samplePart(), func(b []byte) (any, error) { return ParseCataloguePart(b) }},
	}
}

func TestMessages(t *testing.T) {
	for _, m := range messages() {
		t.Run(m.name, func(t *testing.T) {
			got, err := m.parse(m.b)
			if err != nil || !reflect.DeepEqual(got, m.want) {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, m.want)
			}
			for n := range m.b {
				if got, err := m.parse(m.b[:n]); err == nil {
					t.Fatalf("%d of %d bytes parsed as %+v", n, len(m.b), got)
				}
			}
			bad := slices.Clone(m.b)
			for i := range bad {
				for flip := 1; flip < 256; flip++ {
					bad[i] = m.b[i] ^ byte(flip)
					if got, err := m.parse(bad); err == nil && !isNil(got) {
						t.Fatalf("byte %d with %#x parsed as %+v", i, flip, got)
					}
				}
				bad[i] = m.b[i]
			}
		})
	}
}

// isNil is for ParseCtl, whose other result is set when the type byte changes.
func isNil(v any) bool { r := reflect.ValueOf(v); return r.Kind() == reflect.Pointer && r.IsNil() }

// TestSendTellsNoImpossibleTimes: what is not in order, or before the boot, is not told.
func TestSendTellsNoImpossibleTimes(t *testing.T) {
	for name, s := range map[string]Send{
		"sealed after it was durable": {SentNS: 100, SealedNS: 60, DurableNS: 50},
		"durable after it was sent":   {SentNS: 100, SealedNS: 60, DurableNS: 101},
		"not sealed":                  {SentNS: 100, DurableNS: 50},
	} {
		if got, _, err := ParseSend(AppendSend(nil, s)); err != nil || got.SealedNS != 0 || got.DurableNS != 0 {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if !Sampled(1) || Sampled(2) || !Sampled(17) {
		t.Error("the first of every 16 batches is sampled")
	}
}

// TestMessagesWithLaterFields appends bytes before the checksum, as a later
// version may.
func TestMessagesWithLaterFields(t *testing.T) {
	for _, m := range messages() {
		t.Run(m.name, func(t *testing.T) {
			b := append(slices.Clone(m.b[:len(m.b)-4]), 1, 2, 3)
			if strings.HasPrefix(m.name, "send") {
				b[1] += 3
			}
			got, err := m.parse(appendChecksum(b, 0))
			if err != nil || !reflect.DeepEqual(got, m.want) {
				t.Fatalf("got %+v, %v\nwant %+v", got, err, m.want)
			}
		})
	}
}

func TestMessageLimits(t *testing.T) {
	many := &Ack{Links: make([]LinkEcho, MaxAckLinks+1)}
	streams := &Ack{Streams: make([]StreamAck, MaxAckStreams+1)}
	for i := range streams.Streams {
		streams.Streams[i].Lane = LaneFull
	}
	args := map[string]string{}
	for i := range maxArgs + 1 {
		args[fmt.Sprint(i)] = ""
	}
	var long Ranges
	for i := range uint64(MaxRanges + 1) {
		long = append(long, Range{2 * (i + 1), 2 * (i + 1)})
	}
	version := AppendAck(nil, &Ack{})
	version[1]++
	cases := []struct {
		name string
		b    []byte
	}{
		{"links", AppendAck(nil, many)},
		{"streams", AppendAck(nil, streams)},
		{"lane", AppendAck(nil, &Ack{Streams: make([]StreamAck, 1)})},
		{"ranges", AppendAck(nil, &Ack{Streams: []StreamAck{{Lane: LaneFull, Durable: long}}})},
		{"bytes", appendChecksum(append(AppendAck(nil, &Ack{}), make([]byte, MaxAckBytes)...), 0)},
		{"arguments", AppendCommand(nil, &Command{Args: args})},
		{"version", version},
		{"type", []byte{3, 1, 0, 0, 0, 0}},
		{"nothing", nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if a, cmd, err := ParseCtl(c.b); err == nil {
				t.Fatalf("parsed as %v %v", a, cmd)
			}
		})
	}
	if _, err := ParseAnswer(AppendAnswer(nil, &Answer{Data: args})); err == nil {
		t.Error("an answer with too many entries parsed")
	}
	if _, err := ParseAck(version); !errors.Is(err, ErrVersion) {
		t.Errorf("got %v, want ErrVersion", err)
	}
}

func controlSections() map[string][]byte {
	return map[string][]byte{
		"epoch open": AppendEpochOpen(nil, sampleEpochOpen()),
		"loss":       AppendLoss(nil, sampleLoss()),
		"base":       AppendBase(nil, sampleBase()),
		"anchor":     AppendAnchor(nil, sampleAnchor()),
		"event":      AppendEvent(nil, sampleEvent()),
	}
}

func TestControls(t *testing.T) {
	want := []Control{
		{EpochOpen: sampleEpochOpen()}, {Loss: sampleLoss()}, {Base: sampleBase()}, {Anchor: sampleAnchor()}, {Event: sampleEvent()},
	}
	p := mustAppendBlock(t, sampleBlock())
	p = AppendEpochOpen(p, sampleEpochOpen())
	p = append(p, 100, 3, 1, 2, 3) // a type of a later version
	p = AppendLoss(p, sampleLoss())
	p = AppendBase(p, sampleBase())
	p = AppendAnchor(p, sampleAnchor())
	p = AppendEvent(p, sampleEvent())
	got, err := Controls(p)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	if _, err := Controls(append(p, byte(SectionMustUnderstand), 0)); !errors.Is(err, ErrMustUnderstand) {
		t.Errorf("got %v, want ErrMustUnderstand", err)
	}
	if _, err := ParseControl(Section{Type: SectionBlock}); !errors.Is(err, ErrUnknownSection) {
		t.Errorf("got %v, want ErrUnknownSection", err)
	}
	if _, _, err := NextSection([]byte{0, 0}); err == nil {
		t.Error("a section of type 0 was read")
	}
}

func TestControlTruncated(t *testing.T) {
	for name, b := range controlSections() {
		t.Run(name, func(t *testing.T) {
			for n := range b {
				if n > 0 {
					if cs, err := Controls(b[:n]); err == nil {
						t.Fatalf("%d of %d bytes parsed as %+v", n, len(b), cs)
					}
				}
			}
			s, _, err := NextSection(b)
			if err != nil {
				t.Fatal(err)
			}
			for n := range s.Body {
				if c, err := ParseControl(Section{s.Type, s.Body[:n]}); err == nil {
					t.Fatalf("%d of %d bytes parsed as %+v", n, len(s.Body), c)
				}
			}
			want, _ := ParseControl(s)
			got, err := ParseControl(Section{s.Type, append(bytes.Clone(s.Body), 7, 7)})
			if err != nil || !reflect.DeepEqual(got, want) {
				t.Fatalf("with later fields: %+v, %v", got, err)
			}
		})
	}
}

// TestLongSection has a body whose length takes two and three bytes.
func TestLongSection(t *testing.T) {
	for _, ranges := range []int{60, MaxRanges} {
		want := sampleLoss()
		want.Ranges = nil
		for i := range uint64(ranges) {
			want.Ranges = append(want.Ranges, Range{1 + 1000*i, 500 + 1000*i})
		}
		cs, err := Controls(AppendLoss(nil, want))
		if err != nil || len(cs) != 1 || !reflect.DeepEqual(cs[0].Loss, want) {
			t.Fatalf("%d ranges: %v", ranges, err)
		}
	}
}

func TestEventTextsAreCut(t *testing.T) {
	long := &Event{Name: strings.Repeat("n", 1000), Detail: strings.Repeat("d", 1000)}
	cs, err := Controls(AppendEvent(nil, long))
	if err != nil {
		t.Fatal(err)
	}
	if e := cs[0].Event; len(e.Name) != MaxEventName || len(e.Detail) != MaxEventDetail {
		t.Errorf("got %d and %d bytes", len(e.Name), len(e.Detail))
	}
	if n := len(seal(sampleID(LaneCritical, 1), Body{Lane: LaneCritical, Payload: AppendEvent(nil, &Event{BootNS: math.MaxInt64, Name: "button", Detail: "x"})})); n > MaxCriticalBytes {
		t.Errorf("a short event takes %d bytes", n)
	}
}

func TestReasons(t *testing.T) {
	for r := range Reason(len(reasonNames)) {
		if got, err := ParseReason(r.String()); err != nil || got != r {
			t.Errorf("%d: got %d, %v", r, got, err)
		}
	}
	if s := Reason(200).String(); s != "reason-200" {
		t.Errorf("got %q", s)
	}
	if _, err := ParseReason("bored"); err == nil {
		t.Error("an unknown reason parsed")
	}
}
