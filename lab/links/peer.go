package links

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/wire"
)

// The peers carry the same messages on two connections: one for the full lane,
// one for critical and live, so that no backlog of their own is in front of
// those. A message is a header and as many bytes as its lane has.

// peerHeader is lane, 7 unused bytes, and the time at which the message was due.
const peerHeader = 16

// peerArrival is one message that a peer delivered.
type peerArrival struct {
	lane  wire.Lane
	dueNS int64
	atNS  int64
}

// peerRun is one run of one peer.
type peerRun struct {
	t     *trial
	mptcp bool
	best  string // device of the single TCP

	mu       sync.Mutex
	arrivals []peerArrival // guarded by mu
	bytes    int64         // guarded by mu: read while it counts
}

func (r *run) peer(ctx context.Context, t *trial, who string) (Result, error) {
	p := &peerRun{t: t, mptcp: who == subjectMPTCP}
	switch who {
	case subjectTCP:
		best := 0.0
		for i, s := range t.specs {
			if m := meanRate(s); m > best {
				best, p.best = m, t.bed.Paths()[i].Device()
			}
		}
	}
	if err := p.setUp(); err != nil {
		return Result{}, err
	}
	carry := p.carry
	if who == subjectSRTLA {
		carry = p.srtla
	}
	if err := carry(ctx); err != nil {
		return Result{}, err
	}
	t.freeze()
	res := t.result(who)
	var crit, before, live []float64
	for _, a := range p.arrivals {
		late := float64(a.atNS-a.dueNS) / 1e6
		switch {
		case !t.counts(a.dueNS):
		case a.lane == wire.LaneCritical && t.calm(a.dueNS):
			before = append(before, late)
		case a.lane == wire.LaneCritical:
			crit = append(crit, late)
		case a.lane == wire.LaneLive:
			live = append(live, late)
		}
	}
	t.common(&res, float64(p.bytes), crit, before, live)
	return res, nil
}

// peerRMem is what both ends may buffer: with the kernel's own start value MPTCP
// may stop for good.
const peerRMem = "4096 4194304 6291456"

// setUp tells the car's kernel about buffers and, for MPTCP, about its links.
func (p *peerRun) setUp() error {
	bed := p.t.bed
	if err := errors.Join(
		bed.Car.Sysctl("ipv4.tcp_wmem", "4096 262144 6291456"),
		bed.Car.Sysctl("ipv4.tcp_rmem", peerRMem), bed.Far.Sysctl("ipv4.tcp_rmem", peerRMem),
	); err != nil {
		return err
	}
	if !p.mptcp {
		return nil
	}
	do := func(args ...string) error {
		cmd := exec.Command("ip", append([]string{"mptcp"}, args...)...)
		if err := bed.Car.Start(cmd); err != nil {
			return fmt.Errorf("%w: mptcp: %w", errNoPeer, err)
		}
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("%w: mptcp: ip mptcp %v: %w", errNoPeer, args, err)
		}
		return nil
	}
	errs := []error{do("limits", "set", "subflow", "8", "add_addr_accepted", "8")}
	for _, path := range bed.Paths()[1:] {
		errs = append(errs, do("endpoint", "add", path.Addr().String(), "dev", path.Device(), "subflow"))
	}
	return errors.Join(errs...)
}

// carry runs the load from its begin to its end.
func (p *peerRun) carry(ctx context.Context) error {
	far, err := p.listen(ctx)
	if err != nil {
		return err
	}
	defer far.Close()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, lanes := range [][]wire.Lane{{wire.LaneFull}, {wire.LaneCritical, wire.LaneLive}} {
		near, err := p.dial(ctx, far.Addr().String())
		if err != nil {
			return err
		}
		c, err := far.Accept()
		if err != nil {
			return errors.Join(err, near.Close())
		}
		context.AfterFunc(ctx, func() { _ = near.Close(); _ = c.Close() })
		wg.Go(func() { p.read(c) })                 // these end with their connections,
		wg.Go(func() { p.write(ctx, near, lanes) }) // and those with ctx
	}
	if err := p.t.play(ctx); err != nil {
		return err
	}
	// What is late still arrives, as far as there is time.
	return sleepUntil(ctx, p.t.load.EndNS+int64(2*time.Second))
}

