package simulate

import "slices"

// Shrink leaves out as many faults of a failing plan as it can while the run goes
// on breaking the same rule: first halves, then smaller parts, then single ones.
// It carries out at most tries runs.
func Shrink(p *Plan, tries int, run func(*Plan) *Result) *Plan {
	want := rule(run(p))
	if want == "" {
		return p
	}
	var drop []int
	left := make([]int, 0, len(p.Faults))
	for i := range p.Faults {
		if p.dropped(i) {
			drop = append(drop, i)
		} else {
			left = append(left, i)
		}
	}
	for size := max(1, len(left)/2); size >= 1 && tries > 0; {
		smaller := false
		for at := 0; at < len(left) && tries > 0; {
			part := left[at:min(at+size, len(left))]
			try := slices.Concat(drop, part)
			tries--
			if rule(run(p.Without(try))) == want {
				drop, smaller = try, true
				left = slices.Delete(left, at, at+len(part))
				continue
			}
			at += size
		}
		if size == 1 && !smaller {
			break
		}
		if !smaller || size > len(left) {
			size = max(1, min(size/2, len(left)))
		}
		if len(left) == 0 {
			break
		}
	}
	slices.Sort(drop)
	return p.Without(drop)
}

// rule names the first rule that a run has broken.
func rule(r *Result) string {
	if len(r.Violations) == 0 {
		return ""
	}
	for i, c := range r.Violations[0] {
		if c == ':' {
			return r.Violations[0][:i]
		}
	}
	return r.Violations[0]
}

// Dropped returns the indices of the faults that are left out.
func (p *Plan) Dropped() []int {
	var out []int
	for i := range p.Faults {
		if p.dropped(i) {
			out = append(out, i)
		}
	}
	return out
}
