package receivercmd

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"telemetry/internal/cli"
	"telemetry/receiver/archive/archivetest"
	"telemetry/receiver/replay"
	"telemetry/receiver/sequence/sequencetest"
	"telemetry/receiver/topic"
	"telemetry/wire"
)

// raced is a pit with a session of two laps of two seconds each: a batch every 100 ms.
func raced(t *testing.T) (p *archivetest.Pit, utc int64) {
	t.Helper()
	utc = time.Now().Add(-time.Minute).Truncate(time.Second).UnixNano()
	p = archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	event := func(boot int64, name, detail string) topic.Record {
		return car.Seal(wire.Body{
			Lane: wire.LaneCritical, FirstNS: boot, LastNS: boot, Samples: 1,
			Payload: wire.AppendEvent(nil, &wire.Event{BootNS: boot, Name: name, Detail: detail}),
		})
	}
	recs := []topic.Record{car.Open(), car.Anchor(1, 1, utc+1, 1e6), event(1e9, "session_start", `{"id":"s1","name":"Q1"}`)}
	for i := range 60 {
		recs = append(recs, car.Full(int64(i)*100e6, 2))
	}
	recs = append(recs, event(3e9, "lap", `{"id":"s1","lap":1,"time_ns":2000000000,"complete":true}`),
		event(5e9, "lap", `{"id":"s1","lap":2,"time_ns":2000000000,"complete":true}`), event(6e9, "session_stop", `{"id":"s1"}`))
	p.Batches(recs...)
	p.Sequence(nil)
	return p, utc
}

// replayed runs the command and returns its report.
func replayed(t *testing.T, args ...string) (replayReport, error) {
	t.Helper()
	out, err := command(t, append([]string{"replay", "--json"}, args...)...)
	var rep replayReport
	if i := strings.IndexByte(out, '{'); i >= 0 { // notes come before it
		if jerr := json.Unmarshal([]byte(out[i:]), &rep); jerr != nil {
			t.Fatalf("%v in %s", jerr, out)
		}
	}
	return rep, err
}

func TestReplayOfAWindow(t *testing.T) {
	p, utc := raced(t)
	addr := "--brokers=" + p.Cluster.Brokers()[0]
	at := func(ms int64) string { return time.Unix(0, utc+ms*1e6).UTC().Format(time.RFC3339Nano) }
	cases := []struct {
		name string
		args []string
		want uint64
	}{
		{"everything, batches", nil, 66},
		{"everything, rows", []string{"--format", "json"}, 120 + 4},
		{"a session", []string{"--format", "json", "--session", "Q1"}, 2*50 + 3},
		{"a lap", []string{"--format", "json", "--lap", "s1/2"}, 2 * 20},
		{"a lap of a car", []string{"--format", "json", "--car", "car-1", "--lap", "Q1/1", "--lanes", "full"}, 2 * 20},
		{"between times", []string{"--format", "arrow", "--from", at(500), "--to", at(700)}, 2},
		{"since a time ago", []string{"--format", "json", "--from", "2h", "--lanes", "critical"}, 4},
		{"another car", []string{"--car", "car-9"}, 0},
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			prefix := "w" + string(rune('a'+i))
			rep, err := replayed(t, append([]string{addr, "--prefix", prefix, "--speed", "max"}, c.args...)...)
			if err != nil || !rep.Complete || rep.Resume != "" || c.name != "a lap" && rep.Records != c.want {
				t.Fatalf("%+v, want %d records: %v", rep, c.want, err)
			}
			if c.name == "a lap" && (rep.Records < c.want || rep.Records > c.want+1) { // its end's event lies at its end
				t.Errorf("%d records", rep.Records)
			}
			got := uint64(0)
			for _, name := range rep.Topics {
				if strings.HasSuffix(name, ".catalogues") || rep.Records == 0 {
					continue
				}
				got += uint64(len(p.Read(name)))
			}
			if got != rep.Records {
				t.Errorf("the topics have %d records of %d", got, rep.Records)
			}
		})
	}
	// What was played can be played: there is no time map, nor are there sessions.
	rep, err := replayed(t, addr, "--from-prefix", "wa", "--prefix", "more", "--speed", "max", "--format", "json", "--lap", "Q1/1", "--lanes", "full")
	if err != nil || rep.Records != 40 {
		t.Errorf("a lap of what was played: %+v, %v", rep, err)
	}
	rep, err = replayed(t, addr, "--prefix", "wa", "--speed", "max")
	if err != nil || len(p.Read("wa.batches")) != 2*66 {
		t.Errorf("once more: %+v, %v", rep, err)
	}
}

