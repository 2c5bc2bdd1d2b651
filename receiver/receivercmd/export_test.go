package receivercmd

import (
	"encoding/csv"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"telemetry/internal/cli"
	"telemetry/receiver/archive/archivetest"
	"telemetry/receiver/sequence"
	"telemetry/receiver/sequence/sequencetest"
)

// pit is a cluster with 40 batches of 5 rows and an event of one car, sequenced.
func pit(t *testing.T) (addr string, p *archivetest.Pit) {
	t.Helper()
	return pitWith(t, 0)
}

// pitWith is the same with some batches that were written before the first anchor.
func pitWith(t *testing.T, early int) (addr string, p *archivetest.Pit) {
	t.Helper()
	const utc = int64(1_790_000_000_000_000_000) // of boot time 0
	p = archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	p.Batches(car.Open())
	for i := range 40 {
		if i == early {
			p.Batches(car.Anchor(1, 1e9, utc+1e9, 1e6))
		}
		r := car.Full(int64(i+100)*10e6, 5)
		p.Batches(r, r) // each twice
	}
	p.Batches(car.Event(1_200e6, "pit_stop"))
	p.Sequence(func(c *sequence.Config) {
		if early > 0 {
			c.Reorder.AnchorWait = 0
		}
	})
	return "--brokers=" + p.Cluster.Brokers()[0], p
}

// TestExportEqualsSamples: a CSV has the rows of telemetry.samples, value by value, with
// their times, also of those that were written before the car's time was known.
func TestExportEqualsSamples(t *testing.T) {
	for name, early := range map[string]int{"synced": 0, "some before the first anchor": 7} {
		t.Run(name, func(t *testing.T) { checkExport(t, early) })
	}
}

func checkExport(t *testing.T, early int) {
	addr, p := pitWith(t, early)
	unsynced := 0
	want := map[string][]string{}
	for _, r := range p.Read(p.Cluster.Names().Samples) {
		d := json.NewDecoder(strings.NewReader(string(r.Value)))
		d.UseNumber()
		var m struct {
			TS, Boot  json.Number
			Epoch     json.Number
			RPM, Gear json.Number
		}
		var raw map[string]any
		if err := d.Decode(&raw); err != nil {
			t.Fatal(err)
		}
		m.TS, m.Boot, m.RPM, m.Gear = raw["ts_ns"].(json.Number), raw["boot_ns"].(json.Number), raw["rpm"].(json.Number), raw["gear"].(json.Number)
		rpm := m.RPM.String()
		if !strings.Contains(rpm, ".") {
			rpm += ".0" // a number with a scale says that it is no integer
		}
		synced := "1"
		if raw["clock"] == "unsynced" {
			synced = "0"
			unsynced++
		}
		want[m.Boot.String()] = []string{m.TS.String(), m.Boot.String(), "1", synced, rpm, m.Gear.String()}
	}
	if unsynced != 5*early {
		t.Fatalf("%d rows are unsynced", unsynced)
	}
	path := filepath.Join(t.TempDir(), "out.csv")
	out, err := command(t, "export", addr, "--channels", "Engine.*", "-o", path)
	if err != nil || !strings.Contains(out, "400 values of car-1 in "+path) {
		t.Fatalf("%v: %s", err, out)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := csv.NewReader(strings.NewReader(string(b))).ReadAll()
	if err != nil || len(rows) != 201 || len(want) != 200 {
		t.Fatalf("%d rows, want %d and a head: %v", len(rows), len(want), err)
	}
	for _, r := range rows[1:] {
		if !slices.Equal(r, want[r[1]]) {
			t.Fatalf("%v, want %v", r, want[r[1]])
		}
	}
	if left, _ := filepath.Glob(path + "*"); len(left) != 1 {
		t.Errorf("left: %v", left)
	}
	if out, err := command(t, "export", addr, "-o", path); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("a file that exists: %v %s", err, out)
	}
}

func TestExportDestinations(t *testing.T) {
	addr, _ := pit(t)
	dir := t.TempDir()
	if out, err := command(t, "export", addr, "-f", "parquet", "-o", dir+"/all/"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	made, err := filepath.Glob(dir + "/all/*")
	if err != nil || len(made) != 3 { // Engine, events, channels.csv
		t.Errorf("a folder: %v, %v", made, err)
	}
	if out, err := command(t, "export", addr, "-o", filepath.Join(dir, "all.csv")); err != nil || !strings.Contains(out, "all.csv.zip") {
		t.Errorf("several files: %v: %s", err, out)
	}
	if out, err := command(t, "export", addr, "-o", filepath.Join(dir, "x.mcap"), "--car", "car-1", "--session", "1-0000000000000007"); err != nil {
		t.Errorf("the kind by the name: %v: %s", err, out)
	}
	out, err := command(t, "export", addr, "-o", "-", "--channels", "gear", "--from", "2026-09-21T14:13:21.01Z", "--to", "2026-09-21T14:13:21.02Z")
	if err != nil || strings.Count(out, "\n") != 7 || !strings.HasPrefix(out, "ts_ns,boot_ns,epoch,synced,gear\n1790000001010000000,1010000000,1,1,0\n") {
		t.Errorf("10 ms to standard output: %v: %s", err, out)
	}
}

func TestExportsThatCannotBe(t *testing.T) {
	addr, _ := pit(t)
	dir := t.TempDir()
	for _, c := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"another format", []string{"-f", "xls"}, cli.ExitUsage, "csv, parquet, arrow or mcap"},
		{"a name of another format", []string{"-o", "x.xls"}, cli.ExitUsage, "csv, parquet, arrow or mcap"},
		{"two times", []string{"--lap", "a/1", "--from", "1h"}, cli.ExitUsage, "want one of --session, --lap"},
		{"no such session", []string{"--session", "Q7"}, cli.ExitFailed, "Q7"},
		{"no such channel", []string{"--channels", "nobody", "-o", filepath.Join(dir, "x.csv")}, cli.ExitFailed, "no value of these channels"},
		{"no such channel into a folder", []string{"--channels", "nobody", "-o", filepath.Join(dir, "x")}, cli.ExitFailed, "no value of these channels"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out, err := command(t, append([]string{"export", addr}, c.args...)...); cli.Code(err) != c.code || !strings.Contains(err.Error(), c.want) {
				t.Errorf("exit %d: %v: %s", cli.Code(err), err, out)
			}
		})
	}
	if left, _ := filepath.Glob(dir + "/*"); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
