package kafka

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"telemetry/receiver/topic"
)

// Config configures a [Cluster].
type Config struct {
	// Brokers are host:port of some brokers of a cluster. Empty: a cluster of
	// one broker is started inside the process, see Embedded.
	Brokers []string
	// Prefix is the first part of topic names; "" means topic.DefaultPrefix.
	Prefix string
	// Group is the sequencer's consumer group; "" means "<prefix>-sequence".
	Group string
	// Outputs are those beside the default one, see [Cluster.OutputBackend].
	Outputs []topic.Output
	// Partitions of telemetry.batches. 0 takes what exists, or creates
	// topic.DefaultPartitions. Anything else must equal what exists.
	Partitions int32
	// Replication of topics that are created; 0 means 3, or the number of
	// brokers if that is less.
	Replication int16
	// AllowWeak accepts topics whose replication may lose acknowledged records:
	// fewer than two in-sync replicas, or unclean leader elections.
	AllowWeak bool

	TLS  *tls.Config // nil: plain TCP
	SASL SASL

	Embedded Embedded

	// SessionTimeout is how long a silent sequencer keeps its partitions; 0
	// means 10 s. Brokers bound it, usually to 6 s … 30 min.
	SessionTimeout time.Duration
	// Compression is the codec of what is written, all but telemetry.batches, which are
	// compressed already: one of [Codecs]; "" means the first.
	Compression string
	// MaxBufferedBytes bounds the records that a producer holds; 0 means
	// DefaultBufferedBytes. Ingest's total credit must be below it.
	MaxBufferedBytes int

	// Teller is told when nothing comes back from the cluster, and when it does again:
	// for commands, where a person waits. nil: nobody is told.
	Teller *Teller
	// Patience is how long a [Past] repeats what fails because brokers are away; 0
	// means some 10 s.
	Patience time.Duration

	Log *slog.Logger // needed

	txnTimeout     time.Duration // 0 means transactionTimeout
	renewBytes     int64         // 0 means the constant of that name
	closedPatience time.Duration // 0 means the constant of that name
	renewed        func()        // of tests: called between the two steps of a renewal
}

// SASL names the login to a cluster. The zero value is none.
type SASL struct {
	Mechanism string // "", "PLAIN", "SCRAM-SHA-256" or "SCRAM-SHA-512"
	User      string
	Password  string
}

// Embedded configures the cluster inside the process.
type Embedded struct {
	Dir  string // where records are kept; one process at a time
	Port int    // on 127.0.0.1; 0 takes a free one
	// SyncWrites makes every record durable before it is acknowledged. Without
	// it a power cut, but no kill, may lose acknowledged records.
	SyncWrites bool
}

// Defaults and limits.
const (
	DefaultBufferedBytes  = 256 << 20
	defaultSessionTimeout = 10 * time.Second
	// maxBatchBytes bounds what is written to a partition in one batch: the
	// broker counts its own header as well.
	maxBatchBytes = topic.MaxRecordBytes - 4096
	// maxFetchBytes bounds what one fetch of one partition brings.
	maxFetchBytes = 4 << 20
	// unknownRetries is how often, a quarter of a second apart, a broker may say that
	// it does not know a topic until a record fails: one that has been killed says so
	// for some seconds after its start, of topics that are there.
	unknownRetries = 24
	// requestLimit bounds requests that should take milliseconds.
	requestLimit = 30 * time.Second
)

// Validate reports all faults of the configuration at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("kafka: "+format, args...)) }
	if len(c.Brokers) == 0 && c.Embedded.Dir == "" {
		bad("neither brokers nor a directory for the embedded kafka is configured")
	}
	if c.Partitions < 0 {
		bad("%d partitions (want 1 or more, or 0 for what exists)", c.Partitions)
	}
	if c.Replication < 0 {
		bad("replication of %d (want 1 or more, or 0 for 3)", c.Replication)
	}
	if c.Embedded.Port < 0 || c.Embedded.Port > 65535 {
		bad("embedded port %d (want 1 to 65535, or 0 for a free one)", c.Embedded.Port)
	}
	if _, err := c.SASL.mechanism(); err != nil {
		errs = append(errs, err)
	}
	if c.Compression != "" && !slices.Contains(Codecs(), c.Compression) {
		bad("%q is no compression (want %s)", c.Compression, strings.Join(Codecs(), ", "))
	}
	if c.Log == nil {
		bad("a log is needed")
	}
	errs = append(errs, c.checkOutputs())
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Prefix == "" {
		c.Prefix = topic.DefaultPrefix
	}
	if c.Group == "" {
		c.Group = c.Prefix + "-sequence"
	}
	if c.SessionTimeout == 0 {
		c.SessionTimeout = defaultSessionTimeout
	}
	if c.txnTimeout == 0 {
		c.txnTimeout = transactionTimeout
	}
	if c.renewBytes == 0 {
		c.renewBytes = renewBytes
	}
	if c.MaxBufferedBytes == 0 {
		c.MaxBufferedBytes = DefaultBufferedBytes
	}
	return c
}

