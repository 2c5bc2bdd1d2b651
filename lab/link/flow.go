package link

import (
	"context"
	"io"
	"net"
	"time"
)

// chunk bounds one read: a packet's payload, so that a slow link still trickles.
const chunk = 1448

// window bounds the chunks of one connection inside the relay, 5.9 MB: far more
// than the model's queue, it only stops a receiver that does not read.
const window = 4096

// flow is one direction of one connection.
type flow struct {
	lane     *lane
	id       uint64
	dst, src net.Conn
	credit   chan struct{} // one token per chunk inside
	out      chan []byte   // chunks that came out; an empty one is the end
}

// read gives what src sends to the model. At the end of src it offers an empty
// chunk, which ends the writer after all before it.
func (f *flow) read(ctx context.Context, r *Relay, gone <-chan struct{}, cancel func()) {
	for {
		b := make([]byte, chunk)
		n, err := f.src.Read(b)
		if n > 0 && !f.offer(ctx, r, gone, b[:n]) {
			break
		}
		if err != nil {
			f.offer(ctx, r, gone, nil)
			break
		}
	}
	select {
	case <-gone: // nobody hears this connection; its own end is all there is to wait for
		_, _ = io.Copy(io.Discard, f.src)
		_ = f.src.Close()
	case <-ctx.Done():
		cancel()
	default:
	}
}

// offer gives one chunk to the model, when there is room for it, and again when
// it was lost. It returns false if it cannot.
func (f *flow) offer(ctx context.Context, r *Relay, gone <-chan struct{}, b []byte) bool {
	select {
	case f.credit <- struct{}{}:
	case <-gone:
		return false
	case <-ctx.Done():
		return false
	}
	for {
		changed := r.change() // before the attempt, so that no change is missed
		retry, done := f.lane.offer(Packet{b, f.id})
		if done {
			return true
		}
		t := time.NewTimer(retry)
		select {
		case <-t.C:
		case <-changed:
		case <-gone:
		case <-ctx.Done():
		}
		t.Stop()
		select {
		case <-gone:
			return false
		case <-ctx.Done():
			return false
		default:
		}
	}
}

// write sends what comes out to dst. It cancels the connection's ctx at the end
// of the stream.
func (f *flow) write(ctx context.Context, gone <-chan struct{}, cancel func()) {
	for {
		select {
		case b := <-f.out:
			<-f.credit
			f.lane.bytes.Add(int64(len(b)))
			if len(b) > 0 {
				if _, err := f.dst.Write(b); err == nil {
					continue
				}
			}
			cancel()
			return
		case <-gone:
			return
		case <-ctx.Done():
			return
		}
	}
}
