package kafka

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// server is a cluster of one broker inside the process. Kafka clients on this
// machine can use it. It has no authorisation, and its transactions are not
// atomic under a kill, so nothing here uses them with it.
type server struct {
	cluster *kfake.Cluster
	lock    *os.File
	addr    string
	closed  atomic.Bool
}

// maxProduceVersion is the last version of the produce request that names its
// topics: the append time is stamped by name.
const maxProduceVersion = 12

// startServer starts a cluster on a directory that no other process uses.
func startServer(cfg Embedded, batches string, log *slog.Logger) (*server, error) {
	if err := os.MkdirAll(cfg.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("kafka: directory for the embedded kafka: %w", err)
	}
	lock, err := lockDir(filepath.Join(cfg.Dir, "lock"))
	if err != nil {
		return nil, err
	}
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(int16(kmsg.Produce), maxProduceVersion)
	// Its answer has null where Java's admin client, and with it Flink, Spark and Kafka's
	// own tools, wants a list. They ask for metadata where a broker does not know it.
	versions.SetMaxKeyVersion(int16(kmsg.DescribeTopicPartitions), -1)
	opts := []kfake.Opt{
		kfake.Ports(cfg.Port), kfake.DataDir(filepath.Join(cfg.Dir, "data")), kfake.ClusterID("telemetry-embedded"),
		kfake.MaxVersions(versions), kfake.WithLogger(serverLog{log}), kfake.BrokerConfigs(brokerConfigs),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			l, err := net.Listen(network, address)
			return checkedListener{l, log}, err
		}),
	}
	if cfg.SyncWrites {
		opts = append(opts, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("kafka: start the embedded kafka in %s on port %d (is the port taken? configure another one, or 0 for a free one): %w", cfg.Dir, cfg.Port, err), lock.Close())
	}
	s := &server{cluster: cluster, lock: lock, addr: cluster.ListenAddrs()[0]}
	stamp := appendTime{topic: batches}
	cluster.ControlKey(int16(kmsg.Produce), stamp.control)
	return s, nil
}

// close flushes and stops the cluster.
func (s *server) close() error {
	if s == nil || s.closed.Swap(true) {
		return nil
	}
	s.cluster.Close()
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("kafka: unlock: %w", err)
	}
	return nil
}

// appendTime makes a topic LogAppendTime. The embedded broker knows the
// setting but does not act on it, so the request is stamped on its way in. All
// records of a batch get one time, which needs equal client times: our producer
// writes them (see producedAt).
type appendTime struct {
	topic string
	last  int64 // of the broker's one request loop
}

func (a *appendTime) control(req kmsg.Request) (kmsg.Response, error, bool) {
	p, ok := req.(*kmsg.ProduceRequest)
	if !ok {
		return nil, nil, false
	}
	for i := range p.Topics {
		if p.Topics[i].Topic != a.topic {
			continue
		}
		a.last = max(a.last, time.Now().UnixMilli())
		for j := range p.Topics[i].Partitions {
			restamp(p.Topics[i].Partitions[j].Records, a.last)
		}
	}
	return nil, nil, false
}

// Offsets in a record batch, version 2 (Kafka's "record batch" format).
const (
	batchCRCAt    = 17
	batchAttrsAt  = 21
	batchFirstAt  = 27 // first timestamp; the greatest follows
	batchHeadLen  = 61
	batchMagicAt  = 16
	batchMagicTwo = 2
)

// restamp sets both timestamps of a record batch and its checksum. A batch that
// does not verify is left for the broker to refuse. Clients see these times as
// CreateTime: a batch that says LogAppendTime is given another time by the
// broker, which keeps the old checksum.
func restamp(b []byte, ms int64) {
	if len(b) < batchHeadLen || b[batchMagicAt] != batchMagicTwo {
		return
	}
	if binary.BigEndian.Uint32(b[batchCRCAt:]) != crc32.Checksum(b[batchAttrsAt:], castagnoli) {
		return
	}
	binary.BigEndian.PutUint64(b[batchFirstAt:], uint64(ms))
	binary.BigEndian.PutUint64(b[batchFirstAt+8:], uint64(ms))
	binary.BigEndian.PutUint32(b[batchCRCAt:], crc32.Checksum(b[batchAttrsAt:], castagnoli))
}

// serverLog lets the embedded broker log through slog.
type serverLog struct{ log *slog.Logger }

// Logf implements kfake.Logger.
func (l serverLog) Logf(level kfake.LogLevel, format string, args ...any) {
	switch level {
	case kfake.LogLevelError, kfake.LogLevelWarn:
		l.log.Warn("embedded kafka", "message", fmt.Sprintf(format, args...))
	}
}
