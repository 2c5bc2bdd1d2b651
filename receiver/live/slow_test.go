package live

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/wire"
)

// pipes is a listener of connections without buffers: a reader that stops stops its
// writer at once.
type pipes struct {
	made   chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.made:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// dial opens a stream.
func (p *pipes) dial(t *testing.T, query string) net.Conn {
	t.Helper()
	return p.ask(t, "/api/v1/events?"+query, "")
}

// ask sends a request; headers end with a line break each.
func (p *pipes) ask(t *testing.T, path, headers string) net.Conn {
	t.Helper()
	mine, theirs := net.Pipe()
	p.made <- theirs
	if _, err := fmt.Fprintf(mine, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", path, headers); err != nil {
		t.Fatal(err)
	}
	return mine
}

// virtual runs a server in the bubble of a test.
func virtual(t *testing.T, o Options) (*Server, *pipes) {
	t.Helper()
	o.Source, o.Logger = newLog(), slog.New(slog.DiscardHandler)
	l := &pipes{made: make(chan net.Conn), closed: make(chan struct{})}
	s := &Server{
		opt: o, listen: l, loopback: true,
		store: quietStore(), hashes: make(chan wire.CatalogueHash, 1),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx) }() // ends with ctx
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s, l
}

// viewer reads a stream.
type viewer struct {
	mu     sync.Mutex
	counts map[string]int // guarded by mu: events by name
	paces  []paceFrame    // guarded by mu
	steps  []int64        // guarded by mu: of charts, each new one
}

func (v *viewer) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 4<<20)
	name := ""
	for lines.Scan() {
		if n, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
			name = n
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			continue
		}
		v.mu.Lock()
		v.counts[name]++
		switch name {
		case "pace":
			var p paceFrame
			if json.Unmarshal([]byte(data), &p) == nil {
				v.paces = append(v.paces, p)
			}
		case "charts":
			var f shown
			if json.Unmarshal([]byte(data), &f) == nil && (len(v.steps) == 0 || v.steps[len(v.steps)-1] != f.StepMS) {
				v.steps = append(v.steps, f.StepMS)
			}
		}
		v.mu.Unlock()
	}
}

func (v *viewer) snapshot() (charts int, paces []paceFrame, steps []int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counts["charts"], append(paces, v.paces...), append(steps, v.steps...)
}

// A viewer that stops reading is cut down for itself, is told so, and gets everything
// back; nobody else notices.
func TestASlowViewerSlowsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := virtual(t, Options{})
		row := func() {
			now := time.Now().UnixMilli()
			put(t, s.store, inOrder, now, rowText("c", "full", now, fmt.Sprintf(`,"rpm":%d`, now%1000)))
		}
		row()
		ctx, cancel := context.WithCancel(t.Context())
		fed := make(chan struct{})
		defer func() { cancel(); <-fed }()
		go func() { // ends with ctx
			defer close(fed)
			for ctx.Err() == nil {
				row()
				time.Sleep(10 * time.Millisecond)
			}
		}()
		quick, slow := &viewer{counts: map[string]int{}}, &viewer{counts: map[string]int{}}
		a := l.dial(t, "car=c&charts=0&channels=0&points=600")
		go quick.read(a) // ends with a
		b := l.dial(t, "car=c&charts=0&channels=0&points=600")
		time.Sleep(3 * time.Second) // b is not read
		if n, paces, _ := quick.snapshot(); n < 55 || len(paces) > 0 {
			t.Errorf("beside one that does not read: %d frames in 3 s, pace %v", n, paces)
		}
		go slow.read(b) // ends with b
		time.Sleep(time.Second)
		_, paces, steps := slow.snapshot()
		if len(paces) != 1 || paces[0].Level != 2 || paces[0].Why == "" || paces[0].EveryMS != 250 {
			t.Errorf("after 3 s: %+v", paces)
		}
		if last := steps[len(steps)-1]; last != 50 {
			t.Errorf("steps of %v ms, want 20 and then 50", steps)
		}
		before, _, _ := slow.snapshot()
		time.Sleep(2 * time.Second)
		if after, _, _ := slow.snapshot(); after-before < 7 || after-before > 9 {
			t.Errorf("%d frames in 2 s at every 250 ms", after-before)
		}
		time.Sleep(time.Minute)
		_, paces, steps = slow.snapshot()
		if last := paces[len(paces)-1]; last.Level != 0 || last.EveryMS != 50 || last.Points != 600 || last.Why != "" {
			t.Errorf("after a minute of reading: %+v", paces)
		}
		if last := steps[len(steps)-1]; last != 20 {
			t.Errorf("steps of %v ms, want 20 again", steps)
		}
		if n := s.Counters(); n.ViewersSlowed != 1 {
			t.Errorf("%d viewers slowed", n.ViewersSlowed)
		}
		// One that never reads again is let go.
		c := l.dial(t, "car=c&charts=0")
		time.Sleep(2 * writeLimit)
		if n := s.Counters(); n.Streams != 2 {
			t.Errorf("%d streams, want those two that read", n.Streams)
		}
		for _, conn := range []net.Conn{a, b, c} {
			_ = conn.Close()
		}
	})
}