func (s SASL) mechanism() (sasl.Mechanism, error) {
	switch s.Mechanism {
	case "":
		return nil, nil
	case "PLAIN":
		return plain.Auth{User: s.User, Pass: s.Password}.AsMechanism(), nil
	case "SCRAM-SHA-256":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha256Mechanism(), nil
	case "SCRAM-SHA-512":
		return scram.Auth{User: s.User, Pass: s.Password}.AsSha512Mechanism(), nil
	}
	return nil, fmt.Errorf("kafka: SASL mechanism %q (want PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512)", s.Mechanism)
}

// clientOpts returns what every client of the cluster has in common.
func (c Config) clientOpts() ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...),
		kgo.ClientID("telemetry-receiver"),
		kgo.WithLogger(logger{c.Log}),
		kgo.DisableClientMetrics(),
		kgo.RetryTimeout(requestLimit),
		kgo.MetadataMinAge(250 * time.Millisecond), // leaders move within seconds
	}
	if c.TLS != nil {
		opts = append(opts, kgo.DialTLSConfig(c.TLS))
	}
	m, err := c.SASL.mechanism()
	if err != nil {
		return nil, err
	}
	if m != nil {
		opts = append(opts, kgo.SASL(m))
	}
	return opts, nil
}

// producerOpts returns what every client that writes has in common.
func (c Config) producerOpts() []kgo.Opt {
	return []kgo.Opt{
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.RecordPartitioner(partitioner()),
		kgo.MaxBufferedBytes(c.MaxBufferedBytes),
		kgo.MaxBufferedRecords(1 << 20), // the bytes are the limit
		kgo.ProducerBatchMaxBytes(maxBatchBytes),
		kgo.UnknownTopicRetries(unknownRetries),
	}
}

// Codecs lists what records may be compressed with. Every client reads gzip and none;
// the others cost the sequencer less.
func Codecs() []string { return []string{"lz4", "gzip", "snappy", "zstd", "none"} }

// compression returns the option for [Config.Compression], which must be valid.
func (c Config) compression() kgo.Opt {
	codec := map[string]kgo.CompressionCodec{
		"gzip": kgo.GzipCompression().WithLevel(1), "snappy": kgo.SnappyCompression(), "zstd": kgo.ZstdCompression(), "none": kgo.NoCompression(),
	}
	if of, ok := codec[c.Compression]; ok {
		return kgo.ProducerBatchCompression(of, kgo.NoCompression())
	}
	return kgo.ProducerBatchCompression(kgo.Lz4Compression(), kgo.NoCompression())
}

// partitioner places a record where its Partition says, or by its key.
func partitioner() kgo.Partitioner {
	return kgo.BasicConsistentPartitioner(func(string) func(*kgo.Record, int) int {
		return func(r *kgo.Record, n int) int {
			if r.Partition >= 0 {
				return int(r.Partition)
			}
			return int(topic.Partition(r.Key, int32(n)))
		}
	})
}

// logger lets the client library log through slog: its talk about connections
// and rebalances at debug, its errors at warn.
type logger struct{ log *slog.Logger }

// Level implements kgo.Logger.
func (l logger) Level() kgo.LogLevel {
	if l.log.Enabled(bg, slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelError
}

// Log implements kgo.Logger.
func (l logger) Log(level kgo.LogLevel, msg string, kv ...any) {
	kv = append([]any{"message", msg}, kv...)
	if level == kgo.LogLevelError {
		l.log.Warn("kafka client", kv...)
		return
	}
	l.log.Debug("kafka client", kv...)
}