func (p *peerRun) listen(ctx context.Context) (net.Listener, error) {
	var lc net.ListenConfig
	lc.SetMultipathTCP(p.mptcp)
	var ln net.Listener
	err := p.t.bed.Far.Do(func() (err error) {
		ln, err = lc.Listen(ctx, "tcp4", netip.AddrPortFrom(p.t.bed.FarAddr(), 0).String())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("links: peer: %w", err)
	}
	return ln, nil
}

// dial connects from the car, over the best link or over all.
func (p *peerRun) dial(ctx context.Context, addr string) (c net.Conn, err error) {
	d := net.Dialer{Timeout: 5 * time.Second}
	d.SetMultipathTCP(p.mptcp)
	if p.best != "" {
		d.Control = func(_, _ string, raw syscall.RawConn) error {
			return control(raw, func(fd int) error { return unix.BindToDevice(fd, p.best) })
		}
	}
	err = p.t.bed.Car.Do(func() error { c, err = d.DialContext(ctx, "tcp4", addr); return err })
	if err != nil {
		return nil, fmt.Errorf("links: peer: %w", err)
	}
	return c, nil
}

func control(c syscall.RawConn, do func(fd int) error) error {
	var inner error
	err := c.Control(func(fd uintptr) { inner = do(int(fd)) })
	return errors.Join(err, inner)
}

// write sends the messages of some lanes when they are due; a connection that is
// full makes them late. Errors end it: what is missing then is missing.
func (p *peerRun) write(ctx context.Context, c net.Conn, lanes []wire.Lane) {
	l := p.t.load
	next := map[wire.Lane]int64{wire.LaneCritical: l.StartNS, wire.LaneLive: l.StartNS + int64(liveEvery)/2, wire.LaneFull: l.StartNS}
	every := map[wire.Lane]int64{wire.LaneCritical: int64(criticalEvery), wire.LaneLive: int64(liveEvery), wire.LaneFull: int64(l.fullEvery())}
	buf := make([]byte, peerHeader+fullBytes)
	for {
		lane := lanes[0]
		for _, x := range lanes[1:] {
			if next[x] < next[lane] {
				lane = x
			}
		}
		if next[lane] >= l.EndNS || sleepUntil(ctx, next[lane]) != nil {
			return
		}
		due := next[lane]
		if every[lane] == 0 {
			due = bootNS()
			if due >= l.EndNS {
				return
			}
		}
		next[lane] += every[lane]
		b := buf[:peerHeader+laneBytes[lane]]
		b[0] = byte(lane)
		binary.LittleEndian.PutUint64(b[8:], uint64(due))
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}

// read notes what arrives until the connection ends.
func (p *peerRun) read(c net.Conn) {
	r := counted{c, p}
	buf := make([]byte, peerHeader+fullBytes)
	for {
		if _, err := io.ReadFull(r, buf[:peerHeader]); err != nil {
			return
		}
		lane := wire.Lane(buf[0])
		if !lane.Valid() {
			return
		}
		if _, err := io.ReadFull(r, buf[peerHeader:peerHeader+laneBytes[lane]]); err != nil {
			return
		}
		p.mu.Lock()
		p.arrivals = append(p.arrivals, peerArrival{lane, int64(binary.LittleEndian.Uint64(buf[8:])), bootNS()})
		p.mu.Unlock()
	}
}

// counted counts bytes as they come.
type counted struct {
	net.Conn
	p *peerRun
}

// Read implements io.Reader.
func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.p.t.counts(bootNS()) {
		c.p.mu.Lock()
		c.p.bytes += int64(n)
		c.p.mu.Unlock()
	}
	return n, err
}
