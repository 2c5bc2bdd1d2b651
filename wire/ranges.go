package wire

import "sort"

// Range is a run of sequence numbers, both ends included; First <= Last.
type Range struct{ First, Last uint64 }

// Len returns how many numbers r holds.
func (r Range) Len() uint64 { return r.Last - r.First + 1 }

// Ranges is a set of sequence numbers: sorted, disjoint, never adjacent. The
// zero value is the empty set. Methods that change a set return it, as append
// does, and may reuse its memory; a Ranges is not safe for concurrent use.
type Ranges []Range

// find returns the index of the first range whose Last >= seq.
func (rs Ranges) find(seq uint64) int {
	return sort.Search(len(rs), func(i int) bool { return rs[i].Last >= seq })
}

// Contains reports whether seq is in the set.
func (rs Ranges) Contains(seq uint64) bool {
	i := rs.find(seq)
	return i < len(rs) && rs[i].First <= seq
}

// Add returns the set with first..last in it. An empty run (first > last)
// changes nothing.
func (rs Ranges) Add(first, last uint64) Ranges {
	if first > last {
		return rs
	}
	lo := sort.Search(len(rs), func(i int) bool { return rs[i].Last >= first || rs[i].Last+1 == first })
	hi := lo
	for hi < len(rs) && (rs[hi].First <= last || last+1 == rs[hi].First) {
		first = min(first, rs[hi].First)
		last = max(last, rs[hi].Last)
		hi++
	}
	if hi == lo {
		rs = append(rs, Range{})
		copy(rs[lo+1:], rs[lo:])
		rs[lo] = Range{first, last}
		return rs
	}
	rs[lo] = Range{first, last}
	return append(rs[:lo+1], rs[hi:]...)
}

// Remove returns the set without first..last.
func (rs Ranges) Remove(first, last uint64) Ranges {
	if first > last {
		return rs
	}
	lo := rs.find(first)
	if lo == len(rs) || rs[lo].First > last {
		return rs
	}
	var keep [2]Range
	n := 0
	if rs[lo].First < first {
		keep[n] = Range{rs[lo].First, first - 1}
		n++
	}
	hi := lo
	for hi < len(rs) && rs[hi].First <= last {
		hi++
	}
	if rs[hi-1].Last > last {
		keep[n] = Range{last + 1, rs[hi-1].Last}
		n++
	}
	if n > hi-lo { // one range is split in two
		rs = append(rs, Range{})
		copy(rs[hi+1:], rs[hi:])
		hi++
	}
	copy(rs[lo:], keep[:n])
	return append(rs[:lo+n], rs[hi:]...)
}

// Union returns rs with all of other in it; other is not changed.
func (rs Ranges) Union(other Ranges) Ranges {
	for _, r := range other {
		rs = rs.Add(r.First, r.Last)
	}
	return rs
}

// Subtract returns rs without all of other; other is not changed.
func (rs Ranges) Subtract(other Ranges) Ranges {
	for _, r := range other {
		rs = rs.Remove(r.First, r.Last)
	}
	return rs
}

// Missing returns what of first..last is not in the set, as a new set.
func (rs Ranges) Missing(first, last uint64) Ranges {
	var out Ranges
	if first > last {
		return out
	}
	return out.Add(first, last).Subtract(rs)
}

// Count returns how many numbers the set holds.
func (rs Ranges) Count() uint64 {
	var n uint64
	for _, r := range rs {
		n += r.Len()
	}
	return n
}

// Clone returns a copy that shares no memory with rs.
func (rs Ranges) Clone() Ranges {
	if rs == nil {
		return nil
	}
	return append(Ranges(nil), rs...)
}
