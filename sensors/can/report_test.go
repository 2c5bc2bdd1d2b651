package can

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// What an engineer must hear about a log that does not fit its database.
func TestReplayNamesWhatTheDatabaseDoesNotKnow(t *testing.T) {
	frame := func(bus string, id uint32) string {
		return string(AppendLine(nil, &Frame{StampNS: 1e18, Bus: bus, ID: id, Len: 4}))
	}
	tests := []struct {
		name, log string
		want      []string
		not       string
	}{
		{"all known", frame("can0", 256), nil, "level=WARN"},
		{
			"some unknown", frame("can0", 256) + frame("can0", 0x7a1) + frame("can0", 0x7a1) + frame("can0", 0x7a2),
			[]string{`msg="frames with ids that no database knows"`, "frames=3", `most="[can0 7A1 can0 7A2]"`},
			"level=WARN",
		},
		{"wrong database", frame("can0", 0x7a1), []string{`level=WARN msg="no frame of the log is known`, "frames_unknown=1"}, "nothing"},
		{"wrong interface", frame("vcan9", 0x7a1), []string{`level=WARN msg="no frame of the log is known`}, "nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var said bytes.Buffer
			clock := virtualClock{}
			r := replay(t, ReplayConfig{Open: open(tt.log), Unpaced: true, Clock: clock, Log: slog.New(slog.NewTextHandler(&said, nil))})
			if err := r.Run(t.Context(), &arrivals{clock: clock}); err != nil {
				t.Fatal(err)
			}
			for _, w := range tt.want {
				if !strings.Contains(said.String(), w) {
					t.Errorf("no %q in\n%s", w, said.String())
				}
			}
			if strings.Contains(said.String(), tt.not) {
				t.Errorf("%q in\n%s", tt.not, said.String())
			}
			if len(tt.want) == 0 && strings.Contains(said.String(), "no database knows") {
				t.Errorf("said %s", said.String())
			}
		})
	}
}
