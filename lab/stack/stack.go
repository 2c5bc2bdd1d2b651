// Package stack runs the real binaries, edgeagent and receiver, as child
// processes with bad links between them: for the demo, end-to-end and crash
// tests.
//
// The entry point is [Start]; [Stack.Close] ends all of it. The package never
// looks into a binary: it writes configuration files, asks the status sockets
// and sends signals, as an operator would.
package stack

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"telemetry/internal/agent"
	"telemetry/internal/status"
	"telemetry/lab/link"
	"telemetry/receiver"
)

// Limits of waiting.
const (
	readyLimit = 30 * time.Second // from a start to the first answer, unless configured
	pollEvery  = 20 * time.Millisecond
	closeLimit = 10 * time.Second // for one child, before it is killed
)

// anyPort lets the system choose a free one of this machine.
const anyPort = "127.0.0.1:0"

// Stack is a running car, its links and a receiver. It is safe for concurrent
// use.
type Stack struct {
	cfg    Config
	relays []*link.Relay
	cancel context.CancelFunc // ends the relays
	wg     sync.WaitGroup     // of the relays

	mu       sync.Mutex
	ports    ports    // guarded by mu
	agent    *process // guarded by mu
	receiver *process // guarded by mu
	err      error    // guarded by mu: the first child that died
	failed   chan struct{}
}

// Start writes the configurations and starts the receiver, then the links, then
// the agent, each when the one before is ready. ctx bounds only the starting.
func Start(ctx context.Context, cfg Config) (*Stack, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("stack: folder for state: %w", err)
	}
	cfg.Dir = dir
	run, cancel := context.WithCancel(context.Background())
	s := &Stack{cfg: cfg, cancel: cancel, failed: make(chan struct{})}
	if err := s.start(ctx, run); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Stack) start(ctx, run context.Context) error {
	s.ports = ports{mqtt: anyPort, live: s.cfg.LiveListen}
	if s.cfg.MQTTHost != "" {
		s.ports.mqtt = net.JoinHostPort(s.cfg.MQTTHost, "0")
	}
	if s.ports.live == "" {
		s.ports.live = anyPort
	}
	if err := s.StartReceiver(ctx); err != nil {
		return err
	}
	mqtt := s.bound().mqtt
	var near []string
	for _, l := range s.cfg.Links {
		if l.Interface != "" {
			s.relays, near = append(s.relays, nil), append(near, cmp.Or(l.Address, mqtt))
			continue
		}
		r, err := link.NewRelay(mqtt, l.Up, l.Down, l.Seed)
		if err != nil {
			return fmt.Errorf("stack: link %s: %w", l.Name, err)
		}
		s.relays = append(s.relays, r)
		near = append(near, cmp.Or(l.Address, r.Addr()))
		s.wg.Go(func() { // ends with run
			if err := r.Run(run); err != nil {
				s.fail(fmt.Errorf("stack: link %s: %w", l.Name, err))
			}
		})
	}
	if err := s.write(agentName, s.cfg.agentYAML(near)); err != nil {
		return err
	}
	return s.StartAgent(ctx)
}

func (s *Stack) write(name string, b []byte) error {
	if err := os.WriteFile(s.cfg.path(name+".yaml"), b, 0o644); err != nil {
		return fmt.Errorf("stack: configuration of %s: %w", name, err)
	}
	return nil
}

// StartReceiver starts the receiver, which must not be running, and waits until
// it is ready. The first start takes free ports, later ones the same again: the
// links lead there.
func (s *Stack) StartReceiver(ctx context.Context) error {
	if err := s.write(receiverName, s.cfg.receiverYAML(s.bound())); err != nil {
		return err
	}
	return s.launch(ctx, receiverName, &s.receiver, func(ctx context.Context) error {
		st, err := s.ReceiverStatus(ctx)
		if err != nil {
			return err
		}
		if !st.Ready {
			return fmt.Errorf("stack: the receiver waits: %s", strings.Join(st.Waits, "; "))
		}
		return s.bind(st.Listen.MQTT, st.Listen.Live, st.Listen.Kafka)
	})
}

// bound returns where the receiver listens, or is to listen.
func (s *Stack) bound() ports {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ports
}

// bind notes where the receiver listens.
func (s *Stack) bind(mqtt, live, kafka string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ports.mqtt = mqtt
	if live != "" {
		s.ports.live = live
	}
	if kafka == "" {
		return nil
	}
	_, port, err := net.SplitHostPort(kafka)
	if err == nil {
		s.ports.kafka, err = strconv.Atoi(port)
	}
	if err != nil {
		return fmt.Errorf("stack: address of the embedded kafka: %w", err)
	}
	return nil
}

// StartAgent starts the agent, which must not be running, and waits until it
// answers.
func (s *Stack) StartAgent(ctx context.Context) error {
	return s.launch(ctx, agentName, &s.agent, func(ctx context.Context) error {
		st, err := s.AgentStatus(ctx)
		if err == nil && st.Epoch == "" {
			err = errors.New("stack: the agent has no epoch yet")
		}
		return err
	})
}

// launch starts one binary into slot and waits until ready has no complaint.
func (s *Stack) launch(ctx context.Context, name string, slot **process, ready func(context.Context) error) error {
	p, err := s.place(name, slot)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(s.cfg.ReadyLimit, readyLimit))
	defer cancel()
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	for {
		if err = ready(ctx); err == nil {
			p.ready.Store(true)
		}
		select {
		case <-p.done:
			return p.died()
		default:
		}
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
		case <-ctx.Done():
			return fmt.Errorf("stack: %s is not ready: %w (%w); the end of its log:\n%s", name, ctx.Err(), err, p.tail())
		case <-t.C:
		}
	}
}

