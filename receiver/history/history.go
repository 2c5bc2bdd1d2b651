// Package history reads the past of channels from a time-series store that a team
// runs beside Kafka: VictoriaMetrics or QuestDB. The entry point is [Open].
//
// What a store has is what somebody put there: VictoriaMetrics keeps doubles and
// milliseconds, QuestDB microseconds or nanoseconds. Nothing here claims Kafka's
// values bit for bit; an export never reads a store.
package history

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
)

// Kinds of stores.
const (
	VictoriaMetrics = "victoriametrics"
	QuestDB         = "questdb"
)

// Config says where a store is and what a channel is called there. In templates
// {car}, {group} and {channel} stand for the names.
type Config struct {
	Kind           string
	URL            string // of the server; a path is kept, for VictoriaMetrics' cluster version and proxies
	User, Password string
	CA             string        // file of certificates; "": the system's
	Timeout        time.Duration // of one request; 0: 30 s

	// Metric is the metric of a channel in VictoriaMetrics, default
	// "{group}_{channel}": what its line protocol makes.
	Metric string
	// Table and Column are a channel's in QuestDB, Time is the designated timestamp;
	// defaults "{group}", "{channel}", "timestamp".
	Table, Column, Time string
	// Match are labels, or columns in QuestDB, that say whose a sample is; default
	// car: "{car}".
	Match map[string]string
}

// Channel names a channel.
type Channel struct{ Group, Name string }

func (c Channel) String() string { return c.Group + "." + c.Name }

// Window is a stretch of time of one channel of one car: UTC, ns since 1970,
// [FromNS, ToNS).
type Window struct {
	Car          string
	Channel      Channel
	FromNS, ToNS int64
}

// Bin is the extremes of one step.
type Bin struct {
	At       int64 // place of the step in the window, from 0
	Min, Max float64
}

// Point is one sample.
type Point struct {
	TNS   int64
	Value float64
}

// Reader reads one store. It is safe for concurrent use.
type Reader interface {
	// Name is the kind of store.
	Name() string
	// Bins returns the extremes of every step that has a sample, in order. Every
	// sample counts in exactly one step. The window is a whole number of steps, and a
	// step of milliseconds.
	Bins(ctx context.Context, w Window, stepNS int64) ([]Bin, error)
	// Points calls fn for every sample, in order of time. An error of fn ends it and
	// is returned.
	Points(ctx context.Context, w Window, fn func(Point) error) error
}

// Errors.
var (
	// ErrConfig says that the configuration cannot be used.
	ErrConfig = errors.New("history: configuration")
	// ErrStore says that the store did not answer, or refused.
	ErrStore = errors.New("history: the store does not serve")
)

// Limits.
const (
	defaultTimeout = 30 * time.Second
	maxAnswer      = 1 << 30 // bytes of one answer
	maxComplaint   = 2 << 10 // bytes of a refusal that are shown
	// MaxBins bounds the steps of one window.
	MaxBins = 20_000
)

// Open returns a reader. It asks the store nothing.
func Open(cfg Config) (Reader, error) {
	base, err := url.Parse(cfg.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("%w: url is %q (want http://HOST:PORT or https://…)", ErrConfig, cfg.URL)
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = defaultTimeout
	}
	def := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	def(&cfg.Metric, "{group}_{channel}")
	def(&cfg.Table, "{group}")
	def(&cfg.Column, "{channel}")
	def(&cfg.Time, "timestamp")
	if cfg.Match == nil {
		cfg.Match = map[string]string{"car": "{car}"}
	}
	for _, t := range append(slices.Collect(maps.Values(cfg.Match)), cfg.Metric, cfg.Table, cfg.Column) {
		if err := checkTemplate(t); err != nil {
			return nil, err
		}
	}
	c := client{cfg: cfg, base: base}
	if c.http, err = cfg.transport(); err != nil {
		return nil, err
	}
	switch cfg.Kind {
	case VictoriaMetrics:
		return &victoria{c}, nil
	case QuestDB:
		return &quest{client: c}, nil
	}
	return nil, fmt.Errorf("%w: kind is %q (want %s or %s)", ErrConfig, cfg.Kind, VictoriaMetrics, QuestDB)
}

// checkTemplate refuses braces that mean nothing.
func checkTemplate(t string) error {
	rest := strings.NewReplacer("{car}", "", "{group}", "", "{channel}", "").Replace(t)
	if strings.ContainsAny(rest, "{}") {
		return fmt.Errorf("%w: template %q (want {car}, {group} and {channel} only)", ErrConfig, t)
	}
	return nil
}

// fill puts names into a template.
func fill(t string, w *Window) string {
	return strings.NewReplacer("{car}", w.Car, "{group}", w.Channel.Group, "{channel}", w.Channel.Name).Replace(t)
}

func (cfg *Config) transport() (*http.Client, error) {
	t := &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: time.Minute, ResponseHeaderTimeout: cfg.Timeout, Proxy: http.ProxyFromEnvironment}
	if cfg.CA != "" {
		pem, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("%w: ca: %w", ErrConfig, err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%w: ca: %s has no certificate in PEM", ErrConfig, cfg.CA)
		}
		t.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	}
	// A redirect could lead the password elsewhere.
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// client asks a store over HTTP.
type client struct {
	cfg  Config
	base *url.URL
	http *http.Client
}

// Name implements [Reader].
func (c *client) Name() string { return c.cfg.Kind }

// refusal is what a store answers instead of data.
type refusal struct {
	kind, status, text string
}

func (r *refusal) Error() string {
	return fmt.Sprintf("history: %s refuses: %s: %s", r.kind, r.status, r.text)
}

// Is makes every refusal an ErrStore.
func (r *refusal) Is(err error) bool { return err == ErrStore }

// get asks for a path and calls fn with the answer.
func (c *client) get(ctx context.Context, path string, q url.Values, fn func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	u := c.base.JoinPath(path)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fmt.Errorf("history: %w", err)
	}
	if c.cfg.User != "" {
		req.SetBasicAuth(c.cfg.User, c.cfg.Password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return c.silent(ctx, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxComplaint)) // what came of it is shown
		return &refusal{c.cfg.Kind, resp.Status, strings.TrimSpace(string(text))}
	}
	err = fn(&io.LimitedReader{R: resp.Body, N: maxAnswer})
	if err != nil && ctx.Err() != nil {
		return c.silent(ctx, err)
	}
	return err
}

// silent explains an answer that did not come, or not whole.
func (c *client) silent(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return context.Canceled
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err // without the whole query
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %s at %s has not answered within %v (is it up? live.history.timeout gives it longer): %w",
			ErrStore, c.cfg.Kind, c.base.Redacted(), c.cfg.Timeout, err)
	}
	return fmt.Errorf("%w: %s at %s (check live.history.url): %w", ErrStore, c.cfg.Kind, c.base.Redacted(), err)
}

// checkSteps says whether a window can be cut into steps.
func checkSteps(w *Window, stepNS int64) error {
	if w.ToNS <= w.FromNS || stepNS < 1e6 || stepNS%1e6 != 0 || (w.ToNS-w.FromNS)%stepNS != 0 || (w.ToNS-w.FromNS)/stepNS > MaxBins {
		return fmt.Errorf("history: %d ns in steps of %d ns (want 1 to %d whole steps of whole milliseconds)", w.ToNS-w.FromNS, stepNS, MaxBins)
	}
	return nil
}
