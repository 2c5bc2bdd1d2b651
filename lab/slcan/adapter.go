package slcan

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"time"

	"telemetry/sensors/can"
)

// The journey of a frame: bus (wire.go) takes it from the feed and, when it is
// due, writes its line into the adapter's buffer; pump writes the buffer to the
// pty while a host has it open. Commands come the other way: listen reads them,
// the device answers into the same buffer. hosts follows who has the port open.

// Config says how the adapter and its bus behave. The zero value, with a feed, is
// a CANUSB whose bus waits for its host and which is fed as fast as it is read.
type Config struct {
	Link      string   // path of a symbolic link to the port, as /dev/serial/by-id has; empty: none
	Firmware  Firmware //
	Feed      Feed     // nil: a silent bus
	Speed     float64  // times as fast as the stamps of the feed; 0: as fast as the host reads, stamped as put on the bus
	BusRuns   bool     // the bus waits for nobody: frames are lost while the channel is closed or the buffer full
	StaysOpen bool     // the channel stays open when the host closes the port
	Rate      int      // bit rate of the bus; another one in the adapter hears only errors; 0: any will do
	Buffer    int      // bytes of the adapter's buffer; 0 means 4096
	Refuses   string   // first letters of commands that it doesn't know
	DriftPPM  float64  // how much faster the adapter's clock runs
	StartNS   int64    // of the adapter's clock when it gets power
	Noise     Noise
	Seed      uint64
	Clock     can.Clock
	// Transmitted is called with each frame that the host puts on the bus, in
	// order. While it blocks, the adapter takes no command. nil: nobody hears them.
	Transmitted func(can.Frame)
	Log         *slog.Logger // nil: nothing is logged
}

const defaultBuffer = 4096

// Adapter is an emulated adapter. Its methods are safe for concurrent use.
type Adapter struct {
	cfg      Config
	log      *slog.Logger
	busWake  chan struct{} // capacity 1: the bus should look again
	pumpWake chan struct{} // capacity 1: the pump should look again

	mu       sync.Mutex
	dev      device // guarded by mu, as all below
	plug     *plug  // nil: not plugged in
	powered  int64  // boot time at which the device got power
	reading  bool   // a host has the port open
	settling bool   // it is gone, and what it has read is being found out
	fifo     []byte // to the host
	appended int64  // bytes that the fifo took in this host's time
	written  int64  // of them, written to the pty
	pumping  bool   // the pump is writing
	stalled  int64  // boot time until which nothing is said
	hostFrom int    // index in truth of the first frame of this host's time
	truth    []Sent
	queue    []can.Frame // the frame to come, behind those to be repeated
	blocked  bool        // the bus waits for the host
	fed      bool        // the feed is at its end
	first    int64       // stamp of the feed's first frame
	origin   int64       // boot time of it, moved by each wait
	begun    bool
	rng      *rand.Rand
	stats    Stats
	idle     *sync.Cond // of mu: the pump has stopped writing
}

// plug is one stay of the adapter in its socket.
type plug struct {
	*pty
	gone chan struct{}
	wg   sync.WaitGroup
}

// New returns an adapter that is not plugged in. It starts nothing.
func New(cfg Config) (*Adapter, error) {
	if cfg.Clock == nil || cfg.Speed < 0 {
		return nil, errors.New("slcan: the emulated adapter needs a clock, and a speed that is not negative")
	}
	if cfg.Buffer == 0 {
		cfg.Buffer = defaultBuffer
	}
	a := &Adapter{
		cfg: cfg, log: cfg.Log, rng: rand.New(rand.NewPCG(cfg.Seed, 0x51ca4)),
		busWake: make(chan struct{}, 1), pumpWake: make(chan struct{}, 1),
	}
	if a.log == nil {
		a.log = slog.New(slog.DiscardHandler)
	}
	a.idle = sync.NewCond(&a.mu)
	a.dev = newDevice(cfg.Firmware, cfg.Refuses)
	return a, nil
}

// Path returns how a host names the port: the link, or the pty. It is empty
// while the adapter is not plugged in and has no link.
func (a *Adapter) Path() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.cfg.Link != "":
		return a.cfg.Link
	case a.plug != nil:
		return a.plug.path
	}
	return ""
}

// Run plays the feed on the bus until ctx ends. Then it unplugs the adapter.
func (a *Adapter) Run(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- a.bus(ctx) }() // ends with ctx
	return errors.Join(<-done, a.Unplug())
}

// prioritize prefers the calling thread, unless the bus is as fast as its host:
// then it would leave the host nothing.
func (a *Adapter) prioritize() {
	if a.cfg.Speed > 0 {
		prioritize()
	}
}

// Plug gives the adapter power and a port. It does nothing if it has them.
func (a *Adapter) Plug() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.plug != nil {
		return nil
	}
	tty, err := openPTY()
	if err != nil {
		return err
	}
	if a.cfg.Link != "" {
		if err := relink(tty.path, a.cfg.Link); err != nil {
			return errors.Join(fmt.Errorf("slcan: link the port: %w", err), tty.close())
		}
	}
	p := &plug{pty: tty, gone: make(chan struct{})}
	a.plug, a.reading, a.powered = p, false, a.cfg.Clock.BootNS()
	a.dev = newDevice(a.cfg.Firmware, a.cfg.Refuses)
	p.wg.Go(func() { p.watch(func(open bool) { a.hosts(p, open) }) }) // these end when Unplug closes the pty
	p.wg.Go(func() { a.listen(p) })
	p.wg.Go(func() { a.pump(p) })
	a.log.Info("adapter plugged in", "port", tty.path)
	return nil
}

