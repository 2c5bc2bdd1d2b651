package kafka

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// ErrStateGone marks an offset of the group without the state that belongs to it.
var ErrStateGone = errors.New("kafka: the sequencer's state is gone (was its topic deleted or made anew?)")

// errNoState: an offset without state is what ErrStateGone looks like later.
var errNoState = errors.New("kafka: a commit needs the partition's state")

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

// refused lists what Kafka says until somebody changes its settings or rights.
var refused = []error{
	ErrTopic, kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.TransactionalIDAuthorizationFailed,
	kerr.ClusterAuthorizationFailed, kerr.PolicyViolation, kerr.InvalidReplicationFactor, kerr.InvalidTopicException,
	kerr.InvalidTransactionTimeout,
}

// NeedsPerson reports whether an error of [Cluster.CheckOutput] stays as it is until
// somebody changes the cluster or the configuration; others pass when time does.
func NeedsPerson(err error) bool { return isAny(err, refused) }

func isAny(err error, list []error) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// remedies says what an operator can do about an error of the cluster.
var remedies = []struct {
	err    error
	remedy string
}{
	{kerr.UnknownTopicOrPartition, "was the topic deleted? the receiver makes it anew when it starts"},
	{kerr.UnknownTopicID, "was the topic deleted and made anew? restart the receiver"},
	{kerr.MessageTooLarge, "raise " + topic.ConfigMaxBytes + " of the topic to at least 1048576"},
	{kerr.InvalidRecord, "were the topic's cleanup.policy or message.timestamp settings changed?"},
	{kerr.InvalidTransactionTimeout, "raise transaction.max.timeout.ms of the brokers to at least 40000"},
	{kerr.InvalidSessionTimeout, "group.min.session.timeout.ms and group.max.session.timeout.ms of the brokers must allow the session timeout"},
	{kerr.NotEnoughReplicas, "brokers are missing, or " + topic.ConfigMinISR + " of the topic is too high"},
	{kerr.NotEnoughReplicasAfterAppend, "brokers are missing, or " + topic.ConfigMinISR + " of the topic is too high"},
	{kerr.TopicAuthorizationFailed, "the user needs Read, Write, Describe and DescribeConfigs on the receiver's topics"},
	{kerr.GroupAuthorizationFailed, "the user needs Read on the consumer group"},
	{kerr.TransactionalIDAuthorizationFailed, "the user needs Write and Describe on the transactional ids that begin with the topics' prefix"},
	{kerr.PolicyViolation, "a policy of the brokers (create.topic.policy.class.name) forbids it: make the topic by hand"},
	{kerr.ClusterAuthorizationFailed, "the user needs Create and IdempotentWrite on the cluster"},
}

// withRemedy adds what can be done, where that is known.
func withRemedy(err error) error {
	for _, r := range remedies {
		if errors.Is(err, r.err) {
			return fmt.Errorf("%w (%s)", err, r.remedy)
		}
	}
	return err
}

// sessionError names what failed in a session, and whether that means that the
// partition has another owner.
func sessionError(what string, err error) error {
	if isAny(err, lost) || isAny(err, regroup) {
		return fmt.Errorf("kafka: %s: %w: %w", what, sequence.ErrLost, err)
	}
	return fmt.Errorf("kafka: %s: %w", what, withRemedy(err))
}

// retryable reports whether trying again may help.
func retryable(err error) bool {
	return kerr.IsRetriable(err) || errors.Is(err, kerr.UnstableOffsetCommit) || errors.Is(err, kerr.ConcurrentTransactions) ||
		errors.Is(err, kerr.OffsetNotAvailable)
}
