package checkup_test

import (
	"bytes"
	"testing"

	"telemetry/internal/checkup"
)

func TestWorst(t *testing.T) {
	ok, warn, fail := checkup.Finding{Level: checkup.OK}, checkup.Finding{Level: checkup.Warn}, checkup.Finding{Level: checkup.Fail}
	for _, tc := range []struct {
		name  string
		found []checkup.Finding
		want  checkup.Level
	}{
		{"nothing", nil, checkup.OK},
		{"well", []checkup.Finding{ok, ok}, checkup.OK},
		{"a warning", []checkup.Finding{ok, warn, ok}, checkup.Warn},
		{"a fault before a warning", []checkup.Finding{fail, warn}, checkup.Fail},
		{"a fault behind a warning", []checkup.Finding{warn, fail, ok}, checkup.Fail},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := checkup.Worst(tc.found); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

// TestWhatIsShown: what is well only if it is asked for, JSON all at the end.
func TestWhatIsShown(t *testing.T) {
	for _, tc := range []struct {
		name  string
		flags checkup.Flags
		want  string
	}{
		{"faults", checkup.Flags{}, "warn  disk: slow\n      → another card\n2 things looked at: warn\n"},
		{"everything", checkup.Flags{All: true}, "ok    clock: 3 ms off\nwarn  disk: slow\n      → another card\n2 things looked at: warn\n"},
		{"JSON", checkup.Flags{JSON: true}, `{
  "level": "warn",
  "running": true,
  "findings": [
    {
      "level": "ok",
      "what": "clock",
      "why": "3 ms off"
    },
    {
      "level": "warn",
      "what": "disk",
      "why": "slow",
      "do": "another card"
    }
  ]
}
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			r := checkup.Report{Each: tc.flags.Each(&out)}
			r.OK("clock", "%d ms off", 3)
			r.Add(checkup.Warn, "disk", "slow", "another card")
			worst, err := tc.flags.Finish(&out, r.Findings, true)
			if err != nil || worst != checkup.Warn || out.String() != tc.want {
				t.Errorf("%s, %v:\n%s", worst, err, out.String())
			}
		})
	}
}
