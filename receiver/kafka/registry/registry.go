// Package registry keeps the schema of some topics' values in a schema registry with
// Confluent's interface, and tells its ids.
//
// The entry points are [New], [Keeper.Run] and [Keeper.Ready]. A registry that does
// not answer is asked again until it does; ids that are known stay in use meanwhile,
// so a writer that has begun never waits for it. A registry that has lost its
// contents gets the schema again, and the new id is used from then on.
//
// The package never changes what a subject requires of its versions, and never
// deletes anything.
package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"

	"telemetry/internal/clock"
)

// Config configures a [Keeper]; all but User, Password and Roots is required.
type Config struct {
	URL            string
	User, Password string         // "" for none
	Roots          *x509.CertPool // of an https registry; nil for the system's
	Schema         string         // text of a .proto file
	Topics         []string       // whose values have it: subject <topic>-value
	Log            *slog.Logger
}

// Keeper is safe for concurrent use.
type Keeper struct {
	cfg    Config
	cl     *sr.Client
	ready  chan struct{} // closed when every topic has an id
	pace   pace
	asleep func(ctx context.Context, d time.Duration) error

	mu     sync.Mutex
	ids    map[string]uint32 // guarded by mu; by topic
	err    error             // guarded by mu; of the last round, nil when it went well
	since  time.Time         // guarded by mu; of the first round that failed with no success after it
	rounds uint64            // guarded by mu
}

// pace is how often the registry is asked.
type pace struct{ first, most, check time.Duration }

const (
	retryFirst = 250 * time.Millisecond
	retryMost  = 10 * time.Second
	checkEvery = 30 * time.Second
	askLimit   = 10 * time.Second // of one request
)

// New checks the configuration; nothing is asked yet.
func New(cfg Config) (*Keeper, error) {
	if len(cfg.Topics) == 0 || cfg.Schema == "" || cfg.Log == nil {
		return nil, errors.New("registry: topics, schema and log are needed")
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: cfg.Roots}
	opts := []sr.ClientOpt{
		sr.URLs(cfg.URL), sr.UserAgent("telemetry-receiver"),
		sr.HTTPClient(&http.Client{Transport: transport, Timeout: askLimit}),
	}
	if cfg.User != "" {
		opts = append(opts, sr.BasicAuth(cfg.User, cfg.Password))
	}
	cl, err := sr.NewClient(opts...)
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	return &Keeper{
		cfg: cfg, cl: cl, ready: make(chan struct{}), ids: map[string]uint32{},
		pace: pace{retryFirst, retryMost, checkEvery}, asleep: clock.Sleep,
	}, nil
}

// Subject returns the name under which a registry keeps the schema of a topic's
// values.
func Subject(topic string) string { return topic + "-value" }

// Run registers the schema, and looks again and again whether it is there, until
// ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	wait := k.pace.first
	for ctx.Err() == nil {
		err := k.round(ctx)
		next := k.pace.check
		if err != nil {
			next = wait
			wait = min(2*wait, k.pace.most)
		} else {
			wait = k.pace.first
		}
		if k.asleep(ctx, next) != nil {
			break
		}
	}
	return nil
}

// round asks for every topic's id.
func (k *Keeper) round(ctx context.Context) error {
	var errs []error
	for _, t := range k.cfg.Topics {
		id, err := k.ask(ctx, Subject(t))
		if err != nil {
			errs = append(errs, fmt.Errorf("registry %s: subject %s: %w", k.cfg.URL, Subject(t), err))
			if !isAnswer(err) {
				break // nobody is there
			}
			continue
		}
		k.learn(t, id)
	}
	err := errors.Join(errs...)
	if ctx.Err() == nil {
		k.note(err)
	}
	return err
}

// isAnswer reports whether a registry has said what it does not like.
func isAnswer(err error) bool {
	var re *sr.ResponseError
	return errors.As(err, &re)
}

// ask registers the schema, which changes nothing when it is there already; where
// that is not allowed, it looks the schema up.
func (k *Keeper) ask(ctx context.Context, subject string) (uint32, error) {
	schema := sr.Schema{Schema: k.cfg.Schema, Type: sr.TypeProtobuf}
	id, err := k.cl.RegisterSchema(ctx, subject, schema, -1, -1)
	var re *sr.ResponseError
	switch {
	case errors.As(err, &re) && (re.StatusCode == http.StatusUnauthorized || re.StatusCode == http.StatusForbidden || re.StatusCode == http.StatusMethodNotAllowed):
		s, lerr := k.cl.LookupSchema(ctx, subject, schema)
		if lerr != nil {
			return 0, fmt.Errorf("it may not be registered (%w), and it cannot be looked up: %w", err, lerr)
		}
		id = s.ID
	case errors.As(err, &re) && re.StatusCode == http.StatusConflict:
		return 0, fmt.Errorf("it does not go with the versions that are there (was the topic of something else?): %w", err)
	case err != nil:
		return 0, err
	}
	if id <= 0 || int64(id) > math.MaxUint32 {
		return 0, fmt.Errorf("its id is %d, which cannot be written", id)
	}
	return uint32(id), nil
}

// learn keeps a topic's id.
func (k *Keeper) learn(topic string, id uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	was, known := k.ids[topic]
	if known && was != id {
		k.cfg.Log.Warn("the registry has given the schema another id (has it lost its contents?)", "topic", topic, "was", was, "id", id)
	}
	k.ids[topic] = id
	if !known && len(k.ids) == len(k.cfg.Topics) {
		close(k.ready)
	}
}

// note keeps how a round went, and logs when that changes.
func (k *Keeper) note(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.rounds++
	switch {
	case err != nil && k.err == nil:
		k.since = time.Now()
		k.cfg.Log.Warn("the schema registry does not do what it should, will retry", "error", err)
	case err == nil && (k.err != nil || k.rounds == 1):
		k.cfg.Log.Info("the schema registry has the schema", "url", k.cfg.URL, "topics", len(k.cfg.Topics))
	}
	k.err = err
}

// Ready returns nil when every topic has an id, or ctx's error.
func (k *Keeper) Ready(ctx context.Context) error {
	select {
	case <-k.ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ID returns the id of a topic's schema; 0 for a topic that has none, which never
// happens after Ready.
func (k *Keeper) ID(topic string) uint32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ids[topic]
}

// State is how the registry is.
type State struct {
	Ready bool // every topic has an id: records can be written
	Err   error
	Since time.Time // when Err began
}

// State returns what the last round has shown.
func (k *Keeper) State() State {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := State{Ready: len(k.ids) == len(k.cfg.Topics), Err: k.err}
	if k.err != nil {
		s.Since = k.since
	}
	return s
}
