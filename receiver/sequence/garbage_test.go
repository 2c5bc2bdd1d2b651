package sequence_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

func TestGarbageGoesToDeadLetterAndNothingStops(t *testing.T) {
	good := sequencetest.NewCar("car-9", 1, 1).Event(0, "x")
	cases := []struct {
		name   string
		record func(c *sequencetest.Car) topic.Record
		want   []string
	}{
		{"not a batch", func(*sequencetest.Car) topic.Record {
			return topic.Record{Key: []byte("\xff\x00"), Value: []byte("hello"), Headers: []topic.Header{{Key: "x\xff", Value: []byte{0xff}}}}
		}, []string{"dlq undecodable"}},
		{"empty", func(*sequencetest.Car) topic.Record { return topic.Record{} }, []string{"dlq undecodable"}},
		{"huge", func(*sequencetest.Car) topic.Record {
			return topic.Record{Key: make([]byte, 1<<20), Value: make([]byte, 2<<20)}
		}, []string{"dlq undecodable"}},
		{"a batch without headers", func(*sequencetest.Car) topic.Record {
			return topic.Record{Value: good.Value}
		}, []string{"dlq headers"}},
		{"headers of another batch", func(c *sequencetest.Car) topic.Record {
			r := c.Full(1000*ms, 1)
			r.Headers = good.Headers
			return r
		}, []string{"dlq headers"}},
		{"an operator's slip", func(*sequencetest.Car) topic.Record {
			return topic.Record{Headers: []topic.Header{{Key: sequence.HeaderOperator, Value: []byte("explode")}}}
		}, []string{"dlq operator"}},
		{"a damaged batch takes its place in the order", func(c *sequencetest.Car) topic.Record {
			r := c.Full(1000*ms, 1)
			r.Value = slices.Clone(r.Value)
			r.Value[len(r.Value)-1] ^= 1
			return r
		}, []string{"dlq undecodable", "gaps full#1-1 settled undecodable"}},
		{"bytes behind a batch", func(c *sequencetest.Car) topic.Record {
			r := c.Full(1000*ms, 1)
			r.Value = append(slices.Clone(r.Value), 0)
			return r
		}, []string{"dlq undecodable", "gaps full#1-1 settled undecodable"}},
		{"columns that the catalogue does not have", func(c *sequencetest.Car) topic.Record {
			p, err := wire.AppendBlock(nil, &wire.Block{Group: 7, Ticks: []int64{1}, Columns: []wire.Column{{Type: wire.TypeInt, Values: []int64{1}}}})
			if err != nil {
				t.Fatal(err)
			}
			return c.Seal(wire.Body{Lane: wire.LaneFull, Catalogue: c.Hash, FirstNS: 1, LastNS: 1, Samples: 1, Payload: p})
		}, []string{"dlq undecodable", "gaps full#1-1 settled undecodable"}},
		{"control that is not marked so", func(c *sequencetest.Car) topic.Record {
			return c.Seal(wire.Body{Lane: wire.LaneFull, Payload: wire.AppendBase(nil, &wire.Base{Epoch: c.Epoch, Lane: wire.LaneFull, Base: 9})})
		}, []string{"dlq undecodable", "gaps full#1-1 settled undecodable"}},
		{"a section of the future that must be understood", func(c *sequencetest.Car) topic.Record {
			return c.Seal(wire.Body{Lane: wire.LaneFull, Payload: []byte{200, 0}})
		}, []string{"dlq undecodable", "gaps full#1-1 settled undecodable"}},
		{"a section of the future that may be skipped", func(c *sequencetest.Car) topic.Record {
			return c.Seal(wire.Body{Lane: wire.LaneFull, Payload: []byte{100, 0}})
		}, nil},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			b, car := opened(t, config())
			r := c.record(car)
			b.apply(r)
			out := b.write()
			want(t, "output", out, c.want...)
			checkLetters(t, out, b.cfg.Topics.DeadLetter, r.Value)
			b.apply(car.Event(2000*ms, "after"))
			if got := places(b.write()); len(got) != 1 || !strings.HasPrefix(got[0], "events") {
				t.Errorf("afterwards: %q", got)
			}
			b.load(0)
			want(t, "after a takeover", b.write())
		})
	}
}

