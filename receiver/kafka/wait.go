package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// answerLimit bounds one try to reach a cluster: a host that swallows packets.
const answerLimit = 10 * time.Second

// closedPatience is how long brokers may end every connection at once before
// that is an error: a proxy does so whose broker is still starting, and so does a
// broker that wants TLS or another login.
const closedPatience = 15 * time.Second

// OpenPatiently is [Open] for a cluster that may not be up yet: while nobody
// answers it tries again, until ctx ends, and calls failed (not nil) after every
// try. What waiting cannot mend, such as a refused login or an unsuitable topic,
// is returned at once, and so is what keeps the embedded cluster from starting.
func OpenPatiently(ctx context.Context, cfg Config, failed func(err error)) (*Cluster, error) {
	patience := closedPatience
	if cfg.closedPatience > 0 {
		patience = cfg.closedPatience
	}
	var pause backoff
	var said, closedAt time.Time // closedAt: since when each try ended so
	for tries := 1; ; tries++ {
		c, err := Open(ctx, cfg)
		if err == nil || ctx.Err() != nil || len(cfg.Brokers) == 0 || !unanswered(err) {
			return c, err
		}
		switch {
		case !hungUp(err):
			closedAt = time.Time{}
		case closedAt.IsZero():
			closedAt = time.Now()
		case time.Since(closedAt) > patience:
			return nil, err
		}
		failed(err)
		if time.Since(said) > sayAgainAfter {
			said = time.Now()
			cfg.Log.Warn("kafka does not answer, will retry", "brokers", cfg.Brokers, "tries", tries, "error", err)
		}
		if pause.wait(ctx) != nil {
			return nil, err
		}
	}
}

// unanswered reports whether an error of [Open] may pass when time does: nobody
// listens, the connection broke, or the cluster is still starting.
func unanswered(err error) bool {
	// A peer's alert, as "bad certificate", has no type of its own to ask for.
	var remote *net.OpError
	if errors.As(err, &remote) && remote.Op == "remote error" {
		return false
	}
	var record tls.RecordHeaderError
	var cert *tls.CertificateVerificationError
	if errors.Is(err, ErrTopic) || errors.As(err, &record) || errors.As(err, &cert) {
		return false
	}
	var network net.Error
	return hungUp(err) || kerr.IsRetriable(err) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}

// hungUp reports whether somebody took the connection, and ended it.
func hungUp(err error) bool {
	var first *kgo.ErrFirstReadEOF
	return errors.As(err, &first) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}
