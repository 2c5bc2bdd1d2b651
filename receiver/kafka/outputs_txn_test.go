package kafka

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"telemetry/receiver/kafka/kafkatest"
	"telemetry/receiver/sequence"
	"telemetry/receiver/topic"
)

// refusals answer one request of a transaction with an error.
var refusals = map[kmsg.Key]struct {
	of    func(kmsg.Request) string // its transactional id
	reply func(kmsg.Request, *kerr.Error) kmsg.Response
}{
	kmsg.Produce: {
		func(r kmsg.Request) string {
			if id := r.(*kmsg.ProduceRequest).TransactionID; id != nil {
				return *id
			}
			return ""
		},
		func(r kmsg.Request, why *kerr.Error) kmsg.Response {
			resp := r.ResponseKind().(*kmsg.ProduceResponse)
			for _, rt := range r.(*kmsg.ProduceRequest).Topics {
				t := kmsg.NewProduceResponseTopic()
				t.Topic, t.TopicID = rt.Topic, rt.TopicID
				for _, rp := range rt.Partitions {
					p := kmsg.NewProduceResponseTopicPartition()
					p.Partition, p.ErrorCode = rp.Partition, why.Code
					t.Partitions = append(t.Partitions, p)
				}
				resp.Topics = append(resp.Topics, t)
			}
			return resp
		},
	},
	kmsg.TxnOffsetCommit: {
		func(r kmsg.Request) string { return r.(*kmsg.TxnOffsetCommitRequest).TransactionalID },
		func(r kmsg.Request, why *kerr.Error) kmsg.Response {
			resp := r.ResponseKind().(*kmsg.TxnOffsetCommitResponse)
			for _, rt := range r.(*kmsg.TxnOffsetCommitRequest).Topics {
				t := kmsg.NewTxnOffsetCommitResponseTopic()
				t.Topic, t.TopicID = rt.Topic, rt.TopicID
				for _, rp := range rt.Partitions {
					p := kmsg.NewTxnOffsetCommitResponseTopicPartition()
					p.Partition, p.ErrorCode = rp.Partition, why.Code
					t.Partitions = append(t.Partitions, p)
				}
				resp.Topics = append(resp.Topics, t)
			}
			return resp
		},
	},
	kmsg.EndTxn: {
		func(r kmsg.Request) string { return r.(*kmsg.EndTxnRequest).TransactionalID },
		func(r kmsg.Request, why *kerr.Error) kmsg.Response {
			resp := r.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ErrorCode = why.Code
			return resp
		},
	},
	kmsg.InitProducerID: {
		func(r kmsg.Request) string {
			if id := r.(*kmsg.InitProducerIDRequest).TransactionalID; id != nil {
				return *id
			}
			return ""
		},
		func(r kmsg.Request, why *kerr.Error) kmsg.Response {
			resp := r.ResponseKind().(*kmsg.InitProducerIDResponse)
			resp.ErrorCode, resp.ProducerID, resp.ProducerEpoch = why.Code, -1, -1
			return resp
		},
	},
}

// refuseTransactions refuses requests of one transactional id.
func refuseTransactions(fake *kfake.Cluster, key kmsg.Key, id string, why *kerr.Error) *kafkatest.Refusal {
	how := refusals[key]
	return kafkatest.Refuse(fake, key, func(r kmsg.Request) kmsg.Response {
		if how.of(r) != id {
			return nil
		}
		return how.reply(r, why)
	})
}

const always = kafkatest.Always

// What becomes of a commit.
type fate int

const (
	goesOn   fate = iota // it is repeated, and succeeds
	isLost               // the partition has another owner, or is taken as if: a new session asks who has it
	isToldOf             // the session ends with the reason; a new one tries again
)

func (f fate) of(err error) bool {
	switch f {
	case goesOn:
		return err == nil
	case isLost:
		return errors.Is(err, sequence.ErrLost)
	default:
		return err != nil && !errors.Is(err, sequence.ErrLost)
	}
}

