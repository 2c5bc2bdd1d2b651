// Package imagefire proves that the container image does what the receiver does: cars
// with the real spool and uplink, each with its own certificate, send through two
// containers into a real Kafka, while these are killed and drained in turns. Then what is
// in Kafka is compared, by a client that is not ours, with what the cars had appended.
// Cars with another's certificate, a revoked one, an expired one and none try all the
// time, and must get nothing through.
//
// The entry point is [Run].
package imagefire

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"telemetry/internal/clock"
	"telemetry/lab/simcar"
	"telemetry/receiver/hop"
	"telemetry/wire"
)

// Config is one run. All but Progress is needed.
type Config struct {
	Engine   []string // "podman" or "docker", with arguments that come first
	Image    string
	Dir      string // state and logs; it must exist
	Broker   string // host:port of Kafka
	Python   string // with confluent-kafka
	Scripts  string // folder of check_kafka.py
	Prefix   string // of the topics and the containers' names
	Cars     int
	Length   time.Duration // of the load
	Seed     uint64
	Progress io.Writer
}

// Result is what was found, as printed.
type Result struct {
	Cars       int     `json:"cars"`
	Seconds    float64 `json:"seconds"` // of load
	Batches    int64   `json:"batches"` // appended by the cars
	Missing    int64   `json:"missing"`
	Duplicates int64   `json:"duplicates"`
	OutOfOrder int64   `json:"out_of_order"`
	Strangers  int64   `json:"strangers"` // records of batches that none of the cars has appended
	Kills      int     `json:"kills"`
	Drains     int     `json:"drains"`
	DrainMaxS  float64 `json:"drain_max_s"`
	Refused    int     `json:"identities_refused"` // kinds of them, of which nothing came through
	// HopsP50MS is the median of each hop, the greater one of the containers' last lives.
	HopsP50MS map[string]float64 `json:"hops_p50_ms"`
}

// errWrong says that the comparison found a fault.
var errWrong = errors.New("imagefire: what is in Kafka is not what was sent")

// Limits of waiting.
const (
	drainLimit  = 90 * time.Second
	settleLimit = 60 * time.Second
	pauseLeast  = 2 * time.Second // between two strikes
	pauseMore   = 3 * time.Second
)

// guest is a car, and what it makes.
type guest struct {
	stranger
	car   *simcar.Car
	mine  int64      // batches of critical and full appended; read after ended
	ended chan error // of its load
}

// drive makes data until load ends.
func (g *guest) drive(load context.Context, seed uint64) {
	g.ended = make(chan error, 1)
	go func() { // ends with load
		g.ended <- g.car.Drive(load, seed, func(id wire.ID, _ int64, _ []byte) error {
			if id.Stream.Lane != wire.LaneLive {
				g.mine++
			}
			return nil
		})
	}()
}

// run is one run under way.
type run struct {
	Config
	containers [2]*container
	cars       []*simcar.Car
	guests     []*guest
	res        Result

	mu    sync.Mutex
	truth *bufio.Writer // guarded by mu; one line per batch
}

// Run makes one run and compares. A result without an error has no fault.
func Run(ctx context.Context, cfg Config) (res *Result, err error) {
	r := &run{Config: cfg, res: Result{Cars: cfg.Cars}}
	f, err := os.Create(r.path("truth"))
	if err != nil {
		return nil, fmt.Errorf("imagefire: %w", err)
	}
	r.truth = bufio.NewWriter(f)
	defer func() {
		for _, c := range r.cars {
			err = errors.Join(err, c.Close())
		}
		for _, g := range r.guests {
			err = errors.Join(err, g.car.Close())
		}
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		for _, c := range r.containers {
			if c != nil {
				err = errors.Join(err, r.keepLog(end, c), c.remove(end))
			}
		}
		err = errors.Join(err, f.Close())
	}()
	if err := r.load(ctx); err != nil {
		return nil, err
	}
	if err := r.settle(ctx); err != nil {
		return nil, err
	}
	return &r.res, r.compare(ctx)
}

func (r *run) path(name string) string { return filepath.Join(r.Dir, name) }

func (r *run) say(format string, args ...any) {
	if r.Progress != nil {
		fmt.Fprintf(r.Progress, "imagefire: %s\n", fmt.Sprintf(format, args...))
	}
}

