package modemsim

import (
	"errors"
	"io"
	"strings"
	"sync"
	"time"
)

// ErrOffBus is returned while the modem is not on its bus.
var ErrOffBus = errors.New("modemsim: modem is off its bus")

// maxQueue bounds what a port holds for a reader that does not read: a storm of
// codes is cut off there, as a module's buffer does.
const maxQueue = 1024

// port is one connection: a goroutine reads commands and answers them one at a
// time, another writes.
type port struct {
	m    *Modem
	c    io.ReadWriteCloser
	out  chan string
	done chan struct{}
	once sync.Once
}

// Serve answers commands on c until either end closes it, which Serve does when
// the modem leaves its bus.
func (m *Modem) Serve(c io.ReadWriteCloser) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heal()
	if !m.onBus {
		return errors.Join(ErrOffBus, c.Close())
	}
	p := &port{m: m, c: c, out: make(chan string, maxQueue), done: make(chan struct{})}
	m.ports[p] = true
	m.wg.Go(p.write) // ends when done closes
	m.wg.Go(p.read)  // ends when c closes
	return nil
}

func (p *port) hangUp() {
	p.once.Do(func() {
		close(p.done)
		_ = p.c.Close()
	})
}

func (p *port) send(lines ...string) {
	for _, l := range lines {
		select {
		case p.out <- "\r\n" + l + "\r\n":
		default:
		}
	}
}

func (p *port) write() {
	storm := time.NewTicker(100 * time.Millisecond)
	defer storm.Stop()
	for {
		var s string
		select {
		case <-p.done:
			return
		case s = <-p.out:
		case <-storm.C:
			if !p.m.has(func(f Fault) bool { return f.Storm }) {
				continue
			}
			s = "\r\nRDY\r\n\r\n+QIND: SMS DONE\r\n"
		}
		step := len(s)
		if p.m.has(func(f Fault) bool { return f.Pieces }) {
			step = 1
		}
		for len(s) > 0 {
			if _, err := io.WriteString(p.c, s[:min(step, len(s))]); err != nil {
				return
			}
			s = s[min(step, len(s)):]
		}
	}
}

func (p *port) read() {
	defer func() {
		p.m.mu.Lock()
		delete(p.m.ports, p)
		p.m.mu.Unlock()
		p.hangUp()
	}()
	var line []byte
	buf := make([]byte, 256)
	for {
		n, err := p.c.Read(buf)
		if err != nil {
			return
		}
		for _, c := range buf[:n] {
			if c != '\r' {
				line = append(line, c)
				continue
			}
			cmd := strings.TrimSpace(string(line))
			line = line[:0]
			if !p.answer(cmd) {
				return
			}
		}
	}
}

// answer handles one command; false ends the port.
func (p *port) answer(cmd string) bool {
	f := p.m.current()
	if cmd == "" {
		return true
	}
	if f.Deaf {
		return true
	}
	if f.Echo {
		p.send(cmd)
	}
	if f.Garbage {
		p.send("\x00\xff~!§$%&", "$GPRMC,,V,,,,,,,,,,N*53")
	}
	if f.Late > 0 && !p.wait(f.Late) {
		return false
	}
	if f.Errors && cmd != "AT" {
		p.send("ERROR")
		return true
	}
	lines, took := p.m.command(cmd)
	if took > 0 && !p.wait(took) {
		return false
	}
	p.send(lines...)
	return true
}

// wait passes the time of a command; false when the port hung up meanwhile.
func (p *port) wait(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.done:
		return false
	}
}

func (m *Modem) current() Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heal()
	return m.fault
}

func (m *Modem) has(is func(Fault) bool) bool { return is(m.current()) }