// outputsOnFake opens the default output and two more on a broker that runs
// transactions of version 2, and returns how one of them makes a session.
func outputsOnFake(t *testing.T) (fake *kfake.Cluster, c *Cluster, session func(output string) (*transactional, error)) {
	t.Helper()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fake.Close)
	c, err = Open(t.Context(), Config{
		Brokers: fake.ListenAddrs(), Partitions: 1, AllowWeak: true, Log: quietLog(),
		Outputs: []topic.Output{modelsOutput("models"), topic.NewOutput("", "telemetry-sequence", "other", "other")},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	for _, output := range []string{"", "models", "other"} {
		if err := c.CheckOutput(t.Context(), output); err != nil {
			t.Fatal(err)
		}
	}
	if v2, err := transactionsV2(t.Context(), c.adm); err != nil || !v2 {
		t.Fatalf("transactions of version 2: %v, %v", v2, err)
	}
	ticks, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ticks.client().Close() })
	for seq := range uint64(4) {
		produce(t, c, batchRecord(c, "car-1", seq+1))
	}
	return fake, c, func(output string) (*transactional, error) {
		t.Helper()
		b := c.Backend()
		if output != "" {
			if b, err = c.OutputBackend(output); err != nil {
				t.Fatal(err)
			}
		}
		s, err := b.c.openTransactional(0, ticks, func() (string, int32) { return "", -1 }, true)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.close)
		_, err = s.Load(t.Context())
		return s, err
	}
}

// row commits one row of a session's output.
func row(ctx context.Context, s *transactional, seq uint64) error {
	return s.Commit(ctx, []topic.Record{sampleRecord(s.c, seq, "1/1")}, []topic.Record{stateRecord(s.c, 0, int64(seq))}, int64(seq))
}

// rows lists the numbers that a topic holds, committed.
func rows(t *testing.T, c *Cluster, name string) (out []string) {
	t.Helper()
	for _, r := range readAll(t, c, name) {
		seq, _ := r.Get(topic.HeaderSeq)
		out = append(out, seq)
	}
	return out
}

// TestWhatABrokerSaysToOneOutputsTransaction: each refusal of a commit ends as it
// should: repeated, fenced, or told with what helps. Neither the other outputs nor the
// default one notice, and a new session of the output writes each row once.
func TestWhatABrokerSaysToOneOutputsTransaction(t *testing.T) {
	id := topic.TransactionalID(topic.DefaultPrefix, modelsOutput("models").Group, 0)
	cases := []struct {
		key    kmsg.Key
		why    *kerr.Error
		times  int64
		fate   fate
		remedy string
	}{
		{kmsg.Produce, kerr.InvalidProducerEpoch, always, isLost, ""},
		{kmsg.Produce, kerr.ProducerFenced, always, isLost, ""},
		{kmsg.Produce, kerr.InvalidProducerIDMapping, always, isLost, ""},
		{kmsg.Produce, kerr.InvalidTxnState, always, isLost, ""},
		{kmsg.Produce, kerr.ConcurrentTransactions, 3, goesOn, ""},
		{kmsg.Produce, kerr.NotEnoughReplicas, 3, goesOn, ""},
		{kmsg.Produce, kerr.TransactionAbortable, always, isToldOf, ""},
		{kmsg.Produce, kerr.TransactionalIDAuthorizationFailed, always, isToldOf, "the user needs Write and Describe on the transactional ids"},
		{kmsg.Produce, kerr.TopicAuthorizationFailed, always, isToldOf, "the user needs Read, Write"},

		{kmsg.TxnOffsetCommit, kerr.InvalidProducerEpoch, always, isLost, ""},
		{kmsg.TxnOffsetCommit, kerr.ProducerFenced, always, isLost, ""},
		{kmsg.TxnOffsetCommit, kerr.InvalidTxnState, always, isLost, ""},
		{kmsg.TxnOffsetCommit, kerr.UnknownMemberID, always, isLost, ""},
		{kmsg.TxnOffsetCommit, kerr.FencedInstanceID, always, isLost, ""},
		{kmsg.TxnOffsetCommit, kerr.IllegalGeneration, 3, goesOn, ""},
		{kmsg.TxnOffsetCommit, kerr.RebalanceInProgress, 3, goesOn, ""},
		{kmsg.TxnOffsetCommit, kerr.ConcurrentTransactions, 3, goesOn, ""},
		{kmsg.TxnOffsetCommit, kerr.CoordinatorLoadInProgress, 3, goesOn, ""},
		{kmsg.TxnOffsetCommit, kerr.TransactionAbortable, always, isToldOf, ""},
		{kmsg.TxnOffsetCommit, kerr.GroupAuthorizationFailed, always, isToldOf, "the user needs Read on the consumer group"},
		{kmsg.TxnOffsetCommit, kerr.TransactionalIDAuthorizationFailed, always, isToldOf, "the user needs Write and Describe on the transactional ids"},

		{kmsg.EndTxn, kerr.InvalidProducerEpoch, always, isLost, ""},
		{kmsg.EndTxn, kerr.ProducerFenced, always, isLost, ""},
		{kmsg.EndTxn, kerr.InvalidProducerIDMapping, always, isLost, ""},
		{kmsg.EndTxn, kerr.InvalidTxnState, always, isLost, ""},
		{kmsg.EndTxn, kerr.ConcurrentTransactions, 3, goesOn, ""},
		{kmsg.EndTxn, kerr.CoordinatorLoadInProgress, 3, goesOn, ""},
		{kmsg.EndTxn, kerr.TransactionAbortable, always, isToldOf, ""},
		{kmsg.EndTxn, kerr.TransactionalIDAuthorizationFailed, always, isToldOf, "the user needs Write and Describe on the transactional ids"},
	}
	for _, tc := range cases {
		t.Run(tc.key.Name()+" "+tc.why.Message, func(t *testing.T) {
			t.Parallel()
			fake, c, session := outputsOnFake(t)
			refused := refuseTransactions(fake, tc.key, id, tc.why)
			open := func(output string) *transactional {
				t.Helper()
				s, err := session(output)
				if err != nil {
					t.Fatalf("load of output %q: %v", output, err)
				}
				return s
			}
			models, other, own := open("models"), open("other"), open("")
			for _, s := range []*transactional{models, other, own} {
				if err := row(t.Context(), s, 1); err != nil {
					t.Fatal(err)
				}
			}
			refused.Next(tc.times)
			err := row(t.Context(), models, 2)
			if !tc.fate.of(err) || refused.Times() == 0 {
				t.Errorf("refused %d times, and the commit ends with %v", refused.Times(), err)
			}
			if tc.fate != goesOn && (!errors.Is(err, tc.why) || !strings.Contains(err.Error(), tc.remedy)) {
				t.Errorf("it is told as %v, want %v and %q", err, tc.why, tc.remedy)
			}
			for _, s := range []*transactional{other, own} {
				if err := row(t.Context(), s, 2); err != nil {
					t.Errorf("beside it: %v", err)
				}
			}
			refused.Next(0)
			again := models
			if tc.fate != goesOn {
				models.close()
				again = open("models")
				if err := row(t.Context(), again, 2); err != nil {
					t.Errorf("a new session: %v", err)
				}
			}
			if err := row(t.Context(), again, 3); err != nil {
				t.Errorf("and on: %v", err)
			}
			for name, want := range map[string][]string{"models": {"1", "2", "3"}, "other": {"1", "2"}, c.names.Samples: {"1", "2"}} {
				if got := rows(t, c, name); !slices.Equal(got, want) {
					t.Errorf("%s holds the rows %v, want %v", name, got, want)
				}
			}
		})
	}
}