// load lets cars and strangers send while the containers are struck.
func (r *run) load(ctx context.Context) error {
	if err := r.startContainers(ctx); err != nil {
		return err
	}
	load, stop := context.WithCancel(ctx)
	defer stop()
	began := time.Now()
	driven := make(chan error, r.Cars)
	for i := range r.Cars {
		c, err := r.openCar(carName(i), carName(i))
		if err != nil {
			return err
		}
		r.cars = append(r.cars, c)
		go func() { driven <- c.Drive(load, r.Seed+uint64(i), r.note) }() // ends with load
	}
	err := r.knock(load)
	if err == nil {
		r.say("%d cars and %d strangers, two containers, %v", r.Cars, len(r.guests), r.Length)
		err = r.strikes(ctx, began)
	}
	stop()
	for range r.cars {
		err = errors.Join(err, <-driven)
	}
	for _, g := range r.guests {
		err = errors.Join(err, <-g.ended)
	}
	r.res.Seconds = time.Since(began).Round(100 * time.Millisecond).Seconds()
	return errors.Join(err, r.truth.Flush())
}

// openCar opens a car that dials both containers with a certificate.
func (r *run) openCar(name, certificate string) (*simcar.Car, error) {
	t, err := clientTLS(r.path("ca"), certificate)
	if err != nil {
		return nil, err
	}
	c, err := simcar.Open(simcar.Config{Name: name, Dir: r.path("spool-" + name), Links: 2, TLS: t})
	if err != nil {
		return nil, fmt.Errorf("imagefire: %s: %w", name, err)
	}
	if err := c.Connect([]string{"tls://" + r.containers[0].mqtt, "tls://" + r.containers[1].mqtt}); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// note writes one line of the truth, as check_kafka.py reads it.
func (r *run) note(id wire.ID, n int64, block []byte) error {
	st := id.Stream
	r.mu.Lock()
	defer r.mu.Unlock()
	r.res.Batches++
	_, err := fmt.Fprintf(r.truth, "%s %d %016x %s %d %d %d %d\n", st.Car, st.Epoch.Counter, st.Epoch.Nonce, st.Lane, id.Seq, n, len(block), crc32.ChecksumIEEE(block))
	return err
}

func (r *run) startContainers(ctx context.Context) error {
	etc := r.path("etc")
	if err := os.Mkdir(etc, 0o755); err != nil {
		return fmt.Errorf("imagefire: %w", err)
	}
	if err := identities(r.path("ca"), etc, r.Cars); err != nil {
		return err
	}
	for i := range r.containers {
		c := &container{engine: r.Engine, name: fmt.Sprintf("%s-%d", r.Prefix, i)}
		var err, err2 error
		c.mqtt, err = freePort()
		c.health, err2 = freePort()
		if err := errors.Join(err, err2); err != nil {
			return err
		}
		yaml := fmt.Sprintf(`version: 1
name: %s
roles: [ingest, sequence]
socket: /run/receiver/receiver.sock
mqtt: {listen: %q, tls: {ca: /etc/receiver/ca.crt, cert: /etc/receiver/receiver.crt, key: /etc/receiver/receiver.key, crl: /etc/receiver/crl.pem}}
kafka: {prefix: %s, brokers: [%q], replication: 1, allow_unsafe: true, partitions: 6}
sequence: {formats: {full: batch}, windows: {critical: none, live: none, full: none}}
live: {listen: "off"}
health: {listen: %q}
`, c.name, c.mqtt, r.Prefix, r.Broker, c.health)
		if err := os.WriteFile(filepath.Join(etc, c.name+".yaml"), []byte(yaml), 0o644); err != nil {
			return fmt.Errorf("imagefire: %w", err)
		}
		r.containers[i] = c
		if err := c.create(ctx, r.Image, etc); err != nil {
			return err
		}
		if err := c.ready(ctx); err != nil {
			return err
		}
	}
	return nil
}

// strikes kills and drains the containers in turns, one at a time.
func (r *run) strikes(ctx context.Context, began time.Time) error {
	rng := rand.New(rand.NewPCG(r.Seed, 7))
	for i := 0; ; i++ {
		pause := pauseLeast + time.Duration(rng.Int64N(int64(pauseMore)))
		if left := time.Until(began.Add(r.Length)); left <= pause {
			return clock.Sleep(ctx, max(0, left))
		}
		if err := clock.Sleep(ctx, pause); err != nil {
			return err
		}
		c := r.containers[(i/2)%2]
		if i%2 == 0 {
			r.res.Kills++
			r.say("%s is killed", c.name)
			if err := c.kill(ctx); err != nil {
				return err
			}
		} else {
			took, err := c.drain(ctx)
			if err != nil {
				return err
			}
			r.res.Drains++
			r.res.DrainMaxS = max(r.res.DrainMaxS, took.Seconds())
			r.say("%s was drained in %v", c.name, took.Round(10*time.Millisecond))
		}
		if err := errors.Join(c.start(ctx), c.ready(ctx)); err != nil {
			return err
		}
	}
}

// settle waits until the cars have nothing left, and looks at the strangers.
func (r *run) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	for _, c := range r.cars {
		if err := c.Drain(ctx); err != nil {
			return err
		}
	}
	logs := ""
	for _, c := range r.containers {
		text, err := c.logs(ctx)
		if err != nil {
			return err
		}
		logs += text
	}
	if err := r.hops(ctx); err != nil {
		return err
	}
	for _, g := range r.guests {
		if err := g.check(g.car, g.mine, logs); err != nil {
			return err
		}
		r.res.Refused++
	}
	return nil
}

