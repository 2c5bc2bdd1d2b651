package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// fakeLog is a log of one partition per topic that followers can wait on.
type fakeLog struct {
	mu     sync.Mutex
	topics map[string][]topic.Record // guarded by mu
	more   chan struct{}             // guarded by mu; closed when something was added
	fail   error                     // guarded by mu: of EndOffsets
	starts map[string][]int64        // guarded by mu: where each Follow began
}

func newLog() *fakeLog {
	return &fakeLog{topics: map[string][]topic.Record{}, more: make(chan struct{}), starts: map[string][]int64{}}
}

func (l *fakeLog) Names() topic.Names { return topic.NewNames("") }

func (l *fakeLog) EndOffsets(_ context.Context, name string) (map[int32]int64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return nil, l.fail
	}
	return map[int32]int64{0: int64(len(l.topics[name]))}, nil
}

func (l *fakeLog) Follow(ctx context.Context, name string, from map[int32]int64, fn func(topic.Record) error) error {
	l.mu.Lock()
	l.starts[name] = append(l.starts[name], from[0])
	l.mu.Unlock()
	for at := maps.Clone(from)[0]; ; {
		l.mu.Lock()
		recs, more := l.topics[name][at:], l.more
		l.mu.Unlock()
		for _, r := range recs {
			if ctx.Err() != nil {
				return nil
			}
			if err := fn(r); err != nil {
				return err
			}
			at++
		}
		select {
		case <-ctx.Done():
			return nil
		case <-more:
		}
	}
}

func (l *fakeLog) add(name, value string, headers ...topic.Header) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.topics[name] = append(l.topics[name], topic.Record{
		Topic: name, Value: []byte(value), Headers: headers, Offset: int64(len(l.topics[name])),
	})
	close(l.more)
	l.more = make(chan struct{})
}

func (l *fakeLog) follows(name string) []int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]int64(nil), l.starts[name]...)
}

// rowText is a row as jsonrow writes it; fields begins with a comma.
func rowText(car, lane string, tsMS int64, fields string) string {
	return fmt.Sprintf(`{"car":%q,"session":"3-00000000000000aa","epoch":3,"nonce":"00000000000000aa","lane":%q,"seq":9,"row":"1/2",`+
		`"group":"Engine","ts_ns":%d,"ts_ms":%d,"boot_ns":77,"clock":"synced","clock_unc_ns":9,"segment":1%s}`, car, lane, tsMS*1e6, tsMS, fields)
}

// catalogues is a fixed set.
type catalogues map[wire.CatalogueHash][]byte

func (c catalogues) Get(_ context.Context, h wire.CatalogueHash) ([]byte, bool, error) {
	b, ok := c[h]
	return b, ok, nil
}

// start runs a server on a free port until the test ends.
func start(t *testing.T, o Options) *Server {
	t.Helper()
	o.Address, o.Logger = "127.0.0.1:0", slog.New(slog.DiscardHandler)
	s, err := Listen(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }() // ends with ctx
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (l *fakeLog) setFail(err error) {
	l.mu.Lock()
	l.fail = err
	l.mu.Unlock()
}

// A reading waits in silence while Kafka is away: the page says so all the same.
func TestKafkaThatGoesAwayIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := newLog()
		s := &Server{opt: Options{Source: log, Logger: slog.New(slog.DiscardHandler)}}
		f := &follower{s: s, followed: followed{name: log.Names().Live, take: func(context.Context, *follower, *topic.Record) {}}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); f.run(ctx) }() // ends with ctx
		time.Sleep(time.Minute)
		if why := s.failures.newest(); why != "" {
			t.Errorf("while all is well: %q", why)
		}
		log.setFail(errors.New("broker 3 is away"))
		time.Sleep(2 * behindEvery)
		if why := s.failures.newest(); why != "broker 3 is away" {
			t.Errorf("while it is away: %q", why)
		}
		log.setFail(nil)
		time.Sleep(2 * behindEvery)
		if why := s.failures.newest(); why != "" {
			t.Errorf("when it is back: %q", why)
		}
		cancel()
		<-done
	})
}
