package links

import (
	"context"
	"fmt"
	"slices"
	"time"

	"telemetry/lab/link"
	"telemetry/lab/netns"
)

const sampleEvery = 10 * time.Millisecond

// sample is what one link's direction from the car had done at one moment.
type sample struct {
	bootNS   int64
	in, out  int64 // bytes, lost ones not counted in either
	capacity int64 // bytes
}

// sampler follows the links' counters.
type sampler struct {
	specs []link.Spec
	links [][]sample
}

// run samples until ctx ends.
func (s *sampler) run(ctx context.Context, bed *netns.Testbed) {
	s.links = make([][]sample, len(bed.Paths()))
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	for {
		for i, p := range bed.Paths() {
			_, c := p.Model()
			lost := c.Dropped.Total() * int64(link.SlotBytes)
			s.links[i] = append(s.links[i], sample{bootNS(), c.InBytes - lost, c.OutBytes, c.CapacityBytes})
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// at returns the last sample of link i at or before a time.
func (s *sampler) at(i int, ns int64) sample {
	l := s.links[i]
	k, _ := slices.BinarySearchFunc(l, ns+1, func(x sample, t int64) int { return int(x.bootNS - t) })
	return l[max(0, k-1)]
}

// capacity returns what all links could carry between two times, as bytes of
// application data: 1,448 of each packet of 1,500.
func (s *sampler) capacity(from, to int64) float64 {
	var sum float64
	for i := range s.links {
		sum += float64(s.at(i, to).capacity-s.at(i, from).capacity) * appShare
	}
	return sum
}

// shares returns which share of each link's capacity was used between two times.
func (s *sampler) shares(from, to int64) (out []string) {
	for i := range s.links {
		a, b := s.at(i, from), s.at(i, to)
		out = append(out, fmt.Sprintf("%.3f", float64(b.out-a.out)/float64(max(1, b.capacity-a.capacity))))
	}
	return out
}

const appShare = 1448.0 / link.SlotBytes

// queueMS returns how long bytes that entered between two times stayed in the
// links' queues because of what was in front of them, sampled for each link: the time
// from their coming in to their coming out, less the delay and less what a packet
// alone would have waited for the link's next chance. A link that stops for a while is
// no queue that anybody made; what was given to it before is. It makes no sense where
// packets were lost.
func (s *sampler) queueMS(from, to int64) (out []float64) {
	for i := range s.links {
		out = append(out, s.linkQueueMS(i, from, to)...)
	}
	return out
}

// queues returns the 95th percentile of each link's queue in ms.
func (s *sampler) queues(from, to int64) (out []string) {
	for i := range s.links {
		text := "-"
		if p := quantile(s.linkQueueMS(i, from, to), 0.95); p != nil {
			text = fmt.Sprintf("%.0f", *p)
		}
		out = append(out, text)
	}
	return out
}

func (s *sampler) linkQueueMS(i int, from, to int64) (out []float64) {
	l := s.links[i]
	k, chance := 0, 0 // samples: when x is out; the first one with room for a packet since x
	last := int64(-1)
	for _, x := range l {
		if x.bootNS < from || x.bootNS >= to || x.in == last || x.in == x.out {
			continue
		}
		last = x.in
		for k < len(l) && l[k].out < x.in {
			k++
		}
		if k == len(l) {
			break
		}
		// Between the samples before and at k, in proportion.
		at := float64(l[k].bootNS)
		if k > 0 && l[k].out > l[k-1].out {
			at = float64(l[k-1].bootNS) + float64(l[k].bootNS-l[k-1].bootNS)*float64(x.in-l[k-1].out)/float64(l[k].out-l[k-1].out)
		}
		for chance < len(l) && (l[chance].bootNS <= x.bootNS || l[chance].capacity < x.capacity+link.SlotBytes) {
			chance++
		}
		alone := l[chance-1].bootNS // x's own time, unless there was no room for a packet for longer than a sample
		out = append(out, max(0, (at-float64(alone)-float64(s.specs[i].Delay))/1e6))
	}
	return out
}

// Healing: from a link's return until it carries healShare of its capacity over
// healWindow.
const (
	healShare  = 0.8
	healWindow = 400 * time.Millisecond
)

// healS returns the healing times in s. One that did not come before the next
// trouble of any link, or the end, counts as that long.
func (s *sampler) healS(done []happened, end int64) []float64 {
	var out []float64
	for k, e := range done {
		if !e.back && !e.readdress {
			continue
		}
		limit := end
		for _, next := range done[k+1:] {
			if next.link == e.link {
				limit = min(limit, next.bootNS)
				break
			}
		}
		if limit-e.bootNS < int64(3*time.Second) {
			continue // too late to see anything
		}
		at := e.bootNS + int64(healWindow)
		for ; at < limit; at += int64(sampleEvery) {
			a, b := s.at(e.link, at-int64(healWindow)), s.at(e.link, at)
			if could := b.capacity - a.capacity; could > 0 && float64(b.out-a.out) >= healShare*float64(could) {
				break
			}
		}
		// The share was reached at the window's begin.
		out = append(out, float64(at-int64(healWindow)-e.bootNS)/1e9)
	}
	return out
}
