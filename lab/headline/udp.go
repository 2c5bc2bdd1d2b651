package headline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"runtime"
	"sync"
	"time"

	"telemetry/internal/clock"
	"telemetry/sensors"
	"telemetry/sensors/packed"
	"telemetry/sensors/udp"
	"telemetry/wire"
)

// UDPConfig says how a stream over the loopback is taken in.
type UDPConfig struct {
	Config
	StreamChannels int      // channels of one stream; 0 means 2,000: a datagram of 15 rows has 60 kB
	Sockets        int      // each is read by one source; 0 means 2
	Sender         []string // command of the sending process; its last argument will be the plan
}

// receiveBuffer is a second of the largest car: a stall of the machine is no loss.
const receiveBuffer = 256 << 20

// UDPResult is what became of a stream.
type UDPResult struct {
	Channels         int     `json:"channels"`
	RateHz           int     `json:"rate_hz"`
	Cores            int     `json:"cores"` // of the machine: sender and receiver share them
	Seconds          float64 `json:"seconds"`
	Sent             uint64  `json:"samples_sent"`
	Taken            uint64  `json:"samples_taken"` // encoded and durable in the spool
	SamplesPerSecond float64 `json:"samples_per_second"`
	Lost             uint64  `json:"datagrams_lost"`    // by their numbers
	Dropped          uint64  `json:"datagrams_dropped"` // by the kernel, the receive buffer being full
	Datagrams        uint64  `json:"datagrams"`
	Batches          uint64  `json:"batches"`
	BitsPerSample    float64 `json:"bits_per_sample"`
	ReceiverCores    float64 `json:"receiver_cpu_cores"` // CPU seconds a second of this process: socket, encoder and spool
	SenderCores      float64 `json:"sender_cpu_cores"`   // of the sending process, the loopback's share included
	SenderLateMS     float64 `json:"sender_late_max_ms"`
}

// udpPlan is what the sending process is told.
type udpPlan struct {
	Addrs          []string
	Channels       int
	StreamChannels int
	RateHz         int
	Rows           int
	Seconds        int
}

// sendReport is what it says at its end.
type sendReport struct {
	Samples   uint64
	Datagrams uint64
	Seconds   float64
	CPU       float64
	LateMS    float64
}

func (p *udpPlan) streams() int { return (p.Channels + p.StreamChannels - 1) / p.StreamChannels }

// width returns the channels of stream i.
func (p *udpPlan) width(i int) int {
	return min(p.StreamChannels, p.Channels-i*p.StreamChannels)
}

// packet plans the datagrams of stream i.
func (p *udpPlan) packet(i int) (*packed.Packet, error) {
	rows, err := packed.NewLayout([]packed.Field{{Name: fmt.Sprintf("s%02d", i), Kind: packed.I16, Count: p.width(i)}})
	if err != nil {
		return nil, err
	}
	return udp.NewPacket(uint16(i), rows)
}

// RunUDP starts a sender, takes its stream in for cfg.Seconds of car time at the
// car's own pace, and encodes and spools all of it in this process.
func RunUDP(ctx context.Context, cfg UDPConfig) (*UDPResult, error) {
	cfg.Config = cfg.withDefaults()
	if cfg.StreamChannels == 0 {
		cfg.StreamChannels = 2000
	}
	if cfg.Sockets == 0 {
		cfg.Sockets = 2
	}
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("headline: %w", err)
	}
	if n := udp.HeadBytes + 2*cfg.StreamChannels*cfg.Rows; n > udp.MaxDatagram {
		return nil, fmt.Errorf("headline: datagrams of %d bytes (want at most %d)", n, udp.MaxDatagram)
	}
	plan := udpPlan{Channels: cfg.Channels, StreamChannels: cfg.StreamChannels, RateHz: cfg.RateHz, Rows: cfg.Rows, Seconds: cfg.Seconds}
	store, err := openSpool(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("headline: %w", err)
	}
	res, err := takeIn(ctx, cfg, plan, store)
	return res, errors.Join(err, store.remove())
}

// takeIn runs the sources and the sender.
func takeIn(ctx context.Context, cfg UDPConfig, plan udpPlan, store *diskSpool) (*UDPResult, error) {
	sources, sinks, err := newSources(&plan, cfg, store)
	if err != nil {
		return nil, fmt.Errorf("headline: %w", err)
	}
	runCtx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	failed := make(chan error, len(sources))
	for i, s := range sources {
		wg.Go(func() { // ends with stop
			if err := s.Run(runCtx, sinks[i]); err != nil && runCtx.Err() == nil {
				failed <- err
			}
		})
	}
	cpu := processTime()
	rep, err := sendFrom(ctx, cfg.Sender, plan, sources)
	if err == nil {
		err = drained(ctx, sources, rep, failed)
	}
	stop()
	wg.Wait()
	if err = errors.Join(err, store.finish(ctx)); err != nil {
		return nil, fmt.Errorf("headline: udp: %w", err)
	}
	res := &UDPResult{
		Channels: plan.Channels, RateHz: plan.RateHz, Cores: runtime.NumCPU(), Seconds: rep.Seconds, Sent: rep.Samples,
		ReceiverCores: (processTime() - cpu).Seconds() / rep.Seconds, SenderCores: rep.CPU / rep.Seconds, SenderLateMS: rep.LateMS,
	}
	var bytes uint64
	for i, s := range sources {
		res.Lost += counterOf(s, "datagrams_lost")
		res.Dropped += counterOf(s, "datagrams_dropped")
		res.Datagrams += counterOf(s, "datagrams")
		res.Taken += sinks[i].samples
		res.Batches += sinks[i].batches
		bytes += sinks[i].bytes
	}
	res.SamplesPerSecond = float64(res.Taken) / rep.Seconds
	res.BitsPerSample = 8 * float64(bytes) / float64(max(1, res.Taken))
	return res, nil
}

