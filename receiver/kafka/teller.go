package kafka

import (
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// tellAfter is how long nothing comes back until a person is told, tellAgain how
	// often that is repeated, watchEvery how often it is looked.
	tellAfter  = 3 * time.Second
	tellAgain  = 30 * time.Second
	watchEvery = 500 * time.Millisecond
)

// Teller tells a person that Kafka is waited for, which brokers cannot be reached and
// why, and when that is over. The clients of a command share one (see Config.Teller),
// of one cluster or several. It is safe for concurrent use; nil tells nobody.
type Teller struct {
	say          func(text string) // called by one goroutine at a time
	after, every time.Duration     // tellAfter and watchEvery, but in tests

	mu    sync.Mutex
	waits map[*watch][]string // guarded by mu: the brokers that clients wait for, with reasons
	since time.Time           // guarded by mu: begin of what was told; zero: nothing is
	said  time.Time           // guarded by mu
	names []string            // guarded by mu: brokers that were told
}

// NewTeller returns one that hands its sentences to say.
func NewTeller(say func(text string)) *Teller {
	return &Teller{say: say, after: tellAfter, every: watchEvery, waits: map[*watch][]string{}}
}

// tell says what a client waits for since a time.
func (t *Teller) tell(w *watch, since time.Time) {
	brokers, reasons := w.silent()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waits[w] = reasons
	if t.since.IsZero() {
		t.since, t.said = since, time.Time{}
	}
	for _, b := range brokers {
		if !slices.Contains(t.names, b) {
			t.names = append(t.names, b)
		}
	}
	if time.Since(t.said) < tellAgain {
		return
	}
	t.said = time.Now()
	all := map[string]bool{}
	for _, rs := range t.waits {
		for _, r := range rs {
			all[r] = true
		}
	}
	t.say(fmt.Sprintf("kafka does not answer, waiting for it: %s; %v so far", strings.Join(slices.Sorted(maps.Keys(all)), ", "), time.Since(t.since).Round(time.Second)))
}

// over says that a client is answered again, unless another one still waits.
func (t *Teller) over(w *watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if delete(t.waits, w); len(t.waits) == 0 && !t.since.IsZero() {
		t.say(fmt.Sprintf("kafka answers again: %s, after %v", strings.Join(t.names, ", "), time.Since(t.since).Round(time.Second)))
		t.since, t.names = time.Time{}, nil
	}
}

// forget drops a client that waits no more, without an answer: its command says so.
func (t *Teller) forget(w *watch) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if delete(t.waits, w); len(t.waits) == 0 {
		t.since, t.names = time.Time{}, nil
	}
}

// watch looks after one client: how much it has asked and not been answered, and what
// its connections say. nil looks at nothing.
type watch struct {
	teller  *Teller
	brokers []string // that the client began with

	open    atomic.Int64  // questions under way
	answers atomic.Uint64 // to questions

	mu  sync.Mutex
	bad map[string]error // guarded by mu: brokers by address, why they did not answer last

	quit, ended chan struct{}
}

var (
	_ kgo.HookBrokerConnect = (*watch)(nil)
	_ kgo.HookBrokerE2E     = (*watch)(nil)
)

// newWatch begins to look after a client, until stop.
func newWatch(t *Teller, brokers []string) *watch {
	w := &watch{teller: t, brokers: brokers, bad: map[string]error{}, quit: make(chan struct{}), ended: make(chan struct{})}
	go w.run() // ends with stop
	return w
}

func (w *watch) stop() {
	if w == nil {
		return
	}
	close(w.quit)
	<-w.ended
	w.teller.forget(w)
}

// begin notes a question, end that it is over. One that failed is no answer.
func (w *watch) begin() {
	if w != nil {
		w.open.Add(1)
	}
}

func (w *watch) end(err error) {
	if w == nil {
		return
	}
	w.open.Add(-1)
	if err == nil {
		w.answers.Add(1)
	}
}

// run tells when questions have no answer for a while.
func (w *watch) run() {
	defer close(w.ended)
	tick := time.NewTicker(w.teller.every)
	defer tick.Stop()
	answers, last, told := uint64(0), time.Now(), false
	for {
		select {
		case <-w.quit:
			return
		case <-tick.C:
		}
		n := w.answers.Load()
		switch {
		case n != answers:
			if answers, last = n, time.Now(); told {
				w.teller.over(w)
			}
			told = false
		case w.open.Load() == 0: // nobody asks any more
			if last = time.Now(); told {
				w.teller.forget(w)
			}
			told = false
		case time.Since(last) >= w.teller.after:
			told = true
			w.teller.tell(w, last)
		}
	}
}

// silent returns the brokers that did not answer last, with reasons; where connections
// say nothing, those that the client began with.
func (w *watch) silent() (brokers, reasons []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range slices.Sorted(maps.Keys(w.bad)) {
		brokers, reasons = append(brokers, b), append(reasons, fmt.Sprintf("%s (%v)", b, w.bad[b]))
	}
	if len(brokers) > 0 {
		return brokers, reasons
	}
	for _, b := range w.brokers {
		reasons = append(reasons, b+" (no answer)")
	}
	return w.brokers, reasons
}

func (w *watch) note(meta kgo.BrokerMetadata, err error) {
	addr := net.JoinHostPort(meta.Host, strconv.Itoa(int(meta.Port)))
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		delete(w.bad, addr)
		return
	}
	w.bad[addr] = err
}

// OnBrokerConnect implements [kgo.HookBrokerConnect].
func (w *watch) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err != nil { // who takes a connection has not answered yet
		w.note(meta, err)
	}
}

// OnBrokerE2E implements [kgo.HookBrokerE2E].
func (w *watch) OnBrokerE2E(meta kgo.BrokerMetadata, _ int16, e2e kgo.BrokerE2E) {
	w.note(meta, e2e.Err())
}

// asking is a question that is repeated until it is answered.
type asking struct {
	w    *watch
	open bool
}

// ask begins the question, or goes on with it.
func (a *asking) ask() {
	if !a.open {
		a.open = true
		a.w.begin()
	}
}

// over ends it; err is nil when it is answered.
func (a *asking) over(err error) {
	if a.open {
		a.open = false
		a.w.end(err)
	}
}