// The same when a session begins: earlier owners are fenced by InitProducerID.
func TestWhatABrokerSaysToOneOutputsFence(t *testing.T) {
	id := topic.TransactionalID(topic.DefaultPrefix, modelsOutput("models").Group, 0)
	for _, tc := range []struct {
		why    *kerr.Error
		times  int64
		fate   fate
		remedy string
	}{
		{kerr.ConcurrentTransactions, 3, goesOn, ""},
		{kerr.CoordinatorLoadInProgress, 3, goesOn, ""},
		{kerr.ProducerFenced, always, isLost, ""},
		{kerr.InvalidProducerEpoch, always, isLost, ""},
		{kerr.TransactionalIDAuthorizationFailed, always, isToldOf, "the user needs Write and Describe on the transactional ids"},
		{kerr.InvalidTransactionTimeout, always, isToldOf, "raise transaction.max.timeout.ms"},
	} {
		t.Run(tc.why.Message, func(t *testing.T) {
			t.Parallel()
			fake, c, session := outputsOnFake(t)
			refused := refuseTransactions(fake, kmsg.InitProducerID, id, tc.why)
			refused.Next(tc.times)
			s, err := session("models")
			if !tc.fate.of(err) || refused.Times() == 0 || tc.fate != goesOn && (!errors.Is(err, tc.why) || !strings.Contains(err.Error(), tc.remedy)) {
				t.Errorf("refused %d times, and the load ends with %v, want %q", refused.Times(), err, tc.remedy)
			}
			other, err := session("other")
			if err == nil {
				err = row(t.Context(), other, 1)
			}
			if err != nil {
				t.Errorf("beside it: %v", err)
			}
			refused.Next(0)
			if tc.fate != goesOn {
				if _, err = s.Load(t.Context()); err != nil {
					t.Errorf("the next load: %v", err)
				}
			}
			if err := row(t.Context(), s, 1); err != nil {
				t.Errorf("commit: %v", err)
			}
			if got := rows(t, c, "models"); !slices.Equal(got, []string{"1"}) {
				t.Errorf("rows %v", got)
			}
		})
	}
}

