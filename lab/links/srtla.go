package links

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"telemetry/lab/netns"
	"telemetry/wire"
)

// srtla is BELABOX's bonding of SRT: its source is at $SRTLA_DIR and is built
// here, srt-live-transmit comes with SRT's tools. All messages go as datagrams
// over one SRT stream. It has no congestion control, so that saturation means
// what it can bear, and its latency is fixed beforehand.

// srtlaDir names the folder with the source.
const srtlaDir = "SRTLA_DIR"

const (
	// srtlaShare of the mean capacity is offered when as much as possible is asked.
	srtlaShare = 0.8
	// Latencies of SRT: what a kill needs at least, and what saturation needs to
	// send again what was lost.
	srtlaKillMS     = 200
	srtlaSaturateMS = 500

	datagramBytes  = 1316 // SRT's payload in live mode
	datagramHeader = 24   // lane, parts, part, message, due
)

// Ports inside the two namespaces, which are the run's own.
const (
	carUDP   = 5001 // load to the SRT caller
	carSRT   = 5002 // SRT caller to srtla_send
	farSRTLA = 5003 // srtla_send to srtla_rec
	farSRT   = 5004 // srtla_rec to the SRT listener
	farUDP   = 5005 // SRT listener to the reader
)

// srtlaRun is one run over started processes.
type srtlaRun struct {
	p       *peerRun
	parts   map[uint32]int // still missing, by message
	started []*exec.Cmd
}