// checkLetters checks that dead letters repeat what came, within bounds, as text.
func checkLetters(t *testing.T, out []topic.Record, name string, value []byte) {
	for i := range out {
		if out[i].Topic != name {
			continue
		}
		for _, h := range out[i].Headers {
			if !utf8.Valid(h.Value) || !utf8.ValidString(h.Key) {
				t.Errorf("header %q: %q is not text", h.Key, h.Value)
			}
		}
		if len(out[i].Value) > sequence.MaxValueBytes || out[i].Size() > topic.MaxRecordBytes {
			t.Errorf("dead letter of %d bytes", out[i].Size())
		}
		if len(value) < 1000 && !bytes.Equal(out[i].Value, value) {
			t.Error("the dead letter is not what came")
		}
	}
}

func TestForeignPartitionIsRefused(t *testing.T) {
	const n = 8
	car := sequencetest.NewCar("car-1", 1, 1)
	home := topic.Partition([]byte("car-1"), n)
	for p := range int32(n) {
		part, err := sequence.NewPartition(config(), p, sequence.Loaded{Partitions: n})
		if err != nil {
			t.Fatal(err)
		}
		r := car.Event(0, "x")
		part.Apply(&r)
		part.Drain(1 << 20)
		s := part.Snapshot()
		if p == home {
			if s.Foreign != 0 || len(s.Cars) != 1 {
				t.Errorf("at home: %+v", s)
			}
			continue
		}
		want(t, "elsewhere", part.Commit().Out, "dlq foreign partition")
		if s.Foreign != 1 || s.Alarms != 1 || len(part.Alarms()) != 1 || len(s.Cars) != 0 {
			t.Errorf("elsewhere: %+v", s.Counters)
		}
	}
}

func TestLimitOfCars(t *testing.T) {
	cfg := config()
	cfg.MaxCars = 1
	b, _ := opened(t, cfg)
	b.apply(sequencetest.NewCar("car-2", 1, 1).Event(0, "x"))
	want(t, "the second car", b.write(), "dlq too many cars")
}

func TestSamePayloadOtherCRC(t *testing.T) {
	b, c := opened(t, config())
	a, forged := c.Full(1000*ms, 1), sequencetest.NewCar("car-1", 1, 0xabc).Full(5000*ms, 1)
	b.apply(a, forged)
	want(t, "output", b.write(), "samples full#1:1/1 synced", "dlq crc conflict")
	if len(b.p.Alarms()) != 1 {
		t.Error("no alarm")
	}
}

// FuzzRecord gives a partition arbitrary records between good ones: whatever
// comes, nothing panics, the good ones come out once, and a new owner has
// nothing to add.
func FuzzRecord(f *testing.F) {
	seed := sequencetest.NewCar("car-1", 1, 0xabc)
	for _, r := range []topic.Record{seed.Open(), seed.Anchor(1, 1, utc, 1), seed.Full(0, 3), seed.Live(0), seed.Event(0, "x")} {
		f.Add(r.Value, "car-1", "1", "0000000000000abc", "full", "3", "true", "", int64(5000))
		f.Add(r.Value[:len(r.Value)/2], "car-1", "9", "0000000000000abd", "critical", "1", "false", "abandon", int64(0))
	}
	f.Fuzz(func(t *testing.T, value []byte, car, epoch, nonce, lane, seq, pulled, operator string, later int64) {
		b, c := opened(t, config())
		r := topic.Record{Key: []byte(car), Value: value}
		for _, h := range [...][2]string{
			{"car", car},
			{"epoch", epoch},
			{"nonce", nonce},
			{"lane", lane},
			{"seq", seq},
			{"base", "1"},
			{"pulled", pulled},
			{"link", "0"},
			{"gen", "1"},
			{"sent_ns", "0"},
			{"ingest", "i"},
		} {
			r.Headers = append(r.Headers, topic.Header{Key: h[0], Value: []byte(h[1])})
		}
		if operator != "" {
			r.Headers = append(r.Headers, topic.Header{Key: sequence.HeaderOperator, Value: []byte(operator)})
		}
		b.apply(r)
		b.nowMS += max(0, min(later, 100_000))
		b.apply(c.Event(1000*ms, "good"), r)
		b.write()
		b.load(0)
		if got := places(b.write()); len(got) != 0 {
			t.Errorf("a new owner wrote %q", got)
		}
	})
}