// What a stream tells beside values: holes and laps when they change, and nothing
// when they don't.
func TestAStreamTellsHolesAndLaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := virtual(t, Options{})
		now := time.Now().UnixMilli()
		rowOf := func(to sink, seq uint64, ms int64) {
			put(t, s.store, to, now, strings.Replace(rowText("c", "full", ms, `,"rpm":1`), `"seq":9`, fmt.Sprintf(`"seq":%d`, seq), 1))
		}
		rowOf(inOrder, 10, now-400)
		v := &viewer{counts: map[string]int{}}
		conn := l.dial(t, "car=c&charts=0")
		go v.read(conn) // ends with conn
		count := func(name string) int {
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.counts[name]
		}
		time.Sleep(3 * time.Second)
		if h, p := count("coverage"), count("laps"); h != 1 || p != 1 {
			t.Errorf("at first: %d coverage, %d laps", h, p)
		}
		rowOf(inOrder, 12, now-200)
		takeSessions(t, s.store, says("Q1", "session_start", 0, `,"state":"running"`))
		time.Sleep(2 * time.Second)
		if h, p := count("coverage"), count("laps"); h != 2 || p != 2 {
			t.Errorf("after a hole and a session: %d coverage, %d laps", h, p)
		}
		rowOf(late, 11, now-300)
		time.Sleep(2 * time.Second)
		if h := count("coverage"); h != 3 {
			t.Errorf("after it was filled: %d coverage", h)
		}
		_ = conn.Close()
	})
}

// A link that changes its state is told with the next frame, not with the next turn of
// the car.
func TestAChangeOfALinkIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := virtual(t, Options{})
		ms := time.Now().UnixMilli()
		state := func(n int) {
			ms++
			put(t, s.store, inOrder, ms, strings.Replace(rowText("c", "full", ms, fmt.Sprintf(`,"link_a_state":%d`, n)), "Engine", "agent.links", 1))
		}
		state(2)
		v := &viewer{counts: map[string]int{}}
		conn := l.dial(t, "car=c")
		go v.read(conn) // ends with conn
		cars := func() int {
			synctest.Wait()
			v.mu.Lock()
			defer v.mu.Unlock()
			return v.counts["car"]
		}
		time.Sleep(frameEvery/2 + 2*carFrames*frameEvery)
		before := cars()
		for _, n := range []int{3, 3, 3} { // one change
			state(n)
			time.Sleep(frameEvery)
		}
		if got := cars() - before; got != 1 {
			t.Errorf("the car was told %d times within %v after a change, want once", got, 3*frameEvery)
		}
		_ = conn.Close()
	})
}

// What waits in the kernel for a viewer that reads little is not much: it hears of its
// pace after so many bytes.
func TestASlowViewerHearsOfItSoon(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		opt: Options{Source: newLog(), Logger: slog.New(slog.DiscardHandler)}, listen: l, loopback: true,
		store: quietStore(), hashes: make(chan wire.CatalogueHash, 1),
	}
	ctx, cancel := context.WithCancel(t.Context())
	served, fed := make(chan error, 1), make(chan struct{})
	go func() { served <- s.serve(ctx) }() // ends with ctx
	const channels = 60
	text, ids := func(ms int64) string {
		var b strings.Builder
		for i := range channels {
			fmt.Fprintf(&b, `,"c%d":%d`, i, ms*int64(i+1)%99_991)
		}
		return b.String()
	}, ""
	row := func(ms int64) { put(t, s.store, inOrder, ms, rowText("c", "full", ms, text(ms))) }
	row(time.Now().UnixMilli())
	for i := range channels {
		ids += fmt.Sprintf(",%d", i)
	}
	go func() { // ends with ctx
		defer close(fed)
		for last := time.Now().UnixMilli(); ctx.Err() == nil; time.Sleep(5 * time.Millisecond) {
			for now := time.Now().UnixMilli(); last < now; {
				last++
				row(last)
			}
		}
	}()
	defer func() {
		cancel()
		<-fed
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	d := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10) })
	}}
	conn, err := d.DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET /api/v1/events?car=c&span_ms=1000&points=1000&charts=%s HTTP/1.1\r\nHost: localhost\r\n\r\n", ids[1:]); err != nil {
		t.Fatal(err)
	}
	// A server that gets little of the processor writes little more than the viewer reads,
	// and tells later; with the buffers that Linux gives by itself it is more than 2 MiB.
	const most = 1 << 20
	read, tail, b := 0, "", make([]byte, 2<<10)
	for !strings.Contains(tail, "event: pace") {
		n, err := conn.Read(b)
		if read += n; err != nil || read > most {
			t.Fatalf("no word of the pace in %d bytes: %v", read, err)
		}
		tail = tail[max(0, len(tail)-100):] + string(b[:n])
		time.Sleep(10 * time.Millisecond) // the viewer is slow: 200 kB/s
	}
}

// A viewer whose connection takes longer for one frame than a write may take keeps its
// stream for as long as it reads on.
func TestASlowViewerGetsAGreatFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := virtual(t, Options{})
		now := time.Now().UnixMilli()
		for i := range int64(1600) {
			put(t, s.store, inOrder, now, rowText("c", "full", now-1600+i, fmt.Sprintf(`,"rpm":%d.123456789`, i*7919%99_991)))
			if i == 0 {
				s.store.read(&chartFrame{}, "c", []plot{{id: 0}}, 1, 1600, true, now) // charted from now on
			}
		}
		conn := l.dial(t, "car=c&charts=0&span_ms=1600&points=1600")
		defer conn.Close()
		b, read := make([]byte, 4<<10), 0
		for begun := time.Now(); time.Since(begun) < 3*writeLimit; time.Sleep(time.Second) {
			n, err := conn.Read(b)
			if read += n; err != nil {
				t.Fatalf("the stream has ended after %v and %d bytes: %v", time.Since(begun), read, err)
			}
		}
	})
}
