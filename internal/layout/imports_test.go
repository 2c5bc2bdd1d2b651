package layout

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "telemetry"

// pkg is what `go list -json` says of one package.
type pkg struct {
	ImportPath  string
	Imports     []string
	TestImports []string
	Deps        []string
}

func list(t *testing.T, env []string, args ...string) []pkg {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,TestImports,Deps"}, args...)...)
	cmd.Dir = root(t)
	cmd.Env = append(cmd.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			t.Fatalf("go list: %v\n%s", err, ee.Stderr)
		}
		t.Fatal(err)
	}
	var ps []pkg
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return ps
		} else if err != nil {
			t.Fatal(err)
		}
		ps = append(ps, p)
	}
}

// only lists, for a package and all below it, the packages of this module that
// it may import; "" stands for its own sub-packages.
var only = map[string][]string{
	"wire":    {},
	"modem":   {},
	"board":   {},
	"reorder": {"wire"},
	"uplink":  {"wire"},
	"spool":   {"wire"},
	"sensors": {"wire"},
}

// onlyImporter names the one package that may import a module from outside.
var onlyImporter = map[string]string{
	"github.com/twmb/franz-go": "receiver/kafka",
	"github.com/goccy/go-yaml": "internal/config",
	"github.com/tidwall/wal":   "spool",
	"filippo.io/age":           "spool/atrest",
	"go.bug.st/serial":         "sensors/serialport",
}

func under(p, dir string) bool { return p == dir || strings.HasPrefix(p, dir+"/") }

func TestImportRules(t *testing.T) {
	for _, p := range list(t, nil, "./...") {
		rel := strings.TrimPrefix(p.ImportPath, module+"/")
		for _, imp := range p.Imports {
			if in, ours := strings.CutPrefix(imp, module+"/"); ours {
				checkInside(t, rel, in)
			}
			for mod, owner := range onlyImporter {
				if under(imp, mod) && !under(rel, owner) {
					t.Errorf("%s imports %s: only %s may", rel, imp, owner)
				}
			}
		}
	}
}

func checkInside(t *testing.T, rel, imp string) {
	t.Helper()
	for dir, allowed := range only {
		if !under(rel, dir) || under(imp, dir) {
			continue
		}
		if !slices.ContainsFunc(allowed, func(a string) bool { return under(imp, a) }) {
			t.Errorf("%s imports %s: %s may import only %v", rel, imp, dir, allowed)
		}
	}
	if (under(imp, "spool") || under(imp, "uplink") || under(imp, "modem")) &&
		!under(rel, "spool") && !under(rel, "uplink") && !under(rel, "modem") &&
		!under(rel, "internal/agent") && !under(rel, "lab") && !under(rel, "cmd/lab") {
		t.Errorf("%s imports %s: only internal/agent wires the car", rel, imp)
	}
}

// badDeps lists what must not be linked into a binary, with the reason.
var badDeps = map[string]map[string]string{
	"./cmd/edgeagent": {
		"testing":                         "test code in the car",
		"github.com/twmb/franz-go":        "the car never speaks to Kafka",
		"github.com/mochi-mqtt/server/v2": "the car is no broker",
		module + "/lab":                   "emulators belong to tests",
		module + "/receiver":              "the cloud's side",
	},
	"./cmd/receiver": {
		"testing":                  "test code in production",
		module + "/lab":            "emulators belong to tests",
		module + "/internal/agent": "the car's side",
	},
}

// ownHelpers are modules that keep their test helpers among what they ship: nothing calls
// them, and the linker leaves out all but 130 KB of what they pull in.
var ownHelpers = []string{"github.com/foxglove/mcap/go/mcap", "github.com/stretchr/testify", "github.com/apache/thrift/lib/go/thrift"}

func TestBinariesLinkOnlyTheirSide(t *testing.T) {
	for bin, bad := range badDeps {
		for _, p := range list(t, []string{"GOOS=linux", "GOARCH=arm", "CGO_ENABLED=0"}, "-deps", bin) {
			for _, d := range p.Imports {
				for dep, why := range bad {
					if under(d, dep) && !(dep == "testing" && slices.ContainsFunc(ownHelpers, func(m string) bool { return under(p.ImportPath, m) })) {
						t.Errorf("%s links %s by %s: %s", bin, d, p.ImportPath, why)
					}
				}
			}
		}
	}
}

// pureImports are what a pure package must not import: it holds no goroutine,
// lock, clock or I/O.
var pureImports = []string{"sync", "sync/atomic", "os", "net", "context", "log", "log/slog", "math/rand", "math/rand/v2", "crypto/rand"}

func TestPurePackagesTouchNothing(t *testing.T) {
	for _, p := range list(t, nil, "./wire/...", "./reorder/...") {
		if strings.HasSuffix(p.ImportPath, "test") {
			continue
		}
		for _, imp := range p.Imports {
			if slices.Contains(pureImports, imp) {
				t.Errorf("%s imports %s: it takes bytes and now, and returns decisions", p.ImportPath, imp)
			}
		}
	}
}