// Unplug takes the adapter away: the port is gone, what the host had not read
// is lost. It does nothing if it is away.
func (a *Adapter) Unplug() error { return a.unplug(false) }

// UnplugInLine is Unplug in the middle of a frame's line: the host has read its
// first half. It does nothing but Unplug while no channel is open.
func (a *Adapter) UnplugInLine() error { return a.unplug(true) }

func (a *Adapter) unplug(inLine bool) error {
	a.mu.Lock()
	p := a.plug
	if p == nil {
		a.mu.Unlock()
		return nil
	}
	half := 0
	if inLine && a.dev.open && a.reading {
		a.stopPump(p)
		var err error
		if half, err = p.master.WriteString("t1238112233"); err == nil {
			p.waitRead(time.Second)
		}
	}
	a.endHost(p, half)
	a.dev.open = false
	a.plug = nil
	err := p.close()
	close(p.gone)
	a.mu.Unlock()
	if a.cfg.Link != "" {
		if e := os.Remove(a.cfg.Link); e != nil && !os.IsNotExist(e) {
			err = errors.Join(err, e)
		}
	}
	p.wg.Wait()
	a.log.Info("adapter unplugged", "port", p.path)
	return err
}

// wake tells a loop to look again.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// hosts follows who has the port open.
func (a *Adapter) hosts(p *plug, open bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.plug != p || a.reading == open {
		return
	}
	if a.reading = open; open {
		a.stats.Hosts++
	} else {
		a.endHost(p, 0)
		if err := p.reset(); err != nil {
			a.log.Error("port not reset", "error", err)
		}
		if !a.cfg.StaysOpen {
			a.dev.open = false
		}
	}
	wake(a.pumpWake)
	wake(a.busWake)
}

// stopPump makes the pump give up its write. Called with mu held; the pump must
// not be woken before it may write again.
func (a *Adapter) stopPump(p *plug) {
	for a.pumping {
		_ = p.master.SetWriteDeadline(time.Unix(1, 0))
		a.idle.Wait()
	}
	_ = p.master.SetWriteDeadline(time.Time{})
}

// endHost settles what the host has read and what not. The last bytes written,
// as many as extra says, were of no frame. Called with mu held.
func (a *Adapter) endHost(p *plug, extra int) {
	a.reading, a.settling = false, true // mu is free while the pump stops
	a.stopPump(p)
	mine := a.truth[a.hostFrom:]
	markRead(mine, a.written-max(0, int64(p.takeBack()-extra)))
	var again []can.Frame
	for i := range mine {
		if mine[i].Fate != Buffered {
			continue
		}
		if mine[i].Fate = Unread; !a.cfg.BusRuns {
			mine[i].Fate = Repeated
			again = append(again, mine[i].Frame)
		}
	}
	a.queue = append(again, a.queue...)
	a.blocked = a.blocked || len(again) > 0
	a.fifo, a.appended, a.written, a.hostFrom = a.fifo[:0], 0, 0, len(a.truth)
	a.settling = false
}

// listen reads commands and answers them.
func (a *Adapter) listen(p *plug) {
	buf := make([]byte, 256)
	for {
		n, err := p.master.Read(buf)
		a.mu.Lock()
		if a.plug == p {
			for _, c := range buf[:n] {
				a.append([]byte(a.dev.input(c)))
			}
			a.stats.Transmitted += len(a.dev.sent)
		}
		gone := a.plug != p
		sent := a.dev.sent
		a.dev.sent = nil
		a.mu.Unlock()
		for _, f := range sent {
			if f.StampNS = a.cfg.Clock.BootNS(); a.cfg.Transmitted != nil {
				a.cfg.Transmitted(f)
			}
		}
		wake(a.pumpWake)
		wake(a.busWake)
		if err != nil || gone {
			return // unplugged
		}
	}
}

// append puts bytes into the buffer. Called with mu held.
func (a *Adapter) append(b []byte) {
	a.fifo = append(a.fifo, b...)
	a.appended += int64(len(b))
}

// pump writes the buffer to the pty while a host has it open, on a thread of its
// own as bus.
func (a *Adapter) pump(p *plug) {
	runtime.LockOSThread()
	a.prioritize()
	var chunk []byte
	for {
		a.mu.Lock()
		rest := time.Duration(a.stalled - a.cfg.Clock.BootNS())
		chunk = chunk[:0]
		if a.plug == p && a.reading && rest <= 0 {
			chunk = append(chunk, a.fifo[:min(len(a.fifo), 512)]...)
		}
		a.pumping = len(chunk) > 0
		a.mu.Unlock()
		if len(chunk) == 0 {
			if rest <= 0 {
				rest = time.Hour
			}
			timer := time.NewTimer(rest)
			select {
			case <-p.gone:
				timer.Stop()
				return
			case <-a.pumpWake:
			case <-timer.C:
			}
			timer.Stop()
			continue
		}
		n, err := p.master.Write(chunk)
		a.mu.Lock()
		a.pumping = false
		a.fifo = a.fifo[:copy(a.fifo, a.fifo[n:])]
		a.written += int64(n)
		a.idle.Broadcast()
		a.mu.Unlock()
		wake(a.busWake)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			<-p.gone
			return
		}
	}
}
