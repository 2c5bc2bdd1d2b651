package agent

import (
	"encoding/json"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/internal/config"
	"telemetry/uplink"
)

// TestMeteredLinkKeepsItsBudgetOverRestarts: what a link with a budget carried
// stands beside the spool, and the next run goes on from there.
func TestMeteredLinkKeepsItsBudgetOverRestarts(t *testing.T) {
	dir := t.TempDir()
	metered := func(cfg *config.Agent) {
		cfg.Spool.Dir = filepath.Join(dir, "spool")
		cfg.Links[1].Meter = &config.Meter{PerDay: 1 << 20}
	}
	var before uint64
	for run := range 2 {
		synctest.Test(t, func(t *testing.T) {
			c := newCar(t, 2, metered)
			c.start(t)
			if got := c.Status().Links[1].Today; got < before {
				t.Errorf("run %d begins at %d bytes, want at least the %d of the last one", run, got, before)
			}
			time.Sleep(5 * time.Second)
			synctest.Wait()
			w := httptest.NewRecorder()
			c.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
			if body, _ := io.ReadAll(w.Body); !strings.Contains(string(body), "edgeagent_link_today_bytes{link=\"b\"} ") {
				t.Errorf("no today_bytes of link b in\n%s", body)
			}
			if l := c.Status().Links[1]; l.DayLimit != 1<<20 {
				t.Errorf("limit of %d bytes, want 1 MiB", l.DayLimit)
			}
			if err := c.end(); err != nil {
				t.Fatal(err)
			}
		})
		b, err := os.ReadFile(filepath.Join(dir, "spool", ledgerName))
		if err != nil {
			t.Fatal(err)
		}
		var kept map[string]uplink.Spent
		if err := json.Unmarshal(b, &kept); err != nil {
			t.Fatal(err)
		}
		if kept["b"].Bytes <= before {
			t.Fatalf("run %d kept %+v, want more than %d bytes of link b", run, kept, before)
		}
		before = kept["b"].Bytes
	}
}