// srtla sets the processes up and carries the load.
func (p *peerRun) srtla(ctx context.Context) (err error) {
	load := p.t.load
	if load.FullBitS == 0 {
		for _, spec := range p.t.specs {
			load.FullBitS += srtlaShare * meanRate(spec)
		}
	}
	s := &srtlaRun{p: p, parts: map[uint32]int{}}
	dir, err := os.MkdirTemp("", "srtla")
	if err != nil {
		return fmt.Errorf("links: srtla: %w", err)
	}
	defer os.RemoveAll(dir)
	if err := s.build(ctx, dir); err != nil {
		return err
	}
	var far net.PacketConn
	err = p.t.bed.Far.Do(func() (err error) {
		far, err = new(net.ListenConfig).ListenPacket(ctx, "udp4", loopback(farUDP))
		return err
	})
	if err != nil {
		return fmt.Errorf("links: srtla: %w", err)
	}
	done := make(chan struct{})
	go func() { defer close(done); s.read(far) }() // ends when far is closed
	defer func() {
		s.stop()
		_ = far.Close()
		<-done
	}()
	if err := s.start(dir); err != nil {
		return err
	}
	var near net.Conn
	err = p.t.bed.Car.Do(func() (err error) {
		near, err = new(net.Dialer).DialContext(ctx, "udp4", loopback(carUDP))
		return err
	})
	if err != nil {
		return fmt.Errorf("links: srtla: %w", err)
	}
	defer near.Close()
	writing, stop := context.WithCancel(ctx)
	written := make(chan struct{})
	go func() { defer close(written); s.write(writing, near, load) }() // ends with writing
	err = p.t.play(ctx)
	stop()
	<-written
	return errors.Join(err, sleepUntil(ctx, load.EndNS+int64(2*time.Second)))
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// build makes the two programs from a copy of the source.
func (s *srtlaRun) build(ctx context.Context, dir string) error {
	src := os.Getenv(srtlaDir)
	if src == "" {
		return fmt.Errorf("%w: srtla: $%s is not set (want the folder with its source)", errNoPeer, srtlaDir)
	}
	if _, err := exec.LookPath("srt-live-transmit"); err != nil {
		return fmt.Errorf("%w: srtla: %w (it is in the package srt-tools)", errNoPeer, err)
	}
	for _, c := range [][]string{
		{"-c", "common.c"},
		{"-o", "srtla_send", "srtla_send.c", "common.o"},
		{"-o", "srtla_rec", "srtla_rec.c", "common.o"},
	} {
		for i, a := range c {
			if filepath.Ext(a) == ".c" {
				c[i] = filepath.Join(src, a)
			}
		}
		cmd := exec.CommandContext(ctx, "cc", append([]string{"-O2", `-DVERSION="lab"`}, c...)...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: srtla: build: %w: %s", errNoPeer, err, tail(string(out)))
		}
	}
	return nil
}

// start runs the four processes: receiver first.
func (s *srtlaRun) start(dir string) error {
	bed := s.p.t.bed
	latency := srtlaSaturateMS
	if len(plan(s.p.t.which, len(s.p.t.specs), s.p.t.seconds)) > 0 {
		latency = srtlaKillMS
	}
	var ips []byte
	for i, path := range bed.Paths() {
		ips = fmt.Appendf(ips, "%s\n", path.Addr())
		table := strconv.Itoa(100 + i)
		for _, args := range [][]string{
			{"route", "replace", "default", "dev", path.Device(), "table", table},
			{"rule", "add", "from", path.Addr().String(), "lookup", table},
		} {
			cmd := exec.Command("ip", args...)
			if err := bed.Car.Start(cmd); err != nil {
				return fmt.Errorf("links: srtla: %w", err)
			}
			if err := cmd.Wait(); err != nil {
				return fmt.Errorf("links: srtla: ip %v: %w", args, err)
			}
		}
	}
	list := filepath.Join(dir, "ips")
	if err := os.WriteFile(list, ips, 0o600); err != nil {
		return fmt.Errorf("links: srtla: %w", err)
	}
	option := fmt.Sprintf("latency=%d", latency)
	for _, c := range []struct {
		in   *netns.Space
		name string
		args []string
	}{
		{bed.Far, "srt-live-transmit", []string{"-q", "srt://" + loopback(farSRT) + "?mode=listener&" + option, "udp://" + loopback(farUDP)}},
		{bed.Far, filepath.Join(dir, "srtla_rec"), []string{strconv.Itoa(farSRTLA), "127.0.0.1", strconv.Itoa(farSRT)}},
		{bed.Car, filepath.Join(dir, "srtla_send"), []string{strconv.Itoa(carSRT), bed.FarAddr().String(), strconv.Itoa(farSRTLA), list}},
		{bed.Car, "srt-live-transmit", []string{"-q", "udp://" + loopback(carUDP), "srt://" + loopback(carSRT) + "?mode=caller&" + option}},
	} {
		cmd := exec.Command(c.name, c.args...)
		if err := c.in.Start(cmd); err != nil {
			return fmt.Errorf("%w: srtla: %s: %w", errNoPeer, c.name, err)
		}
		s.started = append(s.started, cmd)
	}
	return nil
}

func (s *srtlaRun) stop() {
	for _, c := range s.started {
		_ = c.Process.Kill() // one that has ended is no fault
		_ = c.Wait()
	}
}

// write sends each message when it is due, cut into datagrams.
func (s *srtlaRun) write(ctx context.Context, c net.Conn, l load) {
	every := map[wire.Lane]int64{wire.LaneCritical: int64(criticalEvery), wire.LaneLive: int64(liveEvery), wire.LaneFull: int64(l.fullEvery())}
	next := map[wire.Lane]int64{wire.LaneCritical: l.StartNS, wire.LaneLive: l.StartNS + int64(liveEvery)/2, wire.LaneFull: l.StartNS}
	buf := make([]byte, datagramBytes)
	for n := uint32(0); ; n++ {
		lane := wire.LaneCritical
		for _, x := range wire.Lanes {
			if next[x] < next[lane] {
				lane = x
			}
		}
		due := next[lane]
		if due >= l.EndNS || sleepUntil(ctx, due) != nil {
			return
		}
		next[lane] += every[lane]
		left := laneBytes[lane]
		const room = datagramBytes - datagramHeader
		parts := (left + room - 1) / room
		for i := range parts {
			body := min(left, room)
			left -= body
			buf[0], buf[1], buf[2] = byte(lane), byte(parts), byte(i)
			binary.LittleEndian.PutUint32(buf[4:], n)
			binary.LittleEndian.PutUint64(buf[8:], uint64(due))
			if _, err := c.Write(buf[:datagramHeader+body]); err != nil && errors.Is(err, net.ErrClosed) {
				return // anything else loses a datagram, as UDP does
			}
		}
	}
}

// read notes messages of which all parts have come.
func (s *srtlaRun) read(c net.PacketConn) {
	buf := make([]byte, 2*datagramBytes)
	for {
		n, _, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		lane := wire.Lane(buf[0])
		if n < datagramHeader || !lane.Valid() || buf[1] == 0 {
			continue
		}
		now, id := bootNS(), binary.LittleEndian.Uint32(buf[4:])
		left, ok := s.parts[id]
		if !ok {
			left = int(buf[1])
		}
		left--
		s.parts[id] = left
		s.p.mu.Lock()
		if s.p.t.counts(now) {
			s.p.bytes += int64(n)
		}
		if left == 0 {
			s.p.arrivals = append(s.p.arrivals, peerArrival{lane, int64(binary.LittleEndian.Uint64(buf[8:])), now})
		}
		s.p.mu.Unlock()
	}
}