// newSources makes one source a socket, with the streams dealt out among them.
func newSources(plan *udpPlan, cfg UDPConfig, store *diskSpool) (sources []*udp.Source, sinks []*encodeSink, err error) {
	for k := range cfg.Sockets {
		var streams []udp.Stream
		for i := k; i < plan.streams(); i += cfg.Sockets {
			packet, err := plan.packet(i)
			if err != nil {
				return nil, nil, err
			}
			st, err := packed.NewStream(packed.StreamConfig{
				Name: fmt.Sprintf("s%02d", i), Packet: packet, Group: len(streams), RateMilliHz: uint64(plan.RateHz) * 1000, TickNS: 1,
			})
			if err != nil {
				return nil, nil, err
			}
			streams = append(streams, udp.Stream{ID: uint16(i), Rows: st})
		}
		if len(streams) == 0 {
			break
		}
		addr, err := freeAddr()
		if err != nil {
			return nil, nil, err
		}
		s, err := udp.New(udp.Config{Listen: addr, ReceiveBuffer: receiveBuffer, Streams: streams, Clock: clock.System{}})
		if err != nil {
			return nil, nil, err
		}
		plan.Addrs = append(plan.Addrs, addr.String())
		sources = append(sources, s)
		sinks = append(sinks, newEncodeSink(s.Groups(), speeds[cfg.Speeds[0]], k, store))
	}
	return sources, sinks, nil
}

func freeAddr() (netip.AddrPort, error) {
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr := c.LocalAddr().String()
	return netip.MustParseAddrPort(addr), c.Close()
}

// sendFrom runs the sending process to its end.
func sendFrom(ctx context.Context, command []string, plan udpPlan, sources []*udp.Source) (*sendReport, error) {
	for _, s := range sources { // what comes before a socket is open would be lost
		for counterOf(s, "opens") == 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-time.After(time.Millisecond):
			}
		}
	}
	arg, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	out, err := exec.CommandContext(ctx, command[0], append(command[1:len(command):len(command)], string(arg))...).Output()
	if err != nil {
		var ee *exec.ExitError
		if errors.As(err, &ee) {
			return nil, fmt.Errorf("sender: %w: %s", err, ee.Stderr)
		}
		return nil, fmt.Errorf("sender: %w", err)
	}
	rep := &sendReport{}
	return rep, json.Unmarshal(out, rep)
}

// drained waits until every datagram that was sent has come or was dropped.
func drained(ctx context.Context, sources []*udp.Source, rep *sendReport, failed <-chan error) error {
	limit := time.After(10 * time.Second)
	for {
		var came uint64
		for _, s := range sources {
			came += counterOf(s, "datagrams") + counterOf(s, "datagrams_dropped")
		}
		if came >= rep.Datagrams {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case <-limit: // the last dropped ones are counted only once a second
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func counterOf(s *udp.Source, name string) uint64 {
	for _, c := range s.Counters() {
		if c.Name == name {
			return c.Value
		}
	}
	return 0
}

// encodeSink turns rows into batches of the spool, in the source's goroutine.
type encodeSink struct {
	types   [][]wire.ValueType
	base    int // number of the first group
	encoder wire.BlockEncoder
	store   *diskSpool
	buf     []byte

	samples, batches, bytes uint64
}

func newEncodeSink(groups []wire.Group, speed wire.Speed, k int, store *diskSpool) *encodeSink {
	s := &encodeSink{encoder: wire.BlockEncoder{Speed: speed}, base: k * len(groups), store: store}
	for _, g := range groups {
		t := make([]wire.ValueType, len(g.Channels))
		for i, c := range g.Channels {
			t[i] = c.Type
		}
		s.types = append(s.types, t)
	}
	return s
}

// Append encodes and spools r.
func (s *encodeSink) Append(r sensors.Rows) error {
	types := s.types[r.Group]
	for from := 0; from < len(r.Ticks); {
		n := min(len(r.Ticks)-from, 150)
		b := wire.RowBlock{
			Group: uint32(s.base + r.Group), Ticks: r.Ticks[from : from+n], Types: types, Values: r.Values[from*len(types) : (from+n)*len(types)],
		}
		if err := s.block(&b); err != nil {
			return err
		}
		from += n
	}
	return nil
}

func (s *encodeSink) block(b *wire.RowBlock) error {
	for first := 0; first < len(b.Types); {
		var n int
		var err error
		if s.buf, n, err = s.encoder.AppendRows(s.buf[:0], b, first, wire.MaxFullBytes-headerRoom); err != nil {
			return err
		}
		err = s.store.take(wire.Body{
			Lane: wire.LaneFull, Catalogue: wire.CatalogueHash{1}, FirstNS: b.Ticks[0], LastNS: b.Ticks[len(b.Ticks)-1],
			Samples: uint32(n * len(b.Ticks)), Payload: s.buf,
		})
		if err != nil {
			return err
		}
		s.samples += uint64(n * len(b.Ticks))
		s.bytes += uint64(len(s.buf))
		s.batches++
		first += n
	}
	return nil
}

// Event is not looked at: losses are in the counters.
func (s *encodeSink) Event(wire.Event) error { return nil }