// place starts one binary into slot, which must be free. From when it is ready,
// its end is a failure of the stack.
func (s *Stack) place(name string, slot **process) (*process, error) {
	bin, err := filepath.Abs(filepath.Join(s.cfg.Bin, name))
	if err != nil {
		return nil, fmt.Errorf("stack: binary of %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if *slot != nil && !(*slot).ended() {
		return nil, fmt.Errorf("stack: %s is running already", name)
	}
	var start func(*exec.Cmd) error
	if name == agentName {
		start = s.cfg.StartAgent
	}
	p, err := launch(name, bin, s.LogPath(name), []string{"run", "--config", s.cfg.path(name + ".yaml")}, start, func(p *process) {
		if p.ready.Load() {
			s.fail(p.died())
		}
	})
	if err != nil {
		return nil, err
	}
	*slot = p
	return p, nil
}

func (s *Stack) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.failed)
	}
}

// Failed is closed when a child or a link has ended by itself; Err says why.
func (s *Stack) Failed() <-chan struct{} { return s.failed }

// Err returns the first unexpected end of a part, usually a *DiedError, or nil.
func (s *Stack) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Relay returns link i in the order of the configuration, nil if it is bound to a
// device.
func (s *Stack) Relay(i int) *link.Relay { return s.relays[i] }

// LogPath returns the file with what edgeagent or receiver said.
func (s *Stack) LogPath(name string) string { return s.cfg.path(name + ".log") }

// Brokers returns the addresses of the Kafka cluster in use.
func (s *Stack) Brokers() []string {
	if len(s.cfg.Brokers) > 0 {
		return append([]string(nil), s.cfg.Brokers...)
	}
	return []string{fmt.Sprintf("127.0.0.1:%d", s.bound().kafka)}
}

// LiveURL returns the address of the live page, or "" when it is off.
func (s *Stack) LiveURL() string {
	live := s.bound().live
	if live == "off" || live == anyPort {
		return ""
	}
	return "http://" + live + "/"
}

// AgentStatus asks the agent.
func (s *Stack) AgentStatus(ctx context.Context) (agent.Status, error) {
	var st agent.Status
	err := status.Call(ctx, s.cfg.path(agentName+".sock"), http.MethodGet, "/v1/status", &st)
	return st, err
}

// ReceiverStatus asks the receiver.
func (s *Stack) ReceiverStatus(ctx context.Context) (receiver.Status, error) {
	var st receiver.Status
	err := status.Call(ctx, s.cfg.path(receiverName+".sock"), http.MethodGet, "/v1/status", &st)
	return st, err
}

// Drain stops the agent's sources and waits until everything they gave is
// durable in Kafka. It returns the agent's counters after that, which are final.
func (s *Stack) Drain(ctx context.Context, limit time.Duration) (agent.Status, error) {
	var st agent.Status
	err := status.Call(ctx, s.cfg.path(agentName+".sock"), http.MethodPost, "/v1/drain?timeout="+url.QueryEscape(limit.String()), &st)
	return st, err
}

func (s *Stack) process(slot **process) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return *slot
}

// StopAgent sends SIGTERM and returns the exit code; after limit the agent is
// killed, which is an error.
func (s *Stack) StopAgent(limit time.Duration) (code int, err error) {
	return stop(s.process(&s.agent), limit)
}

// StopReceiver does the same to the receiver, and with it to the embedded Kafka.
func (s *Stack) StopReceiver(limit time.Duration) (code int, err error) {
	return stop(s.process(&s.receiver), limit)
}

// KillAgent sends SIGKILL and waits for the end.
func (s *Stack) KillAgent() error { return kill(s.process(&s.agent)) }

// KillReceiver sends SIGKILL and waits for the end.
func (s *Stack) KillReceiver() error { return kill(s.process(&s.receiver)) }

// SignalAgent sends the agent a signal that does not end it, as SIGSTOP and
// SIGCONT. Nothing happens if it does not run.
func (s *Stack) SignalAgent(sig syscall.Signal) error { return send(s.process(&s.agent), sig) }

// SignalReceiver does the same to the receiver.
func (s *Stack) SignalReceiver(sig syscall.Signal) error { return send(s.process(&s.receiver), sig) }

// AgentPID and ReceiverPID return the process numbers of the latest lives, or 0.
func (s *Stack) AgentPID() int { return pid(s.process(&s.agent)) }

// ReceiverPID is documented at AgentPID.
func (s *Stack) ReceiverPID() int { return pid(s.process(&s.receiver)) }

func stop(p *process, limit time.Duration) (int, error) {
	if p == nil {
		return 0, nil
	}
	return p.stop(limit)
}

func kill(p *process) error {
	if p == nil {
		return nil
	}
	return p.kill()
}

func send(p *process, sig syscall.Signal) error {
	if p == nil {
		return nil
	}
	return p.send(sig)
}

func pid(p *process) int {
	if p == nil {
		return 0
	}
	return p.pid
}

// Close stops the agent, the receiver and the links, in this order, and waits
// for them. What does not end in time is killed, which is an error.
func (s *Stack) Close() error {
	_, err := s.StopAgent(closeLimit)
	_, rerr := s.StopReceiver(closeLimit)
	s.cancel()
	s.wg.Wait()
	return errors.Join(err, rerr)
}

// Kill ends everything at once, without a chance to finish anything.
func (s *Stack) Kill() error {
	err := errors.Join(s.KillAgent(), s.KillReceiver())
	s.cancel()
	s.wg.Wait()
	return err
}
