package topic_test

import (
	"errors"
	"reflect"
	"testing"
	"unicode/utf8"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// The hashes are those of Kafka's own UtilsTest.testMurmur2.
func TestPartitionIsKafkasDefault(t *testing.T) {
	cases := []struct {
		key  string
		hash int32
	}{
		{"21", -973932308},
		{"foobar", -790332482},
		{"a-little-bit-long-string", -985981536},
		{"a-little-bit-longer-string", -1486304829},
		{"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971},
		{"abc", 479470107},
	}
	for _, c := range cases {
		for _, n := range []int32{1, 4, 12, 50} {
			want := (c.hash & 0x7fffffff) % n
			if got := topic.Partition([]byte(c.key), n); got != want {
				t.Errorf("Partition(%q, %d) = %d, want %d", c.key, n, got, want)
			}
		}
	}
}

func testID() wire.ID {
	return wire.ID{
		Stream: wire.Stream{Car: "car-1", Epoch: wire.Epoch{Counter: 7, Nonce: 0xabc}, Lane: wire.LaneFull},
		Seq:    42,
	}
}

func TestBatchHeadersRoundTrip(t *testing.T) {
	sharded := testID()
	sharded.Stream.Shard = 3
	cases := map[string]topic.BatchInfo{
		"plain":   {ID: testID(), Send: wire.Send{Link: 2, Gen: 9, SentNS: 123456789, Base: 40}, Instance: "pit-1"},
		"pulled":  {ID: testID(), Send: wire.Send{Base: 1, Pulled: true}, Instance: "x"},
		"sharded": {ID: sharded, Send: wire.Send{Base: 1}, Instance: "x"},
	}
	for name, want := range cases {
		t.Run(name, func(t *testing.T) {
			hs := topic.BatchHeaders(want.ID, want.Send, want.Instance)
			for _, h := range hs {
				if !utf8.Valid(h.Value) {
					t.Errorf("header %s is not text: %q", h.Key, h.Value)
				}
			}
			got, err := topic.ParseBatchHeaders(append(hs, topic.Header{Key: "traceparent", Value: []byte("x")}))
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestParseBatchHeadersRefuses(t *testing.T) {
	for _, key := range []string{"car", "epoch", "nonce", "lane", "seq", "base", "pulled", "link", "gen", "sent_ns", "ingest"} {
		hs := topic.BatchHeaders(testID(), wire.Send{Base: 1}, "pit")
		var missing []topic.Header
		for _, h := range hs {
			if h.Key != key {
				missing = append(missing, h)
			}
		}
		if _, err := topic.ParseBatchHeaders(missing); !errors.Is(err, topic.ErrHeaders) {
			t.Errorf("without %s: error %v, want ErrHeaders", key, err)
		}
		if key == "ingest" {
			continue // any text will do
		}
		for i := range hs {
			if hs[i].Key == key {
				hs[i].Value = []byte("no/thing")
			}
		}
		if _, err := topic.ParseBatchHeaders(hs); !errors.Is(err, topic.ErrHeaders) {
			t.Errorf("with a bad %s: error %v, want ErrHeaders", key, err)
		}
	}
}

func TestOutputIdentity(t *testing.T) {
	hs := topic.BatchHeaders(testID(), wire.Send{}, "pit")
	row := append(hs, topic.Header{Key: "row", Value: []byte("3/10")})
	got, ok := topic.OutputIdentity(&topic.Record{Topic: "t", Headers: row})
	want := topic.Identity{Topic: "t", ID: testID(), Place: "3/10"}
	if !ok || got != want {
		t.Errorf("got %+v %v, want %+v", got, ok, want)
	}
	if _, ok := topic.OutputIdentity(&topic.Record{Topic: "t"}); ok {
		t.Error("a record without headers has an identity")
	}
}

func TestSpecs(t *testing.T) {
	n := topic.NewNames("")
	if n.State != "telemetry.sequence.state" || n.DeadLetter != "telemetry.dlq" {
		t.Errorf("names %+v", n)
	}
	specs := map[string]topic.Spec{}
	for _, s := range n.Specs(6) {
		specs[s.Name] = s
	}
	v := reflect.ValueOf(n)
	for i := range v.NumField() {
		if _, ok := specs[v.Field(i).String()]; !ok {
			t.Errorf("no spec for %s", v.Field(i))
		}
	}
	if b := specs[n.Batches]; b.Config[topic.ConfigTimestamp] != "LogAppendTime" || b.Partitions != specs[n.State].Partitions {
		t.Errorf("batches %+v, state %+v", b, specs[n.State])
	}
	if s := specs[n.Samples]; s.Config[topic.ConfigTimestamp] != "CreateTime" || s.Config[topic.ConfigCleanup] != "delete" {
		t.Errorf("samples %+v", s)
	}
	for _, name := range []string{n.Catalogues, n.Timemap, n.State} {
		if specs[name].Config[topic.ConfigCleanup] != "compact" {
			t.Errorf("%s is not compacted: %+v", name, specs[name])
		}
	}
}

func FuzzParseBatchHeaders(f *testing.F) {
	f.Add("car-1", "7", "0000000000000abc", "full", "42")
	f.Fuzz(func(t *testing.T, car, epoch, nonce, lane, seq string) {
		hs := topic.BatchHeaders(testID(), wire.Send{}, "i")
		for i, v := range map[int]string{0: car, 1: epoch, 2: nonce, 3: lane, 4: seq} {
			hs[i].Value = []byte(v)
		}
		info, err := topic.ParseBatchHeaders(hs)
		if err != nil {
			return
		}
		again, err := topic.ParseBatchHeaders(topic.BatchHeaders(info.ID, info.Send, info.Instance))
		if err != nil || again != info {
			t.Errorf("%+v comes back as %+v, %v", info, again, err)
		}
	})
}

func TestOutputNames(t *testing.T) {
	o := topic.NewOutput("team", "team-sequence", "models", "")
	if o.Group != "team-sequence-models" || o.Names.Samples != "team.models" || o.Names.State != "team.sequence.models.state" || o.Names.Batches != "team.batches" {
		t.Errorf("output %+v", o)
	}
	want := []string{"rows", "rows.late", "rows.events", "rows.gaps", "rows.dlq"}
	o = topic.NewOutput("", "g", "models", "rows")
	if got := o.Names.Outputs(); !reflect.DeepEqual(got, want) {
		t.Errorf("it writes %v, want %v", got, want)
	}
	if o.Names.Timemap != "" || o.Names.Sessions != "" || o.Names.Pulled != "" {
		t.Errorf("it writes what the default output writes: %+v", o.Names)
	}
	specs := map[string]topic.Spec{}
	for _, s := range o.Specs(0) {
		specs[s.Name] = s
	}
	for _, name := range append(want, o.Names.State) {
		if s, ok := specs[name]; !ok || s.Partitions != topic.DefaultPartitions {
			t.Errorf("spec of %s: %+v", name, s)
		}
	}
	if s := specs["rows"]; !reflect.DeepEqual(s.Fixed, []string{"cleanup.policy", "message.timestamp.type"}) || s.Config["retention.ms"] != "604800000" {
		t.Errorf("rows %+v", s)
	}
	o.Preview, o.Rows = true, 9
	if s := o.Specs(2)[0]; s.Config["retention.ms"] != "86400000" || s.Partitions != 9 {
		t.Errorf("rows of a preview: %+v", s)
	}
}
