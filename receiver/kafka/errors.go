package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"telemetry/receiver/sequence"
)

// lost lists what Kafka says to an owner that is one no more. A fenced producer
// gets INVALID_PRODUCER_EPOCH when it writes and OPERATION_NOT_ATTEMPTED when it
// commits, not PRODUCER_FENCED alone.
var lost = []error{
	kerr.InvalidProducerEpoch, kerr.ProducerFenced, kerr.OperationNotAttempted, kerr.InvalidTxnState,
	kerr.InvalidProducerIDMapping, kerr.UnknownMemberID, kerr.FencedMemberEpoch, kerr.FencedInstanceID,
}

// regroup lists what a member hears while its group settles anew: it may still
// be the owner, under a new generation.
var regroup = []error{kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.StaleMemberEpoch}

func isAny(err error, list []error) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// sessionError names what failed in a session, and whether that means that the
// partition has another owner.
func sessionError(what string, err error) error {
	if isAny(err, lost) || isAny(err, regroup) {
		return fmt.Errorf("kafka: %s: %w: %w", what, sequence.ErrLost, err)
	}
	return fmt.Errorf("kafka: %s: %w", what, err)
}

// retryable reports whether trying again may help.
func retryable(err error) bool {
	return kerr.IsRetriable(err) || errors.Is(err, kerr.UnstableOffsetCommit) || errors.Is(err, kerr.ConcurrentTransactions)
}
