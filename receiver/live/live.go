package live

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Limits. What is beyond them is refused or dropped, and counted.
const (
	MaxStreams     = 32      // browsers with an open event stream
	MaxCars        = 64      // followed at once
	MaxCarChannels = 60_000  // of one car
	MaxChannels    = 150_000 // of all cars: some 60 MB
	MaxView        = 200     // channels of one stream, or of one answer
	maxHistories   = 1024    // channels whose newest past is in memory, 31 KB each at most
	maxConns       = 256     // connections, open streams included
	maxEvents      = 20      // newest events and gaps kept of a car
	maxNameBytes   = 512     // of a channel's name as it stands in a row
	maxRowFields   = 8192    // of one row; the writer's limit is half of it
	maxHashes      = 64      // catalogues that wait to be read
)

// Log is the source of the data: Kafka's topics. *kafka.Cluster implements it.
type Log interface {
	Names() topic.Names
	// EndOffsets returns the offset after the last record of every partition.
	EndOffsets(ctx context.Context, name string) (map[int32]int64, error)
	// Follow calls fn for every record from given offsets on until ctx ends.
	Follow(ctx context.Context, name string, from map[int32]int64, fn func(topic.Record) error) error
}

// Catalogues finds catalogues by hash. *kafka.Catalogues implements it.
type Catalogues interface {
	Get(ctx context.Context, h wire.CatalogueHash) (canonical []byte, ok bool, err error)
}

// Options is what a [Server] is made of. Address, Source and Logger are needed.
type Options struct {
	Address    string // host:port; port 0 takes a free one
	Source     Log
	Catalogues Catalogues // nil: no units
	// Report tells what the other roles of the process know; nil: there are none.
	Report func(ctx context.Context) Report
	// Status is the answer to /api/v1/status, any JSON; nil: 404.
	Status func(ctx context.Context) any
	// Ready returns why the process does not serve yet; nil or empty: it does.
	Ready func(ctx context.Context) []string
	// Degraded returns what is wrong although the process serves; may be nil.
	Degraded func(ctx context.Context) []string
	Metrics  http.HandlerFunc // the answer to /metrics; nil: 404
	// TLS has the page's certificate; nil: plain HTTP, for this machine only.
	TLS *tls.Config
	// Guard stands in front of everything but /healthz and /readyz: who may ask,
	// and for what. nil: everybody for everything, for this machine only.
	Guard func(http.Handler) http.Handler
	// Extra answers what is below /api/v1/ and not of this package; nil: nothing.
	Extra  http.Handler
	Logger *slog.Logger
}

// Counters counts events since the start.
type Counters struct {
	Rows            uint64 `json:"rows"`             // rows taken from the topics
	Malformed       uint64 `json:"malformed"`        // records that are no row of ours
	Skipped         uint64 `json:"skipped"`          // records left out to keep up
	CarsDropped     uint64 `json:"cars_dropped"`     // rows of cars beyond MaxCars
	ChannelsDropped uint64 `json:"channels_dropped"` // values of channels beyond a limit
	StreamsRefused  uint64 `json:"streams_refused"`  // beyond MaxStreams
	HostsRefused    uint64 `json:"hosts_refused"`    // requests under another name
	FramesDropped   uint64 `json:"frames_dropped"`   // times of a slow browser that had no frame
	ViewersSlowed   uint64 `json:"viewers_slowed"`   // browsers that were cut down
	ChartsRefused   uint64 `json:"charts_refused"`   // looks at a chart beyond what all viewers may have
	Strips          int    `json:"strips"`           // channels that are charted now
	StripBytes      int    `json:"strip_bytes"`      // their memory
	Crowded         uint64 `json:"crowded"`          // connections that had asked for nothing, ended for newer ones
	Streams         int    `json:"streams"`          // open now
	KafkaErrors     uint64 `json:"kafka_errors"`     // a topic could not be followed, tried again
	KafkaError      string `json:"kafka_error"`      // the newest, "" when all topics are followed
	CatalogueErrors uint64 `json:"catalogue_errors"` // could not be read: no units
}

// Server is the role. Its methods are safe for concurrent use.
type Server struct {
	opt      Options
	listen   net.Listener
	loopback bool // only loopback addresses reach it
	store    *store
	instance string // new at each start: ids of channels hold for it
	hashes   chan wire.CatalogueHash

	crowd   crowd
	streams atomic.Int64
	wanted  atomic.Int64 // time of the last request for data, ns since the epoch
	ran     atomic.Bool

	mu    sync.Mutex
	woken chan struct{} // guarded by mu; closed when somebody looks, nil while nobody waits

	refused, hosts, frames, slowed, skipped, kafkaErrors, catalogueErrors atomic.Uint64
	failures                                                              failures
}

