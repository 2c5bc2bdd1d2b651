package agent

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"telemetry/internal/config"
	"telemetry/lab/pki"
)

const goodDBC = "BO_ 256 Engine: 2 ECU\n SG_ rpm : 0|16@1+ (1,0) [0|0] \"1/min\" X\n"

// configure writes files and reads car.yaml among them.
func configure(t *testing.T, yaml string, files map[string]string) *config.Agent {
	t.Helper()
	dir := t.TempDir()
	files["car.yaml"] = "version: 1\ncar: car-7\nspool: {dir: spool, quota: 10MB}\nsocket: a.sock\n" + yaml
	for name, body := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.ReadAgent(filepath.Join(dir, "car.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

func TestPrepareNamesEveryFault(t *testing.T) {
	const goodLog = "(1.5) can0 100#01\n"
	const bus = "sources: [{name: bus, candump: {file: lap.log, dbc: car.dbc}}]\n"
	tests := []struct {
		name     string
		yaml     string
		files    map[string]string
		fatal    []string // in the error
		faults   []string // the agent runs without these sources
		warnings []string
	}{
		{name: "good", yaml: bus, files: map[string]string{"lap.log": goodLog, "car.dbc": goodDBC}},
		{
			name: "board and identity", yaml: bus + "board: nosuch\nreceiver: {addresses: ['tls://a:1'], tls: {ca: ca, cert: cert, key: key}}\n",
			files: map[string]string{"lap.log": goodLog, "car.dbc": goodDBC},
			fatal: []string{`:6:8: board: no profile "nosuch"`, ":7:43: receiver.tls: certificate of the car: open "},
		},
		{
			name: "missing log", yaml: bus, files: map[string]string{"car.dbc": goodDBC},
			faults: []string{":5:39: sources[0].candump.file: ", "lap.log: no such file or directory"},
		},
		{
			name: "nothing that can be used", yaml: bus, files: map[string]string{"lap.log": goodLog, "car.dbc": "hello"},
			fatal: []string{":5:53: sources[0].candump.dbc: ", "car.dbc: no message (BO_) in it"},
		},
		{
			name: "one database of two", yaml: "sources: [{name: bus, candump: {file: lap.log, bus_dbc: {can0: car.dbc, can1: no.dbc}}}, {name: sim, sim: {}}]\n",
			files:  map[string]string{"lap.log": goodLog, "car.dbc": goodDBC},
			faults: []string{"sources[0].candump.bus_dbc.can1: ", "no.dbc: no such file"},
		},
		{
			name: "tolerated", yaml: bus, files: map[string]string{"lap.log": goodLog, "car.dbc": goodDBC + strings.Repeat(" SG_ broken : what\n", maxWarnings+7)},
			warnings: []string{"sources[0].candump.dbc: ", "line 3", "and 7 more faults"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, err := Prepare(configure(t, tt.yaml, tt.files), rootFS(), silent())
			var fs config.Faults
			if (err != nil) != (len(tt.fatal) > 0) || err != nil && !errors.As(err, &fs) {
				t.Fatalf("got %v", err)
			}
			contains(t, fs, tt.fatal)
			if err == nil {
				contains(t, a.Faults(), tt.faults)
				contains(t, a.Warnings(), tt.warnings)
			}
		})
	}
}

func contains(t *testing.T, fs config.Faults, parts []string) {
	t.Helper()
	if len(fs) > 0 != (len(parts) > 0) {
		t.Errorf("got %v, want %q", fs, parts)
	}
	for _, p := range parts {
		if !strings.Contains(fs.Error(), p) {
			t.Errorf("no %q in\n%v", p, fs)
		}
	}
}

func TestSurroundings(t *testing.T) {
	cfg := configure(t, "sources: [{name: sim, sim: {}}]\nlinks: [{name: a, interface: nosuch0, addresses: ['tcp://a:1']}, {name: b, addresses: ['tcp://a:1']}]\n", map[string]string{"file": ""})
	contains(t, Surroundings(cfg), []string{":6:30: links[0].interface: nosuch0 is not there now (there are "})
	if _, err := os.Stat(cfg.Spool.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the spool was made: %v", err)
	}
	cfg.Links = nil
	cfg.Receiver = config.Endpoint{Addresses: []string{"tls://a:1", "tcp://a:1"}, TLS: &config.ClientTLS{}}
	contains(t, Surroundings(cfg), []string{"receiver.addresses[1]: tcp://a:1 is dialled in the clear"})
	cfg.Receiver = config.Endpoint{}
	contains(t, Surroundings(cfg), nil)
	cfg.Spool.Quota = 1 << 60
	contains(t, Surroundings(cfg), []string{":3:28: spool.quota: is ", "the disk has room for"})
	cfg.Spool.Quota = 10 << 20
	cfg.Spool.Dir = filepath.Join(filepath.Dir(cfg.Spool.Dir), "file", "spool")
	contains(t, Surroundings(cfg), []string{":3:14: spool.dir: ", "file is no directory"})
}

// A car with the certificate of another one runs and spools, and says it.
func TestCertificateOfAnotherCar(t *testing.T) {
	dir := t.TempDir()
	if _, err := pki.Write(dir, []string{"127.0.0.1"}, "car-7", "car-8"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{"car-7": nil, "car-8": {"receiver.tls.cert: ", `speaks for "car-8", the car is "car-7"`, "the spool keeps it"}} {
		identity := "{ca: " + filepath.Join(dir, "ca.crt") + ", cert: " + filepath.Join(dir, name+".crt") + ", key: " + filepath.Join(dir, name+".key") + "}"
		cfg := configure(t, "sources: [{name: sim, sim: {}}]\nreceiver: {addresses: ['tls://a:1'], tls: "+identity+"}\n", map[string]string{})
		a, err := Prepare(cfg, os.DirFS("/"), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		contains(t, a.Warnings(), want)
	}
}
