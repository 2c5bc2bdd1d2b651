package live

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"testing"
)

// plain is a connection that only can be closed.
type plain struct {
	net.Conn
	n      int
	closed bool
}

func (p *plain) Close() error { p.closed = true; return nil }

func TestCrowdKeepsWhoIsKnown(t *testing.T) {
	for name, tt := range map[string]struct {
		known []int // of those that came, when the last has
		n     int
		gone  []int
	}{
		"room for all":              {nil, 4, nil},
		"the oldest goes":           {nil, 6, []int{0, 1}},
		"the known stay":            {[]int{0, 1}, 6, []int{2, 3}},
		"all others are known":      {[]int{0, 1, 2, 3}, 6, []int{4, 5}},
		"one that is known in time": {[]int{3}, 7, []int{0, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &crowd{max: 4}
			var all []*plain
			for i := range tt.n {
				p := &plain{n: i}
				all = append(all, p)
				ctx := c.enter(t.Context(), p)
				if slices.Contains(tt.known, i) {
					introduce(ctx)
					introduce(ctx) // each request does
				}
			}
			var gone []int
			for _, p := range all {
				if p.closed {
					gone = append(gone, p.n)
				}
			}
			if !slices.Equal(gone, tt.gone) || c.driven != uint64(len(tt.gone)) {
				t.Errorf("gone: %v, want %v", gone, tt.gone)
			}
			for _, p := range all {
				c.leave(p)
			}
			if len(c.known)+len(c.unknown) != 0 {
				t.Errorf("%d and %d are left", len(c.known), len(c.unknown))
			}
		})
	}
	introduce(context.Background()) // no connection: nothing happens
	c, below := &crowd{max: 1}, &plain{}
	c.enter(t.Context(), tls.Client(below, &tls.Config{InsecureSkipVerify: true}))
	if c.enter(t.Context(), &plain{}); !below.closed {
		t.Error("the connection below TLS is not closed")
	}
}

// Strangers that hold all connections open keep nobody out, and cut no stream off.
func TestIdleConnectionsKeepNobodyOut(t *testing.T) {
	s := start(t, Options{Source: newLog()})
	_, next := open(t, s, "")
	next("cars")
	for range 2 * maxConns {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	eventually(t, "strangers were driven out", func() bool { return s.Counters().Crowded >= maxConns })
	fresh := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := fresh.Get("http://" + s.Addr() + "/api/v1/cars")
	if err != nil {
		t.Fatalf("somebody new: %v", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("somebody new: %s", resp.Status)
	}
	next("cars") // the stream goes on
}
