package netns

import (
	"io"
	"net"
	"testing"
	"time"

	"telemetry/lab/link"
)

// BenchmarkTCP is what the carrier moves at most: one connection over a link
// without a limit.
func BenchmarkTCP(b *testing.B) {
	t := bed(b, Config{Links: links(1, link.Spec{Queue: 8 << 20})})
	const block = 1 << 20
	addr := serve(b, t, func(c net.Conn) {
		buf := make([]byte, block)
		for {
			if _, err := io.ReadFull(c, buf); err != nil {
				return
			}
			if _, err := c.Write(buf[:1]); err != nil {
				return
			}
		}
	})
	c := dial(b, t.Paths()[0], addr)
	buf, one := make([]byte, block), make([]byte, 1)
	b.SetBytes(block)
	before := counters(b, t.Paths()[0])
	for b.Loop() {
		if _, err := c.Write(buf); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(c, one); err != nil {
			b.Fatal(err)
		}
	}
	report(b, t, before)
}

// BenchmarkPackets is how many small packets the carrier moves at most.
func BenchmarkPackets(b *testing.B) {
	t := bed(b, Config{Links: links(1, link.Spec{Queue: 8 << 20})})
	var c net.Conn
	err := t.Car.Do(func() (err error) {
		c, err = net.Dial("udp4", net.JoinHostPort(t.FarAddr().String(), "9")) // nobody listens
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	p, buf := t.Paths()[0], make([]byte, 100)
	before := counters(b, p)
	for b.Loop() {
		_, _ = c.Write(buf) // an error tells that nobody listens
	}
	report(b, t, before)
}

// report adds what came out per second of the benchmark, and what was lost
// before the carrier read it.
func report(b *testing.B, t *Testbed, before Counters) {
	b.Helper()
	after := counters(b, t.Paths()[0])
	sec := b.Elapsed().Seconds()
	packets := after.Up.OutPackets + after.Down.OutPackets - before.Up.OutPackets - before.Down.OutPackets
	b.ReportMetric(float64(packets)/sec, "packets/s")
	b.ReportMetric(float64(after.Unread), "unread")
	l := t.Lateness()
	b.ReportMetric(float64(l.Quantile(0.99)/time.Microsecond), "late_p99_µs")
	b.ReportMetric(float64(l.Max()/time.Microsecond), "late_max_µs")
}
