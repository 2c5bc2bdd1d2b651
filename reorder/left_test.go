package reorder

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"telemetry/wire"
)

// What waits, at the gate or behind a hole, has not left, and neither has what is lost.
func TestLeft(t *testing.T) {
	s := newScript(t, time.Minute, func(c *Config) { c.AnchorWait = 5 * time.Second })
	left := func(want string) {
		t.Helper()
		var out []string
		s.c.Left(ep(1), func(st wire.Stream, left wire.Ranges) {
			for _, r := range left {
				out = append(out, fmt.Sprintf("%s#%d-%d", st.Lane, r.First, r.Last))
			}
		})
		if got := strings.Join(out, ", "); got != want {
			t.Errorf("left: %q, want %q", got, want)
		}
	}
	left("")
	s.put(1, critical, 1, "main 1/critical#1", opens())
	s.put(1, full, 1, "")
	s.put(1, full, 2, "")
	s.put(1, full, 4, "")
	left("critical#1-1")
	s.advance(5000, "main 1/full#1, main 1/full#2")
	left("critical#1-1, full#1-2")
	s.put(1, live, 1, "main 1/live#1")
	s.put(1, full, 3, "main 1/full#3, main 1/full#4")
	s.put(1, full, 6, "")
	s.put(1, full, 8, "")
	left("critical#1-1, live#1-1, full#1-4")
	s.advance(60_000, "gap 1/full#5 gap, main 1/full#6, gap 1/full#7 gap, main 1/full#8")
	left("critical#1-1, live#1-1, full#1-4, full#6-6, full#8-8")
	s.put(1, full, 7, "found 1/full#7, late 1/full#7")
	left("critical#1-1, live#1-1, full#1-4, full#6-8")
}
