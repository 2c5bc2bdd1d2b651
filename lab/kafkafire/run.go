package kafkafire

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"telemetry/internal/clock"
	"telemetry/lab/instance"
	"telemetry/lab/simcar"
)

// Config is one pass. All but Window and Progress is needed.
type Config struct {
	Bin      string // folder of the binary receiver
	Dir      string // state and logs; it must exist
	Kafka    string // scripts/kafka.sh
	KafkaDir string // in which it has started three nodes
	Port     int    // the first node's
	Python   string // with confluent-kafka
	Scripts  string // folder of check_kafka.py
	Prefix   string // of the topics, new for each pass
	Window   time.Duration
	Memory   string // of batches behind holes, per receiver, as sequence.memory; "": the default. With it, rereads are demanded
	Cars     int
	Length   time.Duration // of the load
	Seed     uint64
	Progress io.Writer
}

// Result is one pass, as printed.
type Result struct {
	Window        string  `json:"window"` // "none", or the window of all lanes
	Cars          int     `json:"cars"`
	Seconds       float64 `json:"seconds"` // of load
	Batches       int64   `json:"batches"` // appended by the cars
	Missing       int64   `json:"missing"` // in no topic, and reported in no gap
	Duplicates    int64   `json:"duplicates"`
	OutOfOrder    int64   `json:"out_of_order"`
	ReceiverKills int     `json:"receiver_kills"`
	BrokerKills   int     `json:"broker_kills"`
	Freezes       int     `json:"freezes"`
	Moves         int     `json:"moves"`        // of cars between receivers
	CarRestarts   int     `json:"car_restarts"` // each begins an epoch
	Rereads       uint64  `json:"rereads"`      // of batches that memory had no room for; at least
	found
	KbitPerCar float64 `json:"kbit_per_car"`
}

// found is what the comparison adds.
type found struct {
	InOrder     int64 `json:"in_order"`
	Late        int64 `json:"late"`
	Gaps        int64 `json:"gaps"`       // batches reported missing because a window ran out
	Superseded  int64 `json:"superseded"` // previews that the car gave up for newer ones, and said so
	Twice       int64 `json:"accounted_twice"`
	WrongValues int64 `json:"wrong_values"`
	Strangers   int64 `json:"strangers"`    // records of batches that nobody has appended
	DeadLetters int64 `json:"dead_letters"` // records of the dead-letter topic
	Copies      int64 `json:"copies_in"`    // batches that came into telemetry.batches more than once
	Epochs      int64 `json:"epochs"`       // of all cars, that have appended something
	PreviewsCut int64 `json:"previews_cut"` // previews that were only in a car's memory when it restarted
	ControlGaps int64 `json:"control_gaps"` // control records reported missing because a window ran out
}

// errWrong says that the comparison found a fault.
var errWrong = errors.New("kafkafire: what is in Kafka is not what was sent")

// Limits of waiting.
const (
	drainLimit  = 3 * time.Minute
	settleLimit = 60 * time.Second
	wakeLimit   = 90 * time.Second // from SIGCONT until the receiver is ready again; a broker may be away
	wakePoll    = 50 * time.Millisecond
	wakeLearns  = time.Second // until one that wakes has heard that it is no member any more
)

// pass is one run.
type pass struct {
	Config
	brokers   brokers
	receivers [2]*instance.Instance
	addrs     [2]string // of the receivers' MQTT
	cars      []*car
	truth     *truth
	res       Result
	mu        sync.Mutex // guards res while strikes are carried out, and Progress
	broker    sync.Mutex // held while a broker is away: one at a time
}

// Run makes one pass and compares. A result without an error has no fault.
func Run(ctx context.Context, cfg Config) (*Result, error) {
	p := &pass{Config: cfg, brokers: brokers{cfg.Kafka, cfg.KafkaDir, cfg.Port}}
	p.res = Result{Window: "none", Cars: cfg.Cars}
	if cfg.Window > 0 {
		p.res.Window = cfg.Window.String()
	}
	var err error
	if p.truth, err = newTruth(p.path("truth")); err != nil {
		return nil, err
	}
	err = p.run(ctx)
	for _, c := range p.cars {
		err = errors.Join(err, c.close())
	}
	for _, r := range p.receivers {
		if r != nil {
			err = errors.Join(err, r.Stop())
		}
	}
	if err != nil && !errors.Is(err, errWrong) {
		return nil, err
	}
	return &p.res, err
}

func (p *pass) path(name string) string { return filepath.Join(p.Dir, name) }

func (p *pass) say(format string, args ...any) {
	if p.Progress == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.Progress, "kafkafire: %s\n", fmt.Sprintf(format, args...))
}

