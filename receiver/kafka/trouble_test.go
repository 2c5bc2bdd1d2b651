//go:build foreign

package kafka

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"telemetry/lab/pki"
	"telemetry/receiver/topic"
)

// ownBroker starts a broker for one test, with a third port beside those of
// clients and controller.
func ownBroker(t *testing.T, dir string, settings func(port int) []string) (b broker, port int) {
	t.Helper()
	apacheProcess(t) // only where one node is tested
	port = freePorts(t, 3)
	b = broker{dir, strconv.Itoa(port)}
	b.script(t, append([]string{"start", b.dir, b.port}, settings(port)...)...)
	t.Cleanup(func() { // the test's context is over
		if out, err := exec.Command(filepath.Join("..", "..", "scripts", "kafka.sh"), "stop", b.dir).CombinedOutput(); err != nil {
			t.Errorf("stop: %v\n%s", err, out)
		}
	})
	return b, port
}

// freePorts returns the first of n neighbouring ports that nobody uses, below
// those that the system gives to clients: while the broker is away, one of those
// could take its port.
func freePorts(t *testing.T, n int) int {
	t.Helper()
	for range 100 {
		port := 20_000 + rand.IntN(10_000)
		free := true
		for i := 0; i < n && free; i++ {
			l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port+i))
			if free = err == nil; free {
				_ = l.Close() // it has served its purpose
			}
		}
		if free {
			return port
		}
	}
	t.Fatal("no free ports")
	return 0
}

const (
	loginUser   = "tele"
	loginSecret = "open sesame"
)