// Listen opens the port. Requests wait until [Server.Run].
func Listen(o Options) (*Server, error) {
	if o.Source == nil || o.Logger == nil {
		return nil, errors.New("live: source and logger are needed")
	}
	l, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("live: cannot listen for browsers (is the port taken? set `live.listen`, or `off`): %w", err)
	}
	a, ok := l.Addr().(*net.TCPAddr)
	if loopback := ok && a.IP.IsLoopback(); !loopback && (o.TLS == nil || o.Guard == nil) {
		return nil, errors.Join(fmt.Errorf("live: other machines reach %s: the page is not shown there without TLS and a login (set live.tls and live.login, or live.listen on 127.0.0.1)", l.Addr()), l.Close())
	}
	now := time.Now()
	s := &Server{
		opt: o, listen: l, loopback: ok && a.IP.IsLoopback(), instance: fmt.Sprintf("%x", now.UnixNano()),
		hashes: make(chan wire.CatalogueHash, maxHashes),
	}
	s.store = newStore(s.want)
	return s, nil
}

// Addr returns the address that browsers can use.
func (s *Server) Addr() string { return s.listen.Addr().String() }

// URL returns the page's address.
func (s *Server) URL() string {
	if s.opt.TLS != nil {
		return "https://" + s.Addr() + "/"
	}
	return "http://" + s.Addr() + "/"
}

// Close frees the port of a server that has never run.
func (s *Server) Close() error {
	if s.ran.Swap(true) {
		return nil
	}
	return s.listen.Close()
}

// Run serves until ctx ends; every stream has ended when it returns.
func (s *Server) Run(ctx context.Context) error {
	if s.ran.Swap(true) {
		return errors.New("live: server cannot run twice")
	}
	s.opt.Logger.Info("live page", "url", s.URL())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.serve(ctx) })      // ends with ctx
	g.Go(func() error { s.rates(ctx); return nil }) // ends with ctx
	g.Go(func() error { s.units(ctx); return nil }) // ends with ctx
	s.follow(ctx, g)
	return g.Wait()
}

// shutdownGrace bounds the wait for answers that are under way.
const shutdownGrace = time.Second

func (s *Server) serve(ctx context.Context) error {
	srv := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return s.crowd.enter(context.WithValue(ctx, connKey{}, connOf(c)), c)
		},
		ErrorLog: slog.NewLogLogger(s.opt.Logger.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, st http.ConnState) {
			if st == http.StateClosed || st == http.StateHijacked {
				s.crowd.leave(c)
			}
		},
	}
	shut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(shut)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownGrace)
		defer cancel()
		if srv.Shutdown(grace) != nil {
			_ = srv.Close()
		}
	})
	defer func() {
		if !stop() {
			<-shut // answers under way end first
		}
	}()
	serve := srv.Serve
	if s.opt.TLS != nil {
		srv.TLSConfig = s.opt.TLS.Clone() // the server adds its protocols
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	if err := serve(s.listen); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("live: serve: %w", err)
	}
	return nil
}

// Counters returns what was counted.
func (s *Server) Counters() Counters {
	c := s.store.counters()
	c.Skipped, c.StreamsRefused, c.HostsRefused = s.skipped.Load(), s.refused.Load(), s.hosts.Load()
	c.ViewersSlowed = s.slowed.Load()
	c.FramesDropped, c.Streams, c.CatalogueErrors = s.frames.Load(), int(s.streams.Load()), s.catalogueErrors.Load()
	s.crowd.mu.Lock()
	c.Crowded = s.crowd.driven
	s.crowd.mu.Unlock()
	c.KafkaErrors, c.KafkaError = s.kafkaErrors.Load(), s.failures.newest()
	return c
}

// want asks for a catalogue; it never blocks, a later row asks again.
func (s *Server) want(h wire.CatalogueHash) bool {
	select {
	case s.hashes <- h:
		return true
	default:
		return false
	}
}

// catalogueRetry is how long a catalogue that is not there is left alone.
const catalogueRetry = 5 * time.Second

// units reads the catalogues that rows name, and tells the store.
func (s *Server) units(ctx context.Context) {
	var said time.Time
	for {
		var h wire.CatalogueHash
		select {
		case <-ctx.Done():
			return
		case h = <-s.hashes:
		}
		if s.opt.Catalogues == nil {
			continue
		}
		c, err := read(ctx, s.opt.Catalogues, h)
		if err == nil {
			s.store.describe(h, c)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		s.catalogueErrors.Add(1)
		if time.Since(said) >= followSaid {
			said = time.Now()
			s.opt.Logger.Warn("catalogue not read, its channels have no units for now", "catalogue", h.String(), "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(catalogueRetry):
			s.store.forgetHash(h)
		}
	}
}