func (p *pass) run(ctx context.Context) error {
	load, stop := context.WithCancel(ctx)
	defer stop()
	if err := p.start(ctx); err != nil {
		return errors.Join(err, p.truth.close())
	}
	p.say("window %s: %d cars, two receivers, three brokers, %v", p.res.Window, p.Cars, p.Length)
	began := time.Now()
	if err := p.startCars(load); err != nil {
		return errors.Join(err, p.truth.close())
	}
	end := time.AfterFunc(time.Until(began.Add(p.Length)), stop)
	defer end.Stop()
	watching, enough := context.WithCancel(ctx)
	defer enough()
	rereads := make(chan uint64, 1)
	go func() { rereads <- watch(watching, p.receivers[:]) }() // ends with watching
	err := p.strikes(ctx, began)
	if err != nil {
		stop()
	}
	<-load.Done()
	for _, c := range p.cars {
		err = errors.Join(err, c.finish())
	}
	if err = errors.Join(err, p.truth.close()); err != nil {
		return err
	}
	p.res.Seconds = time.Since(began).Round(100 * time.Millisecond).Seconds()
	p.res.Batches = p.truth.batches.Load()
	p.res.KbitPerCar = float64(p.truth.bytes.Load()*8/1000/int64(p.Cars)) / p.Length.Seconds()
	if err := p.drain(ctx); err != nil {
		return err
	}
	if err := p.compare(ctx); err != nil {
		return err
	}
	enough()
	p.res.Rereads = <-rereads
	if p.Memory != "" && p.res.Rereads == 0 {
		return fmt.Errorf("%w: nothing was read again, though memory is %s: rereading was not tested", errWrong, p.Memory)
	}
	return nil
}

// start starts the receivers.
func (p *pass) start(ctx context.Context) error {
	for i := range p.receivers {
		var err error
		if p.addrs[i], err = freePort(); err != nil {
			return err
		}
		p.receivers[i] = instance.New(instance.Config{Bin: p.Bin, Dir: p.Dir, Name: fmt.Sprintf("receiver-%d", i), YAML: p.yaml(i)})
		if err := p.receivers[i].Start(); err != nil {
			return err
		}
		if i == 0 { // it makes the topics
			if _, err := p.receivers[i].Ready(ctx); err != nil {
				return err
			}
		}
	}
	_, err := p.receivers[1].Ready(ctx)
	return err
}

// startCars starts the cars, whose data ends with load.
func (p *pass) startCars(load context.Context) error {
	for i := range p.Cars {
		name := fmt.Sprintf("car-%02d", i)
		c := &car{
			cfg:  simcar.Config{Name: name, Dir: p.path("spool-" + name), Links: 2},
			seed: p.Seed + uint64(i), load: load, note: p.truth.add, addrs: p.both(),
		}
		p.cars = append(p.cars, c)
		if err := c.start(); err != nil {
			return err
		}
	}
	return nil
}

func (p *pass) both() []string { return []string{"tcp://" + p.addrs[0], "tcp://" + p.addrs[1]} }

// freePort returns an address that nobody listens on.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("kafkafire: free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (p *pass) yaml(i int) string {
	w := "none"
	if p.Window > 0 {
		w = p.Window.String()
	}
	memory := ""
	if p.Memory != "" {
		memory = "\n  memory: " + p.Memory
	}
	var list strings.Builder
	for _, b := range p.brokers.addresses() {
		fmt.Fprintf(&list, "    - %s\n", b)
	}
	return fmt.Sprintf(`roles: [ingest, sequence]
mqtt:
  listen: %s
  insecure: true
live:
  listen: "off"
kafka:
  prefix: %s
  brokers:
%ssequence:
  formats: {full: batch}
  windows: {critical: %s, live: %s, full: %s}%s
`, p.addrs[i], p.Prefix, list.String(), w, w, w, memory)
}

// drain brings everything back up and waits until the cars have nothing left.
func (p *pass) drain(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	began := time.Now()
	for i, r := range p.receivers {
		if err := r.Died(); err != nil {
			return err
		}
		if _, err := r.Ready(ctx); err != nil {
			return fmt.Errorf("kafkafire: receiver %d at the end: %w", i, err)
		}
	}
	for _, c := range p.cars {
		if err := c.drain(ctx); err != nil {
			return err
		}
	}
	p.say("all that the cars had is durable after %v", time.Since(began).Round(100*time.Millisecond))
	return nil
}

// strikes carries out the plan, each strike in its own time.
func (p *pass) strikes(ctx context.Context, began time.Time) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range plan(p.Seed, p.Length, p.Cars) {
		g.Go(func() error { // ends with the strike
			if err := clock.Sleep(ctx, time.Until(began.Add(s.At))); err != nil {
				return err
			}
			p.say("%v", s)
			return p.strike(ctx, s)
		})
	}
	return g.Wait()
}

