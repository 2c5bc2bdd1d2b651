package receivercmd

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"telemetry/internal/cli"
	"telemetry/receiver"
	"telemetry/receiver/inspect"
	"telemetry/receiver/kafka"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
)

// cluster starts an embedded cluster of two partitions and writes records to it.
func cluster(t *testing.T, recs ...topic.Record) *kafka.Cluster {
	t.Helper()
	c, err := kafka.Open(t.Context(), kafka.Config{Embedded: kafka.Embedded{Dir: t.TempDir()}, Partitions: 2, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	p, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error, len(recs))
	for _, r := range recs {
		p.Produce(r, func(err error) { errs <- err })
	}
	for range recs {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	if err := p.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func in(name string, r topic.Record) topic.Record {
	r.Topic = name
	return r
}

func decodeLines(t *testing.T, out string) []inspect.Record {
	t.Helper()
	var rs []inspect.Record
	for line := range strings.Lines(out) {
		var r inspect.Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		rs = append(rs, r)
	}
	return rs
}

func TestCatReadsWhatIsAsked(t *testing.T) {
	names := topic.NewNames("")
	car, other := sequencetest.NewCar("car-1", 1, 7), sequencetest.NewCar("car-2", 1, 8)
	var recs []topic.Record
	for i := range 5 {
		recs = append(recs, in(names.Batches, car.Full(int64(i+1)*1e9, 2)), in(names.Batches, other.Full(int64(i+1)*1e9, 2)))
	}
	bad := in(names.Batches, car.Full(9e9, 1))
	bad.Value = []byte("rubbish")
	recs = append(recs, bad, in(names.Batches, car.Full(10e9, 1)))
	for i := range 4 {
		recs = append(recs, topic.Record{Topic: names.Events, Key: []byte("car-1"), Value: []byte(strconv.Itoa(i)), TimestampMS: 1_800_000_000_000 + int64(i)*1000, Partition: 1})
	}
	c := cluster(t, recs...)
	addr := "--brokers=" + c.Brokers()[0]
	part := topic.Partition([]byte("car-1"), 2)
	same := part == topic.Partition([]byte("car-2"), 2)
	last := 7
	if same {
		last = 12
	}
	cases := []struct {
		name string
		args []string
		want int
	}{
		{"all", []string{"batches"}, 12},
		{"by its full name", []string{"telemetry.batches"}, 12},
		{"one car", []string{"batches", "--car", "car-1"}, 7},
		{"three", []string{"batches", "-n", "3"}, 3},
		{"a partition", []string{"batches", "--partition", strconv.Itoa(int(part))}, last},
		{"the last two of each partition", []string{"events", "--from", "-2"}, 2},
		{"from an offset", []string{"events", "--from", "1"}, 3},
		{"between offsets", []string{"events", "--from", "1", "--until", "2"}, 1},
		{"from a time", []string{"events", "--from", "2027-01-15T08:00:02Z"}, 2},
		{"until a time", []string{"events", "--until", "2027-01-15T08:00:02Z"}, 2},
		{"later than all", []string{"events", "--from", "2099-01-01T00:00:00Z"}, 0},
		{"from the end", []string{"events", "--from", "end"}, 0},
		{"uncommitted", []string{"events", "--read-uncommitted"}, 4},
		{"followed to a number", []string{"events", "--follow", "-n", "4"}, 4},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			out, err := command(t, append([]string{"cat", addr}, tt.args...)...)
			if got := decodeLines(t, out); err != nil || len(got) != tt.want {
				t.Errorf("%d records, want %d (%v)", len(got), tt.want, err)
			}
		})
	}
	out, err := command(t, "cat", addr, "batches", "--car", "car-1")
	if err != nil {
		t.Fatal(err)
	}
	var wrong []inspect.Record
	got := decodeLines(t, out)
	for _, r := range got {
		if r.Error != "" {
			wrong = append(wrong, r)
		}
	}
	if len(wrong) != 1 || string(wrong[0].Base64) != "rubbish" || got[len(got)-1].Error != "" {
		t.Errorf("bad records %+v; they must not stop those behind them", wrong)
	}
}

func TestLagCountsWhatIsNotSettled(t *testing.T) {
	names := topic.NewNames("")
	car := sequencetest.NewCar("car-1", 1, 7)
	c := cluster(t, in(names.Batches, car.Full(1e9, 1)), in(names.Batches, car.Full(2e9, 1)))
	out, err := command(t, "lag", "--json", "--brokers", c.Brokers()[0])
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Partitions []kafka.LagReport }
	if err := json.Unmarshal([]byte(out), &got); err != nil || len(got.Partitions) != 2 {
		t.Fatalf("%v in %s", err, out)
	}
	for _, p := range got.Partitions {
		want := int64(0)
		if p.Partition == topic.Partition([]byte("car-1"), 2) {
			want = 2
		}
		if p.Lag != want || p.End != want || p.Committed != -1 || p.LagS < 0 || p.Error != "" {
			t.Errorf("got %+v, want a lag of %d", p, want)
		}
	}
}

