package kafka

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"telemetry/receiver/topic"
)

// said collects what a teller says.
type said struct {
	mu    sync.Mutex
	texts []string // guarded by mu
}

func (s *said) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.texts = append(s.texts, text)
}

func (s *said) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.texts)
}

// told runs a story about clients in virtual time, and compares what was said of it.
func told(t *testing.T, story func(teller *Teller), want ...string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var s said
		story(NewTeller(s.say))
		if got := s.all(); !slices.Equal(got, want) {
			t.Errorf("said:\n%q\nwant:\n%q", got, want)
		}
	})
}

// sleep lets time pass, and a little more than whole seconds.
func sleep(d time.Duration) {
	time.Sleep(d + 100*time.Millisecond)
	synctest.Wait()
}

func TestTellerTellsWhoIsAway(t *testing.T) {
	one, two := kgo.BrokerMetadata{Host: "kafka-1", Port: 9092}, kgo.BrokerMetadata{Host: "kafka-2", Port: 9092}
	refused := errors.New("connection refused")
	cases := map[string]struct {
		story func(*Teller)
		want  []string
	}{
		"answers in time": {story: func(tl *Teller) {
			w := newWatch(tl, []string{"seed:1"})
			defer w.stop()
			for range 10 {
				w.begin()
				sleep(2 * time.Second)
				w.end(nil)
			}
		}},
		"many questions, one after the other answered": {story: func(tl *Teller) {
			w := newWatch(tl, []string{"seed:1"})
			defer w.stop()
			w.begin()
			for range 10 {
				w.begin()
				sleep(2 * time.Second)
				w.end(nil)
			}
			w.end(nil)
		}},
		"nobody asks": {story: func(tl *Teller) {
			w := newWatch(tl, []string{"seed:1"})
			defer w.stop()
			w.OnBrokerConnect(one, 0, nil, refused)
			sleep(time.Minute)
		}},
		"silence": {story: func(tl *Teller) {
			w := newWatch(tl, []string{"seed:1"})
			defer w.stop()
			w.begin()
			sleep(4 * time.Second)
			w.end(nil)
			sleep(time.Second)
		}, want: []string{"kafka does not answer, waiting for it: seed:1 (no answer); 3s so far", "kafka answers again: seed:1, after 5s"}},
		"one broker refuses, another answers nothing of use": {story: func(tl *Teller) {
			w := newWatch(tl, []string{"seed:1"})
			defer w.stop()
			w.begin()
			for range 70 {
				w.OnBrokerConnect(one, 0, nil, refused)
				w.OnBrokerE2E(two, 3, kgo.BrokerE2E{ReadErr: refused})
				w.OnBrokerE2E(two, 3, kgo.BrokerE2E{})
				sleep(400 * time.Millisecond)
			}
			w.end(errors.New("given up"))
			sleep(time.Second)
		}, want: []string{"kafka does not answer, waiting for it: kafka-1:9092 (connection refused); 3s so far", "kafka does not answer, waiting for it: kafka-1:9092 (connection refused); 33s so far"}},
		"two clients, one outage": {story: func(tl *Teller) {
			a, b := newWatch(tl, []string{"seed:1"}), newWatch(tl, []string{"seed:1"})
			defer a.stop()
			defer b.stop()
			a.begin()
			sleep(time.Second)
			b.begin()
			sleep(5 * time.Second)
			a.end(nil)
			sleep(2 * time.Second)
			b.end(nil)
			sleep(time.Second)
		}, want: []string{"kafka does not answer, waiting for it: seed:1 (no answer); 3s so far", "kafka answers again: seed:1, after 9s"}},
		"given up, asked again": {story: func(tl *Teller) {
			w := newWatch(tl, []string{"seed:1"})
			defer w.stop()
			for range 2 {
				w.begin()
				sleep(4 * time.Second)
				w.end(errors.New("given up"))
				sleep(time.Second)
			}
			w.begin()
			w.end(nil)
			sleep(time.Second)
		}, want: []string{"kafka does not answer, waiting for it: seed:1 (no answer); 3s so far", "kafka does not answer, waiting for it: seed:1 (no answer); 3s so far"}},
		"ended while it waits": {story: func(tl *Teller) {
			w := newWatch(tl, []string{"seed:1"})
			w.begin()
			sleep(4 * time.Second)
			w.stop()
			sleep(time.Minute)
		}, want: []string{"kafka does not answer, waiting for it: seed:1 (no answer); 3s so far"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) { told(t, c.story, c.want...) })
	}
}

// A cluster goes away under what reads and what writes, and comes back: both wait, one
// sentence says so, and one that it is over.
func TestReadersAndWritersTellOfAnOutage(t *testing.T) {
	dir := t.TempDir()
	open := func(port int) *Cluster {
		t.Helper()
		c, err := Open(t.Context(), Config{Embedded: Embedded{Dir: dir, Port: port}, Partitions: 1, Log: quietLog()})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := open(0)
	produce(t, c, batchRecord(c, "car-1", 1))
	var s said
	teller := NewTeller(s.say)
	teller.after, teller.every = 200*time.Millisecond, 20*time.Millisecond
	cfg := Config{Brokers: c.Brokers(), AllowWeak: true, Teller: teller, Patience: time.Minute, Log: quietLog()}
	o, err := Observe(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	p, err := o.Past()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	w, err := OpenWriter(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := p.Extents(t.Context(), c.names.Batches, 0); err != nil {
		t.Fatal(err)
	}
	rec := topic.Record{Topic: c.names.Events, Partition: 0, Key: []byte("k"), Value: []byte("v")}
	if err := errors.Join(w.Put(t.Context(), rec, nil), w.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}

	addr, port := c.Brokers()[0], 0
	if _, err := fmt.Sscanf(addr, "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Put(t.Context(), rec, nil); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 2)
	go func() { ended <- w.Flush(t.Context()) }()
	go func() {
		recs, _, err := p.Chunk(t.Context(), c.names.Batches, 0, 0, 1)
		if err == nil && len(recs) != 1 {
			err = fmt.Errorf("%d records", len(recs))
		}
		ended <- err
	}()
	until(t, 30*time.Second, "somebody is told", func() bool { return len(s.all()) > 0 })
	c = open(port)
	defer c.Close()
	for range 2 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	until(t, 30*time.Second, "it is told that it is over", func() bool { return len(s.all()) > 1 })
	for i, want := range []string{`^kafka does not answer, waiting for it: .*` + regexp.QuoteMeta(addr) + `.*; \d+s so far$`, `^kafka answers again: .*` + regexp.QuoteMeta(addr) + `.*, after \d+s$`} {
		if got := s.all()[i]; !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("said %q, want %s", got, want)
		}
	}
}