// hops fails unless the present lives have measured every hop of some sampled batch, from
// the car's own notes to the commit.
func (r *run) hops(ctx context.Context) error {
	r.res.HopsP50MS = map[string]float64{}
	for _, c := range r.containers {
		text, err := c.do(ctx, "exec", c.name, "/receiver", "status", "--socket", "/run/receiver/receiver.sock", "--json")
		if err != nil {
			return err
		}
		var s struct {
			Latency struct{ Hops []hop.Figures }
		}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			return fmt.Errorf("imagefire: status of %s: %w", c.name, err)
		}
		for _, f := range s.Latency.Hops {
			if f.Count > 0 {
				r.res.HopsP50MS[f.Hop] = max(r.res.HopsP50MS[f.Hop], f.P50MS)
			}
		}
	}
	for _, h := range hop.All() {
		if _, ok := r.res.HopsP50MS[h.String()]; !ok && h != hop.Shown { // there is no page
			return fmt.Errorf("imagefire: nobody has measured the hop %s", h)
		}
	}
	return nil
}

func (r *run) keepLog(ctx context.Context, c *container) error {
	text, err := c.logs(ctx)
	return errors.Join(err, os.WriteFile(r.path(c.name+".log"), []byte(text), 0o644))
}

// compare reads all of it with a client that is not ours.
func (r *run) compare(ctx context.Context) error {
	job, err := json.Marshal(map[string]any{
		"brokers": r.Broker, "prefix": r.Prefix, "group": r.Prefix + "-sequence", "truth": r.path("truth"), "window": false, "limit_s": settleLimit.Seconds(),
	})
	if err == nil {
		err = os.WriteFile(r.path("job.json"), job, 0o644)
	}
	if err != nil {
		return fmt.Errorf("imagefire: job: %w", err)
	}
	cmd := exec.CommandContext(ctx, r.Python, "-B", filepath.Join(r.Scripts, "check_kafka.py"), "--job", r.path("job.json"))
	cmd.Stderr = r.Progress
	out, runErr := cmd.Output()
	var got struct {
		Missing    int64 `json:"missing"`
		Duplicates int64 `json:"duplicates"`
		OutOfOrder int64 `json:"out_of_order"`
		Strangers  int64 `json:"strangers"`
	}
	if err := json.Unmarshal(out, &got); err != nil {
		return fmt.Errorf("imagefire: the comparison printed %.200q: %w", out, errors.Join(err, runErr))
	}
	r.res.Missing, r.res.Duplicates, r.res.OutOfOrder, r.res.Strangers = got.Missing, got.Duplicates, got.OutOfOrder, got.Strangers
	if runErr != nil {
		return fmt.Errorf("%w: %w", errWrong, runErr)
	}
	return nil
}
