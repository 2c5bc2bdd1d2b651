//go:build foreign

package replaybench

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

// Against a real Apache Kafka everything is played and is the same twice. Its figures
// are for `lab replay`, on a machine that has nothing else to do.
func TestApache(t *testing.T) {
	list := os.Getenv("TELEMETRY_KAFKA")
	if list == "" {
		t.Fatal("needs a real Apache Kafka: TELEMETRY_KAFKA=host:port (see scripts/kafka-test.sh)")
	}
	got := map[string]Line{}
	err := Run(t.Context(), Config{
		Brokers: strings.Split(list, ","), Prefix: fmt.Sprintf("replay-%d", time.Now().UnixNano()), Repeats: 1, For: 5 * time.Second,
		Print: func(l Line) error { got[l.Name] = l; return nil },
	})
	if err != nil && !errors.Is(err, ErrMissed) {
		t.Fatal(err)
	}
	for _, name := range []string{"spacing_p99_ms", "handover_late_p99_ms", "full_speed_mb_s", "full_speed_to_bare_copy", "same_bytes_twice"} {
		if _, ok := got[name]; !ok {
			t.Errorf("no figure %s", name)
		}
		t.Logf("%s %.4g", name, got[name].Value)
	}
	if got["same_bytes_twice"].Value != 1 {
		t.Error("a second replay gives other bytes")
	}
}