func TestReplayRefuses(t *testing.T) {
	p, _ := raced(t)
	addr := "--brokers=" + p.Cluster.Brokers()[0]
	cases := []struct {
		name string
		args []string
		code int
		want string
	}{
		{"no prefix", []string{addr}, cli.ExitUsage, "want --prefix"},
		{"a prefix that names no topic", []string{addr, "--prefix", "x y"}, cli.ExitUsage, "cannot begin a topic's name"},
		{"the topics that are read", []string{addr, "--prefix", "telemetry"}, cli.ExitFailed, "telemetry.batches is of the receiver"},
		{"rows beside them", []string{addr, "--prefix", "telemetry", "-f", "json"}, cli.ExitFailed, "telemetry.samples is of the receiver"},
		{"no format", []string{addr, "--prefix", "x", "-f", "csv"}, cli.ExitUsage, "want batches, json, batch"},
		{"no speed", []string{addr, "--prefix", "x", "--speed", "0"}, cli.ExitUsage, "--speed"},
		{"no time", []string{addr, "--prefix", "x", "--from", "yesterday"}, cli.ExitUsage, "--from"},
		{"a lap without a session", []string{addr, "--prefix", "x", "--lap", "3"}, cli.ExitUsage, "SESSION/LAP"},
		{"two windows", []string{addr, "--prefix", "x", "--session", "a", "--from", "1h"}, cli.ExitUsage, "want one of"},
		{"an end before the begin", []string{addr, "--prefix", "x", "--from", "1h", "--to", "2h"}, cli.ExitUsage, "--to is not after"},
		{"an unknown session", []string{addr, "--prefix", "x", "--session", "R1"}, cli.ExitFailed, "there are s1 (Q1)"},
		{"an unknown lap", []string{addr, "--prefix", "x", "--lap", "Q1/7"}, cli.ExitFailed, "there are 1, 2"},
		{"no place", []string{addr, "--prefix", "x", "--resume", "12"}, cli.ExitUsage, "--resume"},
		{"a schema without a registry", []string{addr, "--prefix", "x", "-f", "protobuf"}, cli.ExitUsage, "kafka.registry"},
		{"what if, of files", []string{addr, "--what-if", "1s", "file"}, cli.ExitUsage, "files"},
		{"what if, no windows", []string{addr, "--what-if", "1s,often"}, cli.ExitUsage, "often"},
		{"a file that is none", []string{addr, "--prefix", "x", "nowhere.batches"}, cli.ExitFailed, "nowhere.batches"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := command(t, append([]string{"replay"}, c.args...)...)
			if err == nil || cli.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("code %d, %v; want %d, %q", cli.Code(err), err, c.code, c.want)
			}
		})
	}
}

