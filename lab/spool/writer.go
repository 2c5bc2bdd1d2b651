package spool

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"telemetry/spool"
	"telemetry/wire"
)

// Lines that a child prints, by their first letter:
//
//	E counter nonce                       its epoch
//	A lane counter nonce seq crc          acknowledged: the uplink could see it
//	S lane counter nonce seq              the cloud has it, told to the spool right after this line
//	H lane counter nonce seq crc          read back; crc is of the payload
//	C lane counter nonce seq              a control record, read back
//	L lane counter nonce first last why   a loss record names these
//	X text                                what must not be: a wrong or a foreign payload
//	J json                                the report of Open, or the state at the end
//	D                                     done

// lines is a child's standard output. Every batch of lines is one write, so that
// a killed child leaves whole lines and one cut one.
type lines struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func (l *lines) say(flush bool, format string, a ...any) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.w, format+"\n", a...)
	if flush {
		return l.w.Flush()
	}
	return nil
}

func idText(id wire.ID) string {
	return fmt.Sprintf("%s %d %d %d", id.Stream.Lane, id.Stream.Epoch.Counter, id.Stream.Epoch.Nonce, id.Seq)
}

// writer is one life of a car: it appends, and is its own uplink and cloud.
type writer struct {
	c   ChildSpec
	sp  *spool.Spool
	out *lines
	rnd *rand.Rand // of the appending goroutine

	mu   sync.Mutex
	crcs map[wire.ID]uint32 // of payloads that are not acknowledged yet
	mute bool               // nothing more is acknowledged
}

func writeChild(ctx context.Context, c ChildSpec, stdout io.Writer) error {
	sp, report, err := spool.Open(c.config())
	if err != nil {
		return err
	}
	w := &writer{
		c: c, sp: sp, out: &lines{w: bufio.NewWriterSize(stdout, 64<<10)},
		rnd: rand.New(rand.NewPCG(c.Seed, 1)), crcs: map[wire.ID]uint32{},
	}
	if err := w.out.say(true, "E %d %d", sp.Epoch().Counter, sp.Epoch().Nonce); err != nil {
		return err
	}
	if line, err := json.Marshal(report); err == nil {
		err = w.out.say(true, "J %s", line)
		if err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ran, watched := make(chan error, 1), make(chan error, 1)
	go func() { ran <- sp.Run(ctx) }()       // ends with ctx
	go func() { watched <- w.watch(ctx) }()  // ends with ctx
	go func() { <-ctx.Done(); sp.Close() }() // frees an append that is blocked
	if err := w.append(ctx); err != nil {
		return err
	}
	return w.end(ctx, cancel, ran, watched)
}

// end makes the last batches durable and says how things stand.
func (w *writer) end(ctx context.Context, cancel func(), ran, watched <-chan error) error {
	limit, stop := context.WithTimeout(ctx, time.Duration(max(30, w.c.PatienceS))*time.Second)
	defer stop()
	serr := w.sp.Sync(limit)
	if serr != nil && !errors.Is(serr, spool.ErrNotDurable) {
		return serr
	}
	if w.c.HoldAfter {
		if err := w.out.say(true, "D"); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	st := w.sp.Stats()
	cancel()
	err := errors.Join(<-ran, <-watched)
	line, jerr := json.Marshal(st)
	return errors.Join(err, jerr, w.sp.Close(), w.out.say(true, "J %s", line), w.out.say(true, "D"))
}

// append makes batches of both lanes: most of the full one.
func (w *writer) append(ctx context.Context) error {
	count := map[wire.Lane]uint64{}
	start, sent := time.Now(), 0
	for i := 0; w.c.Batches == 0 || i < w.c.Batches+w.c.Silent; i++ {
		if i == w.c.Batches && w.c.Silent > 0 {
			if err := w.hush(ctx); err != nil {
				return err
			}
		}
		lane, size := wire.LaneFull, w.c.Min
		if d := w.c.Max - w.c.Min; d > 0 {
			size += w.rnd.IntN(d + 1)
		}
		if i%5 == 4 {
			lane, size = wire.LaneCritical, payloadHead+w.rnd.IntN(100)
		}
		count[lane]++
		b := make([]byte, max(size, payloadHead))
		makePayload(b, tag{epoch: w.sp.Epoch(), lane: lane, n: count[lane]})
		if err := w.put(lane, b); err != nil {
			return err
		}
		sent += len(b)
		if w.c.RateMBs > 0 {
			ahead := time.Duration(float64(sent)/(w.c.RateMBs*1e6)*1e9) - time.Since(start)
			if ahead > 0 {
				time.Sleep(ahead)
			}
		}
	}
	return nil
}

// hush ends the acknowledging: what follows is written and never promised.
func (w *writer) hush(ctx context.Context) error {
	if err := w.sp.Sync(ctx); err != nil {
		return err
	}
	for { // the watcher has told of everything
		w.mu.Lock()
		left := len(w.crcs)
		w.mute = w.mute || left == 0
		w.mu.Unlock()
		if left == 0 {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}

// put appends one payload. The watcher can see the batch before its checksum is
// noted, so the note comes under the watcher's lock.
func (w *writer) put(lane wire.Lane, b []byte) error {
	now := w.c.config().Clock.BootNS()
	w.mu.Lock()
	defer w.mu.Unlock()
	id, err := w.sp.Append(wire.Body{Lane: lane, FirstNS: now, LastNS: now, Samples: 1, Payload: b})
	if err != nil {
		return err
	}
	w.crcs[id] = crcOf(b)
	return nil
}

// watch is uplink and cloud: what Next shows is acknowledged, some of it is read
// and settled.
func (w *writer) watch(ctx context.Context) error {
	rnd := rand.New(rand.NewPCG(w.c.Seed, 2))
	var at [4]wire.ID
	for {
		for _, lane := range []wire.Lane{wire.LaneCritical, wire.LaneFull} {
			for {
				it, ok := w.sp.Next(lane, at[lane])
				if !ok {
					break
				}
				at[lane] = it.ID
				if err := w.seen(it, rnd); err != nil {
					return err
				}
			}
		}
		if err := w.flush(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-w.sp.Wake():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func (w *writer) flush() error {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	return w.out.w.Flush()
}

func (w *writer) seen(it wire.Item, rnd *rand.Rand) error {
	if it.ID.Stream.Epoch != w.sp.Epoch() || it.Control {
		return nil
	}
	w.mu.Lock()
	crc, known := w.crcs[it.ID]
	if !w.mute {
		delete(w.crcs, it.ID)
	}
	mute := w.mute
	w.mu.Unlock()
	if !known {
		return w.out.say(true, "X phantom %s", idText(it.ID))
	}
	if mute {
		return nil
	}
	if err := w.out.say(false, "A %s %d", idText(it.ID), crc); err != nil {
		return err
	}
	if rnd.Float64() >= w.c.Settle {
		return nil
	}
	sealed, err := w.sp.Read(it.ID, nil)
	if err != nil {
		if errors.Is(err, spool.ErrGone) {
			return w.out.say(true, "X gone %s: %v", idText(it.ID), err)
		}
		return nil // the card had a bad moment
	}
	if b, _, err := wire.Parse(sealed); err != nil || b.Header.ID() != it.ID {
		return w.out.say(true, "X wrong %s: %v", idText(it.ID), err)
	}
	if err := w.out.say(true, "S %s", idText(it.ID)); err != nil {
		return err
	}
	w.sp.Settle(it.ID.Stream, wire.Ranges{{First: it.ID.Seq, Last: it.ID.Seq}})
	return nil
}