// secureBroker serves SASL over TLS on port+2, asks for a client's certificate,
// and lets nobody but the anonymous administrator of its plain port do anything
// without an ACL.
func secureBroker(t *testing.T) (brokers string, ca *pki.Authority, admin *kadm.Client) {
	t.Helper()
	dir := t.TempDir()
	ca, err := pki.Write(filepath.Join(dir, "pki"), []string{"localhost", "127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	key, trust := keyStore(t, filepath.Join(dir, "pki")), filepath.Join(dir, "pki", "ca.crt")
	_, port := ownBroker(t, filepath.Join(dir, "broker"), func(port int) []string {
		const jaas = "listener.name.sasl_ssl.%s.sasl.jaas.config=org.apache.kafka.common.security.%s required%s;"
		return []string{
			fmt.Sprintf("listeners=PLAINTEXT://127.0.0.1:%d,CONTROLLER://127.0.0.1:%d,SASL_SSL://127.0.0.1:%d", port, port+1, port+2),
			fmt.Sprintf("advertised.listeners=PLAINTEXT://127.0.0.1:%d,SASL_SSL://127.0.0.1:%d", port, port+2),
			"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL",
			"sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512",
			fmt.Sprintf(jaas, "plain", "plain.PlainLoginModule", fmt.Sprintf(` user_%s="%s"`, loginUser, loginSecret)),
			fmt.Sprintf(jaas, "scram-sha-256", "scram.ScramLoginModule", ""),
			fmt.Sprintf(jaas, "scram-sha-512", "scram.ScramLoginModule", ""),
			"ssl.keystore.type=PEM", "ssl.keystore.location=" + key,
			"ssl.truststore.type=PEM", "ssl.truststore.location=" + trust, "listener.name.sasl_ssl.ssl.client.auth=required",
			"authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer", "super.users=User:ANONYMOUS",
			"connections.max.reauth.ms=5000",
		}
	})
	cl, err := kgo.NewClient(kgo.SeedBrokers(fmt.Sprintf("127.0.0.1:%d", port)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	admin = kadm.NewClient(cl)
	for _, m := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} { // one a request: a user may stand in it once
		up := []kadm.UpsertSCRAM{{User: loginUser, Mechanism: m, Iterations: 4096, Password: loginSecret}}
		users, err := admin.AlterUserSCRAMs(t.Context(), nil, up)
		if err != nil || users.Error() != nil {
			t.Fatal(err, users.Error())
		}
	}
	return fmt.Sprintf("127.0.0.1:%d", port+2), ca, admin
}

// keyStore writes the server's key and certificate into one file as Java wants it:
// the key in PKCS 8.
func keyStore(t *testing.T, dir string) string {
	t.Helper()
	read := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	pair, err := tls.X509KeyPair(read("server.crt"), read("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "server.pem")
	store := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), read("server.crt")...)
	if err := os.WriteFile(path, store, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// grants is all that a receiver needs.
func grants(operations ...kmsg.ACLOperation) *kadm.ACLBuilder {
	b := kadm.NewACLs().Topics("test").Groups("test").TransactionalIDs("test").Clusters()
	return b.ResourcePatternType(kadm.ACLPatternPrefixed).Allow("User:" + loginUser).AllowHosts("*").Operations(operations...)
}

func grant(t *testing.T, admin *kadm.Client, operations ...kmsg.ACLOperation) {
	t.Helper()
	res, err := admin.CreateACLs(t.Context(), grants(operations...))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range res {
		if r.Err != nil {
			t.Fatalf("grant: %v %s", r.Err, r.ErrMessage)
		}
	}
}

// Login by every mechanism over TLS with a client's certificate; whoever cannot is
// told why.
func TestOwnBrokerLogins(t *testing.T) {
	brokers, ca, admin := secureBroker(t)
	grant(t, admin, kadm.OpAll)
	conf, err := ca.ClientTLS("receiver")
	if err != nil {
		t.Fatal(err)
	}
	conf.ServerName = "localhost"
	for _, mechanism := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		t.Run(mechanism, func(t *testing.T) {
			c := openCluster(t, func(cfg *Config) {
				cfg.Brokers, cfg.TLS, cfg.SASL = []string{brokers}, conf, SASL{mechanism, loginUser, loginSecret}
			})
			f := newFeeder(c)
			stop := f.start(t)
			newRelay(c).serve(t, c)
			until(t, time.Minute, "batches go through", func() bool { return f.count() > 100 })
			// Past the time after which the broker wants the login again.
			wait(t, 7*time.Second)
			n := f.count()
			until(t, 30*time.Second, "batches go through after a new login", func() bool { return f.count() > n+100 })
			stop()
			drained(t, c)
			checkRelayed(t, c)
			f.checkAcked(t)
		})
	}
	stranger, err := pki.New()
	if err != nil {
		t.Fatal(err)
	}
	other, err := stranger.ClientTLS("receiver")
	if err != nil {
		t.Fatal(err)
	}
	noCert := conf.Clone()
	noCert.Certificates = nil
	for name, c := range map[string]struct {
		tls  *tls.Config
		sasl SASL
	}{
		"wrong password, PLAIN":  {conf, SASL{"PLAIN", loginUser, "wrong"}},
		"wrong password, SCRAM":  {conf, SASL{"SCRAM-SHA-512", loginUser, "wrong"}},
		"unknown user":           {conf, SASL{"SCRAM-SHA-256", "nobody", loginSecret}},
		"broker of another CA":   {other, SASL{"PLAIN", loginUser, loginSecret}},
		"no certificate of ours": {noCert, SASL{"PLAIN", loginUser, loginSecret}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Brokers: []string{brokers}, Prefix: "test-login", TLS: c.tls, SASL: c.sasl, AllowWeak: true, Log: quietLog(), closedPatience: time.Second}
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			var told error
			got, err := OpenPatiently(ctx, cfg, func(err error) { told = err })
			if err == nil {
				_ = got.Close()
				t.Fatal("let in")
			}
			if ctx.Err() != nil && told == nil {
				t.Fatalf("nothing was said in all that time: %v", err)
			}
			t.Logf("%v (while it waited: %v)", err, told)
			if strings.Contains(err.Error(), loginSecret) {
				t.Error("the error tells the password")
			}
		})
	}
}

// The right to write is taken away and given back: the producer says so meanwhile,
// and everything goes on by itself.
func TestOwnBrokerTakesRightsAway(t *testing.T) {
	brokers, ca, admin := secureBroker(t)
	conf, err := ca.ClientTLS("receiver")
	if err != nil {
		t.Fatal(err)
	}
	conf.ServerName = "localhost"
	all := []kmsg.ACLOperation{
		kadm.OpRead, kadm.OpWrite, kadm.OpDescribe, kadm.OpCreate, kadm.OpDescribeConfigs, kadm.OpIdempotentWrite,
	}
	grant(t, admin, all...)
	c := openCluster(t, func(cfg *Config) {
		cfg.Brokers, cfg.TLS, cfg.SASL = []string{brokers}, conf, SASL{"SCRAM-SHA-512", loginUser, loginSecret}
	})
	f := newFeeder(c)
	stop := f.start(t)
	r := newRelay(c)
	var commits atomic.Int64
	r.told = func(format string, _ ...any) {
		if strings.HasPrefix(format, "commit") {
			commits.Add(1)
		}
	}
	r.serve(t, c)
	until(t, time.Minute, "commits", func() bool { return commits.Load() > 20 })
	if _, err := admin.DeleteACLs(t.Context(), grants(kadm.OpWrite)); err != nil {
		t.Fatal(err)
	}
	p, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	failed := make(chan error, 1)
	try := func() {
		p.Produce(topic.Record{Topic: c.names.Events, Partition: 0, Value: []byte("x")}, func(err error) { failed <- err })
	}
	until(t, 30*time.Second, "a writing is refused", func() bool {
		try()
		return errors.Is(<-failed, kerr.TopicAuthorizationFailed)
	})
	if err := p.State(); err == nil || !strings.Contains(err.Error(), "the user needs") {
		t.Errorf("the producer says %v, want what the user needs", err)
	}
	wait(t, outageLength(t))
	grant(t, admin, kadm.OpWrite)
	n, fed := commits.Load(), f.count()
	until(t, 90*time.Second, "commits with the rights back", func() bool { return commits.Load() > n+20 && f.count() > fed+100 })
	until(t, 30*time.Second, "the producer is well", func() bool { try(); return <-failed == nil && p.State() == nil })
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
	drained(t, c)
	checkRelayed(t, c)
	f.checkAcked(t)
}

// An output topic is deleted under feed: it is made anew, and the commits go on.
func TestApacheOutputTopicDeleted(t *testing.T) {
	c := openApache(t, nil)
	f := newFeeder(c)
	stop := f.start(t)
	r := newRelay(c)
	var commits atomic.Int64
	r.told = func(format string, _ ...any) {
		if strings.HasPrefix(format, "commit") {
			commits.Add(1)
		}
	}
	r.serve(t, c)
	until(t, time.Minute, "commits", func() bool { return commits.Load() > 20 })
	if _, err := c.adm.DeleteTopic(t.Context(), c.names.Samples); err != nil {
		t.Fatal(err)
	}
	until(t, 90*time.Second, "the topic is there again", func() bool {
		d, err := c.adm.ListTopics(t.Context(), c.names.Samples)
		return err == nil && d[c.names.Samples].Err == nil && len(d[c.names.Samples].Partitions) == int(c.partitions)
	})
	n := commits.Load()
	until(t, 90*time.Second, "commits into the new topic", func() bool { return commits.Load() > n+20 })
	stop()
	drained(t, c)
	f.checkAcked(t)
}

// The broker's disk is full: Kafka gives its log directory up and ends. Nothing
// that was acknowledged is lost, and everything goes on when there is room again.
func TestOwnBrokerDiskFull(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("needs root to make a small disk: %v: %s", err, bytes.TrimSpace(out))
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	b, port := ownBroker(t, filepath.Join(dir, "broker"), func(int) []string {
		return []string{"log.index.size.max.bytes=65536", "offsets.topic.num.partitions=1", "transaction.state.log.num.partitions=1"}
	})
	c := openCluster(t, func(cfg *Config) { cfg.Brokers = []string{fmt.Sprintf("127.0.0.1:%d", port)} })
	f := newFeeder(c)
	stop := f.start(t)
	r := newRelay(c)
	var commits atomic.Int64
	r.told = func(format string, _ ...any) {
		if strings.HasPrefix(format, "commit") {
			commits.Add(1)
		}
	}
	r.serve(t, c)
	until(t, time.Minute, "commits", func() bool { return commits.Load() > 20 })
	filler := filepath.Join(dir, "filler")
	fill(t, filler)
	n := f.count()
	until(t, 2*time.Minute, "Kafka takes nothing more", func() bool {
		before := f.count()
		wait(t, 3*time.Second)
		return f.count() == before
	})
	p, err := c.NewProducer()
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	p.Produce(topic.Record{Topic: c.names.Events, Partition: 0, Value: []byte("x")}, func(err error) { done <- err })
	until(t, 30*time.Second, "the producer says that it fails", func() bool { return p.State() != nil })
	t.Logf("%d batches after the disk was full; the producer says: %v", f.count()-n, p.State())
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	b.stop(t)
	b.start(t)
	fed, m := f.count(), commits.Load()
	until(t, 2*time.Minute, "commits with room again", func() bool { return commits.Load() > m+20 && f.count() > fed+100 })
	if err := <-done; err != nil {
		t.Errorf("the record that waited: %v", err)
	}
	if err := p.Close(t.Context()); err != nil {
		t.Error(err)
	}
	stop()
	drained(t, c)
	checkRelayed(t, c)
	f.checkAcked(t)
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	w, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = w.Write(block)
	}
}
