package live

import (
	"slices"
	"strings"
)

// find returns a page of the channels of a car that have all the words of query
// in their name, group or unit, best first ([fit]), and how many there are.
func (s *store) find(name, query string, offset, limit int) (total int, out []ChannelView, ok bool) {
	query = strings.ToLower(strings.TrimSpace(query))
	words := strings.Fields(query)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cars[name]
	if c == nil {
		return 0, nil, false
	}
	var hits [fits][]*channel // of each, no more than the page can need
	for _, ch := range c.inOrder() {
		if slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(ch.folded, w) }) {
			continue
		}
		total++
		if f := ch.fit(query, words); len(hits[f])-limit < offset {
			hits[f] = append(hits[f], ch)
		}
	}
	out = []ChannelView{}
	for i, ch := range slices.Concat(hits[:]...) {
		if i >= offset && len(out) < limit {
			out = append(out, ch.view())
		}
	}
	return total, out, true
}

// How well a channel fits a query: fit returns one of these.
const (
	fitWhole = iota // it is the name
	fitBegin        // the name begins with its first word
	fitWord         // a word of the name begins with it
	fitPart         // it stands anywhere else
	fits
)

// fit tells how well a channel that has all the words of a query fits it; both are in
// lower case.
func (ch *channel) fit(query string, words []string) int {
	if len(words) == 0 {
		return fitPart
	}
	name, _, _ := strings.Cut(ch.folded, "\x00")
	if name == query {
		return fitWhole
	}
	best := fitPart
	for at := 0; ; {
		i := strings.Index(name[at:], words[0])
		if i < 0 {
			return best
		}
		if at += i; at == 0 {
			return fitBegin
		}
		if strings.IndexByte("_./- ", name[at-1]) >= 0 {
			best = fitWord
		}
		at++
	}
}
