package headline

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"time"

	"telemetry/sensors/packed"
)

// Send plays the plan that RunUDP made: a simulated car's rows, 16 bits each, at
// the car's pace. It prints a report to out.
func Send(ctx context.Context, plan string, out io.Writer) error {
	var p udpPlan
	if err := json.Unmarshal([]byte(plan), &p); err != nil {
		return fmt.Errorf("headline: plan of the sender: %w", err)
	}
	s, err := newSender(&p)
	if err != nil {
		return fmt.Errorf("headline: sender: %w", err)
	}
	rep, err := s.run(ctx)
	if err != nil {
		return fmt.Errorf("headline: sender: %w", err)
	}
	return json.NewEncoder(out).Encode(rep)
}

// sender holds the datagrams of all windows, ready but for number and time.
type sender struct {
	plan  *udpPlan
	conns []net.Conn
	data  [windows][][]byte // by window and stream
}

// Places of what changes in a datagram's head.
const (
	sequenceAt = 8
	tickAt     = 16
)

func newSender(p *udpPlan) (*sender, error) {
	s := &sender{plan: p}
	for _, a := range p.Addrs {
		c, err := net.Dial("udp", a)
		if err != nil {
			return nil, err
		}
		s.conns = append(s.conns, c)
	}
	rows, err := pool(Config{Channels: p.Channels, RateHz: p.RateHz, Rows: p.Rows})
	if err != nil {
		return nil, err
	}
	packets := make([]*packed.Packet, p.streams())
	for i := range packets {
		if packets[i], err = p.packet(i); err != nil {
			return nil, err
		}
	}
	for w := range rows {
		for i, packet := range packets {
			width, first := p.width(i), i*p.StreamChannels
			words := make([]int64, 0, width*p.Rows)
			for r := range p.Rows {
				words = append(words, rows[w].Values[r*p.Channels+first:][:width]...)
			}
			s.data[w] = append(s.data[w], packet.Append(nil, 0, 0, words))
		}
	}
	return s, nil
}

// run sends for the plan's time. Each stream has its own moment within a window.
func (s *sender) run(ctx context.Context) (*sendReport, error) {
	p := s.plan
	streams := p.streams()
	total := p.Seconds * p.RateHz / p.Rows * streams
	windowNS := int64(p.Rows) * 1_000_000_000 / int64(p.RateHz)
	rep := &sendReport{}
	start, cpu := time.Now(), processTime()
	for n := range total {
		w, i := n/streams, n%streams
		due := time.Duration(int64(w)*windowNS + windowNS*int64(i)/int64(streams))
		if wait := due - time.Since(start); wait > time.Millisecond {
			time.Sleep(wait)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		} else {
			rep.LateMS = max(rep.LateMS, -float64(wait)/1e6)
		}
		b := s.data[w%windows][i]
		put(b[sequenceAt:], uint64(w), 4)
		put(b[tickAt:], uint64(int64(w)*windowNS), 8)
		if _, err := s.conns[i%len(s.conns)].Write(b); err != nil {
			return nil, err
		}
		rep.Datagrams++
		rep.Samples += uint64(p.width(i) * p.Rows)
	}
	rep.Seconds = max(time.Since(start).Seconds(), float64(p.Seconds))
	rep.CPU = (processTime() - cpu).Seconds()
	return rep, nil
}

// put writes a number of n bytes, little endian.
func put(b []byte, v uint64, n int) { copy(b, packed.AppendWord(nil, int64(v), packed.U64, false)[:n]) }