func (p *pass) count(n *int) {
	p.mu.Lock()
	*n++
	p.mu.Unlock()
}

func (p *pass) strike(ctx context.Context, s strike) error {
	switch s.Kind {
	case killReceiver:
		if err := p.receivers[s.Target].Died(); err != nil {
			return err
		}
		p.count(&p.res.ReceiverKills)
		if err := p.receivers[s.Target].Kill(); err != nil {
			return err
		}
		if err := clock.Sleep(ctx, s.Length); err != nil {
			return err
		}
		return p.receivers[s.Target].Start()
	case killBroker:
		return p.killBroker(ctx, s)
	case restartCar:
		p.count(&p.res.CarRestarts)
		return p.cars[s.Target].restart(ctx, s.Length)
	case moveCar:
		return p.move(ctx, s)
	}
	return p.freeze(ctx, s)
}

func (p *pass) killBroker(ctx context.Context, s strike) error {
	p.broker.Lock()
	defer p.broker.Unlock()
	p.count(&p.res.BrokerKills)
	if err := p.brokers.kill(s.Target); err != nil {
		return err
	}
	if err := clock.Sleep(ctx, s.Length); err != nil {
		return err
	}
	return p.brokers.restart(ctx)
}

// move lets a car have one receiver alone, then the other one, then both.
func (p *pass) move(ctx context.Context, s strike) error {
	p.count(&p.res.Moves)
	one := p.both()[s.Target%2:][:1]
	other := p.both()[1-s.Target%2:][:1]
	for _, addrs := range [][]string{one, other} {
		if err := p.cars[s.Target].connect(addrs); err != nil {
			return err
		}
		if err := clock.Sleep(ctx, s.Length/2); err != nil {
			return err
		}
	}
	return p.cars[s.Target].connect(p.both())
}

// freeze stops a receiver for longer than its session lives; then it must come
// back by itself.
func (p *pass) freeze(ctx context.Context, s strike) error {
	r := p.receivers[s.Target]
	p.count(&p.res.Freezes)
	pid := r.PID()
	if err := r.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	err := clock.Sleep(ctx, s.Length)
	if err := errors.Join(err, r.Signal(syscall.SIGCONT)); err != nil {
		return err
	}
	woken := time.Now()
	ready, err := p.awake(ctx, r, pid)
	if err != nil {
		return fmt.Errorf("kafkafire: receiver %d after a freeze: %w", s.Target, err)
	}
	if ready {
		p.say("receiver %d was frozen for %v and is ready %v later", s.Target, s.Length.Round(time.Millisecond), time.Since(woken).Round(10*time.Millisecond))
	}
	return nil
}

// awake waits until a process serves in every role; it is false when the plan has
// killed that process before.
func (p *pass) awake(ctx context.Context, r *instance.Instance, pid int) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, wakeLimit)
	defer cancel()
	if err := clock.Sleep(ctx, wakeLearns); err != nil {
		return false, err
	}
	for {
		st, err := r.Status(ctx)
		switch {
		case r.PID() != pid:
			return false, nil
		case err == nil && st.Ready:
			return true, nil
		case err == nil:
			err = fmt.Errorf("it waits: %s", strings.Join(st.Waits, "; "))
		}
		if died := r.Died(); died != nil {
			return false, died
		}
		if clock.Sleep(ctx, wakePoll) != nil {
			return false, err
		}
	}
}

// compare lets the other client judge.
func (p *pass) compare(ctx context.Context) error {
	job, err := json.Marshal(map[string]any{
		"brokers": strings.Join(p.brokers.addresses(), ","), "prefix": p.Prefix, "group": p.Prefix + "-sequence",
		"truth": p.path("truth"), "window": p.Window > 0, "limit_s": settleLimit.Seconds(),
	})
	if err == nil {
		err = os.WriteFile(p.path("job.json"), job, 0o644)
	}
	if err != nil {
		return fmt.Errorf("kafkafire: job: %w", err)
	}
	cmd := exec.CommandContext(ctx, p.Python, "-B", filepath.Join(p.Scripts, "check_kafka.py"), "--job", p.path("job.json"))
	cmd.Stderr = p.Progress
	out, runErr := cmd.Output()
	var got struct {
		Missing    int64 `json:"missing"`
		Duplicates int64 `json:"duplicates"`
		OutOfOrder int64 `json:"out_of_order"`
		found
	}
	if err := json.Unmarshal(out, &got); err != nil {
		return fmt.Errorf("kafkafire: the comparison printed %.200q: %w", out, errors.Join(err, runErr))
	}
	p.res.Missing, p.res.Duplicates, p.res.OutOfOrder, p.res.found = got.Missing, got.Duplicates, got.OutOfOrder, got.found
	if runErr != nil {
		return fmt.Errorf("%w: %w", errWrong, runErr)
	}
	return nil
}
