package wire

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// checkSet fails when rs is not sorted, disjoint and unconnected, or differs
// from the model.
func checkSet(t *testing.T, rs Ranges, model map[uint64]bool) {
	t.Helper()
	var count uint64
	for i, r := range rs {
		if r.First > r.Last || i > 0 && r.First <= rs[i-1].Last+1 {
			t.Fatalf("not a set: %v", rs)
		}
		for n := r.First; n <= r.Last; n++ {
			if !model[n] {
				t.Fatalf("%d is in %v, not in the model", n, rs)
			}
			count++
		}
	}
	if int(count) != len(model) || rs.Count() != count {
		t.Fatalf("%v holds %d (Count says %d), the model %d", rs, count, rs.Count(), len(model))
	}
}

func TestRangesAgainstModel(t *testing.T) {
	const span = 60
	rng := rand.New(rand.NewPCG(1, 4))
	run := func() (uint64, uint64) {
		first := 1 + rng.Uint64N(span)
		return first, first + rng.Uint64N(8) - 1 // now and then empty
	}
	for range 300 {
		var rs, other Ranges
		model, otherModel := map[uint64]bool{}, map[uint64]bool{}
		for range 40 {
			first, last := run()
			switch rng.IntN(5) {
			case 0, 1:
				rs = rs.Add(first, last)
				for n := first; n <= last; n++ {
					model[n] = true
				}
			case 2:
				rs = rs.Remove(first, last)
				for n := first; n <= last; n++ {
					delete(model, n)
				}
			case 3:
				other = other.Add(first, last)
				for n := first; n <= last; n++ {
					otherModel[n] = true
				}
			case 4:
				before := other.Clone()
				if rng.IntN(2) == 0 {
					rs = rs.Union(other)
					for n := range otherModel {
						model[n] = true
					}
				} else {
					rs = rs.Subtract(other)
					for n := range otherModel {
						delete(model, n)
					}
				}
				if !slices.Equal(before, other) {
					t.Fatal("the other set changed")
				}
			}
			checkSet(t, rs, model)
			checkSet(t, other, otherModel)
			checkMissing(t, rs, model, first, last)
			got, n, err := ParseRanges(AppendRanges(nil, rs), MaxRanges)
			if err != nil || !slices.Equal(got, rs) || n != len(AppendRanges(nil, rs)) {
				t.Fatalf("%v comes back as %v, %v", rs, got, err)
			}
		}
	}
}

func checkMissing(t *testing.T, rs Ranges, model map[uint64]bool, first, last uint64) {
	t.Helper()
	want := map[uint64]bool{}
	for n := first; n <= last; n++ {
		if rs.Contains(n) != model[n] {
			t.Fatalf("%v contains %d: %v", rs, n, rs.Contains(n))
		}
		if !model[n] {
			want[n] = true
		}
	}
	checkSet(t, rs.Missing(first, last), want)
}

func TestRangesExtremes(t *testing.T) {
	var rs Ranges
	rs = rs.Add(math.MaxUint64, math.MaxUint64).Add(0, 0).Add(math.MaxUint64-1, math.MaxUint64)
	want := Ranges{{0, 0}, {math.MaxUint64 - 1, math.MaxUint64}}
	if !slices.Equal(rs, want) {
		t.Fatalf("got %v, want %v", rs, want)
	}
	rs = rs.Remove(math.MaxUint64, math.MaxUint64).Remove(0, 0)
	if want := (Ranges{{math.MaxUint64 - 1, math.MaxUint64 - 1}}); !slices.Equal(rs, want) {
		t.Fatalf("got %v, want %v", rs, want)
	}
	if rs = rs.Remove(0, math.MaxUint64); len(rs) != 0 {
		t.Fatalf("got %v, want nothing", rs)
	}
	if Ranges(nil).Clone() != nil {
		t.Error("the clone of nil is not nil")
	}
}

func TestParseRangesRefuses(t *testing.T) {
	top := appendUvarint(nil, MaxSeq)
	cases := []struct {
		name string
		b    []byte
	}{
		{"nothing", nil},
		{"over the limit", append([]byte{5}, 2, 0, 2, 0, 2, 0, 2, 0, 2, 0)},
		{"more than the bytes hold", []byte{4, 2, 0}},
		{"number 0", []byte{1, 0, 0}},
		{"adjacent", []byte{2, 1, 0, 1, 0}},
		{"overlapping", []byte{2, 1, 5, 0, 0}},
		{"beyond the highest", append(append([]byte{1}, top...), 1)},
		{"long number", []byte{0x81, 0, 1, 0}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if rs, _, err := ParseRanges(c.b, 4); err == nil {
				t.Fatalf("parsed as %v", rs)
			}
		})
	}
	if rs, _, err := ParseRanges(append(append([]byte{1}, top...), 0), 4); err != nil || rs[0].Last != MaxSeq {
		t.Errorf("the highest number: %v, %v", rs, err)
	}
}
