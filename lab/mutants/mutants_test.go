package mutants

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryMutantFitsTheSources: each text to be replaced occurs exactly once, so
// that no fault has silently become none.
func TestEveryMutantFitsTheSources(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, m := range All() {
		if names[m.Name] {
			t.Errorf("%s: listed twice", m.Name)
		}
		names[m.Name] = true
		for _, e := range m.Edits {
			text, err := os.ReadFile(filepath.Join(root, e.File))
			if err != nil {
				t.Errorf("%s: %v", m.Name, err)
				continue
			}
			if n := strings.Count(string(text), e.Old); n != 1 {
				t.Errorf("%s: %s has %q %d times (want once)", m.Name, e.File, e.Old, n)
			}
			if e.Old == e.New {
				t.Errorf("%s: changes nothing", m.Name)
			}
		}
	}
	if len(names) < 30 {
		t.Errorf("%d faults (want 30 or more)", len(names))
	}
}