func TestTopicsNamesWhatIsMissing(t *testing.T) {
	c := cluster(t, topic.Record{Topic: topic.NewNames("").Events, Value: []byte("x"), TimestampMS: 1_800_000_000_000})
	out, err := command(t, "topics", "--brokers", c.Brokers()[0])
	if err != nil || !strings.Contains(out, "2027-01-15T08:00:00.000Z") {
		t.Errorf("%v\n%s", err, out)
	}
	out, err = command(t, "topics", "--brokers", c.Brokers()[0], "--prefix", "other")
	if cli.Code(err) != cli.ExitFailed || !strings.Contains(out, "other.batches") || !strings.Contains(out, "MISSING") || !strings.Contains(out, "FAULT  other.batches: does not exist") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestPlaces(t *testing.T) {
	now := time.UnixMilli(1_800_000_000_000)
	cases := []struct {
		in   string
		want kafka.Place
		ok   bool
	}{
		{"", kafka.Place{}, true},
		{"start", kafka.Place{}, true},
		{"end", kafka.Place{Kind: kafka.AtEnd}, true},
		{"12", kafka.Place{Kind: kafka.AtOffset, N: 12}, true},
		{"-12", kafka.Place{Kind: kafka.AtLast, N: 12}, true},
		{"-0", kafka.Place{Kind: kafka.AtLast}, true},
		{"1s", kafka.Place{Kind: kafka.AtTime, N: now.UnixMilli() - 1000}, true},
		{"2027-01-15T08:00:00+01:00", kafka.Place{Kind: kafka.AtTime, N: now.UnixMilli() - 3600_000}, true},
		{"-1s", kafka.Place{}, false},
		{"noon", kafka.Place{}, false},
	}
	for _, c := range cases {
		if got, err := place(c.in, now); got != c.want || (err == nil) != c.ok {
			t.Errorf("%q: %+v, %v; want %+v", c.in, got, err, c.want)
		}
	}
}

// TestDoctorTellsEachFault has files that are not there, a cluster and a registry that
// do not answer, and no receiver: each is told with what to do.
func TestDoctorTellsEachFault(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "r.yaml")
	text := "version: 1\nname: test\nsocket: s\nmqtt: {listen: '127.0.0.1:0', tls: {ca: ca.crt, cert: r.crt, key: r.key, crl: crl.pem}}\n" +
		"kafka: {brokers: ['127.0.0.1:1'], registry: {url: 'http://127.0.0.1:1'}}\nsequence: {outputs: [{name: models, format: protobuf}]}\nlive: {listen: 'off'}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := command(t, "doctor", "--config", path, "--json", "--timeout", "1s")
	if cli.Code(err) != cli.ExitFailed {
		t.Errorf("exit code %d: %v", cli.Code(err), err)
	}
	var got struct {
		Level    string
		Findings []struct{ Level, What, Why, Do string }
	}
	if err := json.NewDecoder(bytes.NewBufferString(out)).Decode(&got); err != nil {
		t.Fatalf("%v in %s", err, out)
	}
	have := map[string]string{}
	for _, f := range got.Findings {
		have[f.What] = f.Level
		if f.Level != "ok" && (f.Why == "" || f.Do == "") {
			t.Errorf("%+v says not what to do", f)
		}
	}
	want := map[string]string{
		"receiver": "warn", "certificate of mqtt": "fail", "CA of the cars": "fail", "revocation list": "fail",
		"mqtt port": "ok", "kafka": "fail", "schema registry": "fail",
	}
	for what, level := range want {
		if have[what] != level {
			t.Errorf("%s is %q, want %s\n%s", what, have[what], level, out)
		}
	}
	if got.Level != "fail" {
		t.Errorf("level %s", got.Level)
	}
}

func TestStatusShowsOutputsAndWhatIsDegraded(t *testing.T) {
	s := receiver.Status{
		Name: "test", Ready: true, Degraded: []string{"output models: the registry is down"},
		Outputs: []receiver.OutputStatus{{
			Name: "models", Format: "protobuf", Topic: "t.models", State: receiver.OutputFailing, Error: "it fails", Registry: &receiver.RegistryStatus{State: receiver.OutputWaiting},
			SequenceStatus: receiver.SequenceStatus{Partitions: []receiver.PartitionStatus{{Lag: 3}, {Lag: 4}}},
		}},
	}
	var out bytes.Buffer
	if err := printStatus(&out, &s); err != nil {
		t.Fatal(err)
	}
	words := strings.Join(strings.Fields(out.String()), " ")
	for _, want := range []string{"DEGRADED output models: the registry is down", "models protobuf t.models failing waiting 2 7 0 it fails"} {
		if !strings.Contains(words, want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
