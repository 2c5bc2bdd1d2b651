package receiver

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"telemetry/receiver/kafka/kafkatest"
	"telemetry/receiver/topic"
)

// besideFake runs a receiver with the outputs models and other on a cluster.
func besideFake(t *testing.T, fake *kfake.Cluster) *Receiver {
	t.Helper()
	cluster := `{brokers: ["` + fake.ListenAddrs()[0] + `"], allow_unsafe: true, replication: 1, partitions: 1}`
	cfg := configure(t, t.TempDir(), cluster, plainMQTT+"\nsequence: {outputs: [{name: models, format: json}, {name: other, format: json}]}")
	r, err := Prepare(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }() // ends with ctx
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

// TestAnOutputWithAnUnsuitableTopicStopsAlone: whichever output it is, the cars and the
// others are served, it is told what is wrong, and when that is mended it begins.
func TestAnOutputWithAnUnsuitableTopicStopsAlone(t *testing.T) {
	names := topic.NewNames("")
	for name, tc := range map[string]struct{ topic, policy, want, rows string }{
		"a configured output": {"telemetry.models", "compact", "telemetry.models: has cleanup.policy=compact, needed is delete", "telemetry.models"},
		"the default output":  {names.Timemap, "delete", "timemap: has cleanup.policy=delete, needed is compact", names.Samples},
	} {
		t.Run(name, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			defer fake.Close()
			cl, err := kgo.NewClient(kgo.SeedBrokers(fake.ListenAddrs()...))
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			adm := kadm.NewClient(cl)
			if _, err := adm.CreateTopic(t.Context(), 1, 1, map[string]*string{topic.ConfigCleanup: &tc.policy}, tc.topic); err != nil {
				t.Fatal(err)
			}
			r := besideFake(t, fake)
			own := tc.rows == "telemetry.models"
			eventually(t, "it is told what is wrong", func() bool {
				s := r.Status(t.Context())
				if s.Sequence == nil {
					return false
				}
				why, state := s.Sequence.Error, s.Sequence.State
				if own {
					o := r.outputState(t, "models")
					why, state = o.Error, o.State
				}
				return state == OutputStopped && strings.Contains(why, tc.want) && strings.Contains(why, "kafka-configs.sh --alter")
			})
			s := r.Status(t.Context())
			car := beginCar(t, s.Listen.MQTT)
			car.send(car.Full(2e9, 5))
			has := func(name string) func() bool {
				return func() bool { return len(topics(t, fake.ListenAddrs()[0], name)[name]) == 5 }
			}
			eventually(t, "another output has the rows", has("telemetry.other"))
			stopped, line := `telemetry_sequence_state{state="stopped"}`, "sequence: stopped, nothing is written"
			if own {
				stopped, line = `telemetry_output_state{output="models",state="stopped"}`, "degraded: output models: stopped, nothing is written"
			}
			eventually(t, "readiness says it", func() bool {
				code, body := get(t, s.Listen.Live, "/readyz")
				return (code == http.StatusOK) == own && strings.Contains(body, line)
			})
			_, text := get(t, s.Listen.Live, "/metrics")
			if m := parseMetrics(t, text); m[stopped] != 1 {
				t.Errorf("%s is %v", stopped, m[stopped])
			}
			if n := len(topics(t, fake.ListenAddrs()[0], tc.rows)[tc.rows]); n != 0 {
				t.Errorf("%d rows in %s", n, tc.rows)
			}
			if _, err := adm.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{
				{Op: kadm.SetConfig, Name: topic.ConfigCleanup, Value: &map[bool][]string{true: {"delete"}, false: {"compact"}}[own][0]},
			}, tc.topic); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it has the rows when that is mended", has(tc.rows))
			eventually(t, "nothing is wrong any more", func() bool {
				s := r.Status(t.Context())
				return s.Ready && len(s.Degraded) == 0 && s.Sequence.State == OutputOK
			})
		})
	}
}

// TestAnOutputsTransactionsFailAlone: the broker refuses the transactions of one
// output. The process and the other outputs go on, and so does it with the right given.
func TestAnOutputsTransactionsFailAlone(t *testing.T) {
	id := topic.TransactionalID("", topic.NewOutput("", "telemetry-sequence", "models", "").Group, 0)
	for name, tc := range map[string]struct {
		key  kmsg.Key
		fail func(r kmsg.Request) kmsg.Response // nil: of another output
	}{
		"no right to its id": {kmsg.InitProducerID, func(r kmsg.Request) kmsg.Response {
			if is := r.(*kmsg.InitProducerIDRequest).TransactionalID; is == nil || *is != id {
				return nil
			}
			resp := r.ResponseKind().(*kmsg.InitProducerIDResponse)
			resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
			return resp
		}},
		"its timeout is refused": {kmsg.InitProducerID, func(r kmsg.Request) kmsg.Response {
			if is := r.(*kmsg.InitProducerIDRequest).TransactionalID; is == nil || *is != id {
				return nil
			}
			resp := r.ResponseKind().(*kmsg.InitProducerIDResponse)
			resp.ErrorCode = kerr.InvalidTransactionTimeout.Code
			return resp
		}},
		"its commits are refused": {kmsg.EndTxn, func(r kmsg.Request) kmsg.Response {
			if r.(*kmsg.EndTxnRequest).TransactionalID != id {
				return nil
			}
			resp := r.ResponseKind().(*kmsg.EndTxnResponse)
			resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
			return resp
		}},
	} {
		t.Run(name, func(t *testing.T) {
			fake, err := kfake.NewCluster(kfake.NumBrokers(1))
			if err != nil {
				t.Fatal(err)
			}
			defer fake.Close()
			refused := kafkatest.Refuse(fake, tc.key, tc.fail)
			refused.Next(kafkatest.Always)
			r := besideFake(t, fake)
			eventually(t, "the receiver is ready", func() bool { return r.Status(t.Context()).Ready })
			car := beginCar(t, r.Status(t.Context()).Listen.MQTT)
			car.send(car.Full(2e9, 5))
			has := func(name string) func() bool {
				return func() bool { return len(topics(t, fake.ListenAddrs()[0], name)[name]) == 5 }
			}
			eventually(t, "the default output has the rows", has(topic.NewNames("").Samples))
			eventually(t, "the other output has the rows", has("telemetry.other"))
			eventually(t, "it is tried more than once, and told", func() bool {
				o := r.outputState(t, "models")
				return refused.Times() > 1 && (o.State == OutputFailing || o.State == OutputStopped) && o.Error != ""
			})
			eventually(t, "all but it is in order", func() bool {
				return r.Status(t.Context()).Ready && r.outputState(t, "other").State == OutputOK
			})
			refused.Next(0)
			eventually(t, "it has the rows with the right given", has("telemetry.models"))
			eventually(t, "nothing is degraded", func() bool { return len(r.Status(t.Context()).Degraded) == 0 })
		})
	}
}
