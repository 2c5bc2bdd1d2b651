package gnss_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"telemetry/sensors/gnss"
)

// byHand is boot time that stands still but for what the test adds.
type byHand struct {
	ns   atomic.Int64
	hook atomic.Pointer[func()] // not nil: is called once, by the next who asks
}

func newByHand() *byHand {
	c := &byHand{}
	c.ns.Store(int64(time.Hour))
	return c
}

func (c *byHand) BootNS() int64 {
	if hook := c.hook.Swap(nil); hook != nil {
		(*hook)()
	}
	return c.ns.Load()
}

func (c *byHand) Pair() (bootNS, utcNS int64) { return c.BootNS(), time.Now().UnixNano() }

func (c *byHand) add(d time.Duration) { c.ns.Add(int64(d)) }

// counted returns a counter of a source.
func counted(src *gnss.Source, name string) int {
	for _, c := range src.Counters() {
		if c.Name == name {
			return int(c.Value)
		}
	}
	return -1
}

// TestStallOfTheReaderIsNoPauseOfTheLine: the rest of a sentence comes while the
// reader, which found nothing, gets no processor for a second.
func TestStallOfTheReaderIsNoPauseOfTheLine(t *testing.T) {
	p := openPTY(t, "")
	defer p.Close()
	clock := newByHand()
	src, err := gnss.New(gnss.Config{Port: p.Path, Bauds: []int{115200}, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	b := &book{t: t, groups: src.Groups(), utcs: map[int64]int{}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- src.Run(ctx, b) }() // ends with cancel
	eventually(t, "the port is open", func() bool { return src.Counters()[0].Value > 0 })
	sentences, utcs := drive(2)
	const cut = 20
	if _, err := p.Write(sentences[0][:cut]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the begin is read", func() bool { return counted(src, "bytes") == cut })
	stall := func() {
		if _, err := p.Write(append(sentences[0][cut:], sentences[1]...)); err != nil {
			t.Error(err)
		}
		clock.add(time.Second)
	}
	clock.hook.Store(&stall) // what is asked next is the time after a read of nothing
	eventually(t, "the rest is read", func() bool { return counted(src, "bytes") == len(sentences[0])+len(sentences[1]) })
	eventually(t, "the last instant", func() bool { clock.add(time.Millisecond); return b.has(utcs[1]) })
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if b.utcs[utcs[0]] != 1 || b.utcs[utcs[1]] != 1 || b.rows != 2 {
		t.Errorf("%d rows; instants %v, want each once", b.rows, b.utcs)
	}
}
