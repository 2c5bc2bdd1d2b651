package links

import (
	"context"
	"net"
	"testing"
	"time"

	"telemetry/sensors"
	"telemetry/wire"
)

// tally counts rows by group.
type tally struct{ rows map[int]int }

func (c tally) Append(r sensors.Rows) error { c.rows[r.Group] += len(r.Ticks); return nil }
func (tally) Event(wire.Event) error        { return nil }

// TestRunsLoseNothingOfTheLoad: the full lane comes in runs; over a second that is
// past it is all there, whatever the rate.
func TestRunsLoseNothingOfTheLoad(t *testing.T) {
	for _, bitS := range []float64{0.5e6, 8e6, 40e6} {
		now := bootNS()
		l := load{StartNS: now - int64(time.Second), EndNS: now, FullBitS: bitS}
		c := tally{map[int]int{}}
		if err := (&source{load: l}).Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		const rows = fullBytes / 8 / fullColumns
		want := int(bitS / 8 / fullBytes)
		// The last run is cut off by the end.
		if got, short := c.rows[2]/rows, int(bitS*runEvery.Seconds()/8/fullBytes)+1; got < want-short || got > want+1 {
			t.Errorf("%g bit/s: %d messages of the full lane in a second, want %d", bitS, got, want)
		}
		if c.rows[0] != 10 || c.rows[1] != 10*liveBytes/8/fullColumns {
			t.Errorf("%g bit/s: %v rows of critical and live, want ten messages each", bitS, c.rows)
		}
	}
}

// gap is a connection that loses every n-th datagram.
type gap struct {
	net.Conn
	n, sent int
}

func (g *gap) Write(b []byte) (int, error) {
	if g.sent++; g.n > 0 && g.sent%g.n == 0 {
		return len(b), nil
	}
	return g.Conn.Write(b)
}

// TestDatagramsMakeMessages: a message counts when all of its datagrams came.
func TestDatagramsMakeMessages(t *testing.T) {
	for name, tt := range map[string]struct{ lose, want int }{
		"all of them":        {0, 10 + 10 + 5},
		"every second one":   {2, 5}, // the critical ones are one datagram each, alternating with two of live
		"what is left alone": {1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			far, err := new(net.ListenConfig).ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			if err := far.(*net.UDPConn).SetReadBuffer(1 << 20); err != nil { // holds all of them, also when the reader is slow
				t.Fatal(err)
			}
			near, err := new(net.Dialer).DialContext(t.Context(), "udp4", far.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			now := bootNS()
			l := load{StartNS: now - int64(time.Second), EndNS: now, FullBitS: 5 * fullBytes * 8}
			s := &srtlaRun{p: &peerRun{t: &trial{load: l}}, parts: map[uint32]int{}}
			done := make(chan struct{})
			go func() { defer close(done); s.read(far) }() // ends when far is closed
			g := &gap{Conn: near, n: tt.lose}
			s.write(context.Background(), g, l)
			if tt.lose != 1 { // a last word, after everything else: one more message
				if _, err := near.Write(append([]byte{byte(wire.LaneCritical), 1, 0, 0, 0xff, 0xff, 0xff, 0xff}, make([]byte, 16)...)); err != nil {
					t.Fatal(err)
				}
				for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
					s.p.mu.Lock()
					n := len(s.p.arrivals)
					last := n > 0 && s.p.arrivals[n-1].dueNS == 0
					s.p.mu.Unlock()
					if last {
						break
					}
				}
			}
			_ = far.Close()
			<-done
			_ = near.Close()
			got := len(s.p.arrivals)
			if tt.lose != 1 {
				got--
			}
			if tt.lose == 2 && got < tt.want || tt.lose != 2 && got != tt.want {
				t.Errorf("%d messages of %d datagrams, want %d", got, g.sent, tt.want)
			}
			for _, a := range s.p.arrivals {
				if tt.lose == 2 && a.lane == wire.LaneFull {
					t.Error("a message of the full lane counts without half of its datagrams")
				}
			}
		})
	}
}
