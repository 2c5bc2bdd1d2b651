package dbc

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/iotest"
)

func TestLintNamesEveryFaultInTheOrderOfLines(t *testing.T) {
	var b strings.Builder
	b.WriteString("BO_ 1 M: 8 A\n SG_ S : 0|8@1+ (1,0) [0|0] \"\" A\n SG_ S : 8|8@1+ (1,0) [0|0] \"\" A\n SG_ S#2 : 16|8@1+ (1,0) [0|0] \"\" A\n")
	const many = 3 * MaxWarnings
	for range many {
		b.WriteString("VAL_ 1 Missing 1 \"one\" ;\n")
	}
	db, faults, err := Lint(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range db.Messages[0].Signals {
		names = append(names, s.Name)
	}
	seen := map[string]bool{}
	for _, n := range names {
		seen[n] = true
	}
	if len(names) != 3 || len(seen) != 3 || names[0] != "S" || names[1] != "S#2" {
		t.Errorf("signals %q: want all of them, each with a name of its own", names)
	}
	missing, last := 0, 0
	for _, w := range faults {
		if w.Line < last {
			t.Fatalf("%v after line %d", w, last)
		}
		last = w.Line
		if strings.Contains(w.Text, `no signal "Missing"`) {
			missing++
		}
	}
	if missing != many || last != 4+many {
		t.Errorf("%d of %d faults, the last one in line %d", missing, many, last)
	}
	values, present := make([]int64, 3), make([]uint64, 1)
	if n := db.Messages[0].Decode([]byte{1, 2, 3, 0, 0, 0, 0, 0}, values, present); n != 3 || fmt.Sprint(values) != "[1 2 3]" {
		t.Errorf("decoded %d: %v", n, values)
	}
	if _, _, err := Lint(iotest.ErrReader(errUnreadable)); !errors.Is(err, errUnreadable) {
		t.Errorf("got %v", err)
	}
}

var errUnreadable = errors.New("unreadable")
