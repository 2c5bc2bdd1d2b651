package can

import (
	"strings"
	"testing"
)

func TestALogIsLookedAt(t *testing.T) {
	for name, c := range map[string]struct{ path, text, want string }{
		"frames":                  {"lap.log", "(1.5) can0 123#11\n", ""},
		"a frame behind noise":    {"lap.log", "noise\n(1.5) can0 123#11\n", ""},
		"frames in a strange log": {"lap.asc", "(1.5) can0 123#11\n", ""},
		"nothing":                 {"lap.log", "", "is it a candump log?"},
		"Vector's text":           {"x/lap.ASC", "date Mon\nbase hex timestamps absolute\n", "python -m can.logconvert x/lap.ASC lap.log"},
		"Vector's binary":         {"lap.blf", "LOGG\x00\x00\x00", "files .blf are converted first"},
		"noise":                   {"lap.log", "\xff\xfe\n", "is it a candump log?"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Look(strings.NewReader(c.text), c.path)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
