package uplink

import (
	"testing"
	"testing/synctest"
)

// slowConn takes a message over a long time, and counts it from the begin on.
type slowConn struct {
	given, taken chan struct{}
}

func (c *slowConn) Send(string, []byte) error { c.given <- struct{}{}; <-c.taken; return nil }
func (c *slowConn) Close() error              { return nil }

// TestWhatAConnectionWasGivenWaitsForItNoMore: a message counts with the link's writer
// until the connection has it, and with the connection from then on.
func TestWhatAConnectionWasGivenWaitsForItNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &slowConn{given: make(chan struct{}), taken: make(chan struct{})}
		u, r, queue := &Uplink{}, &running{}, make(chan job, 2)
		for _, n := range []int{1000, 300} {
			j := job{Send: Send{Payload: make([]byte, n)}}
			r.waits.Add(int64(n))
			r.left.Add(1)
			queue <- j
		}
		close(queue)
		go u.write(connKey{}, r, c, queue) // ends with the queue
		for _, want := range []int64{300, 0} {
			<-c.given
			if got := r.waits.Load(); got != want {
				t.Errorf("%d bytes wait beside the message that the connection has, want %d", got, want)
			}
			c.taken <- struct{}{}
		}
		synctest.Wait()
		if got := r.sent.Load(); got != 2 {
			t.Errorf("%d messages were sent, want 2", got)
		}
	})
}