// Interrupted, it says how to go on, and goes on there.
func TestReplayIsInterrupted(t *testing.T) {
	p, _ := raced(t)
	o := replayOptions{from: clusterFlags{brokers: p.Cluster.Brokers(), prefix: topic.DefaultPrefix}, prefix: "i", format: "json", speed: "4", asJSON: true}
	if err := o.check(time.Now()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() { // ends when something has come
		for ctx.Err() == nil {
			if n, err := p.Cluster.EndOffsets(ctx, "i.samples"); err == nil && n[0]+n[1] > 5 {
				stop()
			}
		}
	}()
	var out, errs bytes.Buffer
	err := runReplay(ctx, &o, &out, &errs)
	var rep replayReport
	if jerr := json.Unmarshal(out.Bytes(), &rep); jerr != nil {
		t.Fatal(jerr)
	}
	if cli.Code(err) != cli.ExitDegraded || rep.Complete || rep.Resume == "" || !strings.Contains(err.Error(), rep.Resume) || rep.Records == 0 || rep.Records >= 124 {
		t.Fatalf("%v: %+v", err, rep)
	}
	more, err := replayed(t, "--brokers="+p.Cluster.Brokers()[0], "--prefix", "i", "-f", "json", "--speed", "max", "--resume", rep.Resume)
	if err != nil || rep.Records+more.Records != 124 {
		t.Errorf("%d and %d records: %v", rep.Records, more.Records, err)
	}
	if _, err := replayed(t, "--brokers="+p.Cluster.Brokers()[0], "--prefix", "j", "-f", "json", "--speed", "max"); err != nil {
		t.Fatal(err)
	}
	text := func(name string) (s string) {
		for _, r := range p.Read(name) {
			s += string(r.Key) + string(r.Value) + "\n"
		}
		return s
	}
	if text("i.samples") != text("j.samples") || text("i.events") != text("j.events") {
		t.Error("in two parts it is not the same as in one")
	}
}

func TestReplayOfFiles(t *testing.T) {
	p, _ := raced(t)
	dir := t.TempDir()
	var b []byte
	for _, r := range p.Read("telemetry.batches") {
		if len(r.Value) > 0 {
			b = append(binary.AppendUvarint(b, uint64(len(r.Value))), r.Value...)
		}
	}
	cat := sequencetest.Catalogue("car-1")
	for name, content := range map[string][]byte{"run.batches": b, "run.batches." + cat.Hash().String() + replay.CatalogueSuffix: cat.Append(nil)} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	addr := "--to-brokers=" + p.Cluster.Brokers()[0]
	none := "--config=" + filepath.Join(dir, "none.yaml")
	rep, err := replayed(t, none, addr, "--prefix", "f", "--speed", "max", "--format", "json", "--lap", "Q1/1", dir)
	if err != nil || rep.From != "files" || rep.Records < 40 || rep.Records > 41 {
		t.Errorf("a lap: %+v, %v", rep, err)
	}
	rep, err = replayed(t, none, addr, "--prefix", "g", "--partitions", "2", "--speed", "max", filepath.Join(dir, "run.batches"))
	if err != nil || rep.Records != 66 || len(p.Read("g.batches")) != 66 {
		t.Errorf("batches: %+v, %v", rep, err)
	}
	other := archivetest.Open(t, "g", p.Cluster.Brokers()...)
	other.Sequence(nil)
	if got := len(p.Read("g.samples")); got != 120 {
		t.Errorf("another receiver makes %d rows of the files", got)
	}
}

func TestReplayWhatIf(t *testing.T) {
	p, _ := raced(t)
	addr := "--brokers=" + p.Cluster.Brokers()[0]
	out, err := command(t, "replay", addr, "--what-if", "10ms,1m,none", "--json")
	var got struct {
		Windows []replay.Outcome `json:"windows"`
	}
	if err = errors.Join(err, json.Unmarshal([]byte(out), &got)); err != nil || len(got.Windows) != 6 {
		t.Fatalf("%s: %v", out, err)
	}
	for _, o := range got.Windows {
		if want := map[string]uint64{"critical": 6, "full": 60}[o.Lane]; o.Batches != want || o.Late+o.Lost+o.Waiting > 0 {
			t.Errorf("%+v", o)
		}
	}
	out, err = command(t, "replay", addr, "--what-if", "100ms", "--lap", "Q1/1")
	if err != nil || !strings.Contains(out, "window") || !strings.Contains(out, "100ms") || !strings.Contains(out, "full") {
		t.Errorf("%s: %v", out, err)
	}
}

func TestReplayCompletes(t *testing.T) {
	for flag, want := range map[string]string{"--format": "protobuf-raw", "--speed": "max", "--lanes": "critical"} {
		if out, err := command(t, "__complete", "replay", flag, ""); err != nil || !strings.Contains(out, want) {
			t.Errorf("%s: %q, %v", flag, out, err)
		}
	}
}