// emptied deletes all records of a topic, as retention does.
func emptied(t *testing.T, c *Cluster, name string) {
	t.Helper()
	ends, err := c.EndOffsets(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	for part, end := range ends {
		if err := c.deleteBefore(t.Context(), name, part, end); err != nil {
			t.Fatal(err)
		}
	}
}

// remade deletes a topic and makes it anew: its offsets begin at 0 again, below what it
// had before.
func remade(t *testing.T, c *Cluster, name string) {
	t.Helper()
	if _, err := c.adm.DeleteTopic(t.Context(), name); err != nil {
		t.Fatal(err)
	}
	until(t, 30*time.Second, name+" is there again", func() bool {
		if err := c.remakeTopics(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := c.EndOffsets(t.Context(), name)
		return err == nil
	})
}

// Nothing that an output decides rests on its rows: they may be deleted by retention, or
// cut short, under it, and between two owners.
func TestAnOutputsRowsMayVanish(t *testing.T) {
	for name, vanish := range map[string]func(*testing.T, *Cluster, string){"by retention": emptied, "cut short": remade} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, c, session := outputsOnFake(t)
			s, err := session("models")
			if err != nil {
				t.Fatal(err)
			}
			var want []string
			for seq := uint64(1); seq <= 6; seq++ {
				until(t, 30*time.Second, "a session writes the row", func() bool {
					err := row(t.Context(), s, seq)
					if err == nil {
						return true
					}
					if name == "by retention" || errors.Is(err, sequence.ErrTruncated) {
						t.Fatalf("row %d: %v", seq, err)
					}
					s.close() // its client knows the topic that was there
					if s, err = session("models"); err != nil {
						t.Fatal(err)
					}
					return false
				})
				want = append(want, fmt.Sprint(seq))
				switch seq {
				case 2: // under its owner
					vanish(t, c, "models")
					want = nil
				case 4: // between two of them
					s.close()
					vanish(t, c, "models")
					want = nil
					if err := c.CheckOutput(t.Context(), "models"); err != nil {
						t.Fatalf("it may not begin: %v", err)
					}
					if s, err = session("models"); err != nil {
						t.Fatal(err)
					}
					if at, ok, err := s.fetchGroupOffset(t.Context()); err != nil || !ok || at != 4 {
						t.Errorf("it goes on at %d, %v: %v", at, ok, err)
					}
				}
			}
			if got := rows(t, c, "models"); !slices.Equal(got, want) {
				t.Errorf("rows %v, want %v", got, want)
			}
		})
	}
}

// The embedded Kafka looks for rows of a commit that was cut off. What retention has
// taken of them, or a power cut, is not there, and nothing is wrong with that.
func TestAnEmbeddedOutputsRowsMayVanish(t *testing.T) {
	for name, vanish := range map[string]func(*testing.T, *Cluster, string){"by retention": emptied, "cut short": remade} {
		t.Run(name, func(t *testing.T) {
			c, err := openWithOutputs(t, t.TempDir(), modelsOutput("models"))
			if err != nil {
				t.Fatal(err)
			}
			part := topic.Partition([]byte("car-1"), 2)
			produce(t, c, batchRecord(c, "car-1", 1), batchRecord(c, "car-1", 2))
			b, err := c.OutputBackend("models")
			if err != nil {
				t.Fatal(err)
			}
			cutOff(t, b, part, 1)
			vanish(t, c, "models")
			if err := c.CheckOutput(t.Context(), "models"); err != nil {
				t.Fatalf("it may not begin: %v", err)
			}
			take(t, b, part, func(ctx context.Context, s sequence.Session) error {
				l, err := s.Load(ctx)
				if err != nil {
					return err
				}
				if l.Offset != 1 || len(l.Written) != 0 {
					return fmt.Errorf("offset %d, %d found written", l.Offset, len(l.Written))
				}
				return s.Commit(ctx, []topic.Record{sampleRecord(b.c, 2, "1/1")}, []topic.Record{stateRecord(b.c, part, 2)}, 2)
			})
			if got := rows(t, c, "models"); !slices.Equal(got, []string{"2"}) {
				t.Errorf("rows %v", got)
			}
		})
	}
}
