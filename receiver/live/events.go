package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"

	"telemetry/receiver/live/coverage"
	"telemetry/receiver/live/strip"
)

// Pace of a stream, in frames of frameEvery.
const (
	frameEvery  = 50 * time.Millisecond
	pushEvery   = 8 * time.Millisecond // between two "values"
	coverFrames = 4                    // between two looks at holes and laps
	carFrames   = 10                   // between two "car", unless a link changes its state
	listFrames  = 40                   // between two "cars"
	// writeLimit is how long a browser may take for pieceSize bytes: a slow one may take
	// longer for a great frame.
	writeLimit = 10 * time.Second
	pieceSize  = 16 << 10
	// streamBuffer is what may wait in the kernel for a slow browser, in bytes, of which
	// Linux makes twice as much: more of it would only be older, and until it is full the
	// browser counts as quick. It is enough for 10 Mbit/s over 50 ms.
	streamBuffer = 32 << 10
	// retryMS is how long a browser waits before it comes back.
	retryMS = 1000
)

// events serves one stream. Every frame is made of the present state, so a
// browser that is slow to read misses frames and nothing waits for it.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	v, err := parseView(r)
	if errors.Is(err, errTooMany) {
		s.refused.Add(1)
		http.Error(w, "a stream has "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if v.car != "" {
		if _, ok := s.store.detail(v.car, time.Now().UnixMilli()); !ok {
			s.unknown(w, v.car)
			return
		}
	}
	if s.streams.Add(1) > MaxStreams {
		s.streams.Add(-1)
		s.refused.Add(1)
		w.Header().Set("Retry-After", "10")
		http.Error(w, fmt.Sprintf("%d pages are open already: close one", MaxStreams), http.StatusServiceUnavailable)
		return
	}
	defer func() {
		s.look() // interest outlives the stream a little
		s.streams.Add(-1)
	}()
	if c, ok := r.Context().Value(connKey{}).(interface{ SetWriteBuffer(int) error }); ok {
		_ = c.SetWriteBuffer(streamBuffer) // what cannot be set stays as it is
	}
	w.Header().Set("Content-Type", "text/event-stream")
	st := stream{s: s, w: w, rc: http.NewResponseController(w), view: v, laps: -1}
	for _, id := range v.charts {
		st.plots = append(st.plots, plot{id: id})
	}
	if st.begin() != nil {
		return
	}
	st.run(r.Context())
}

// connKey is the context's key of a request's connection.
type connKey struct{}

// stream is one open stream, owned by its request.
type stream struct {
	s    *Server
	w    http.ResponseWriter
	rc   *http.ResponseController
	view view
	pace pace

	version uint64    // of the car, at the last values
	pushed  time.Time // when values were last looked at
	plots   []plot
	stepMS  int64 // of what was sent of charts; 0: nothing
	charts  chartFrame
	holes   []coverage.Hole // that were sent
	covered bool            // holes have been sent
	laps    int64           // version of the sessions that were sent; -1: none
	// linkChanges are the changes of links' states that the last "car" knew of.
	linkChanges uint64
	buffer      []byte
	waited      time.Duration // for the viewer to take what was written
}

// run sends frames until the browser has gone, or the car.
func (t *stream) run(ctx context.Context) {
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	push := time.NewTimer(0)
	defer push.Stop()
	<-push.C
	for n, last := 0, time.Now(); ; n++ {
		changed := t.changes() // before the frame, which may miss what comes while it is sent
		if n%int(t.pace.every()/frameEvery) == 0 && (t.frame(n) != nil || t.keepPace() != nil) {
			return
		}
		for waits := true; waits; {
			select {
			case <-ctx.Done():
				return
			case <-changed: // what comes within the next pushEvery goes with it
				changed = nil
				push.Reset(time.Until(t.pushed.Add(t.pushEvery())))
			case <-push.C:
				changed = t.changes()
				if t.push() != nil || t.keepPace() != nil {
					return
				}
			case now := <-tick.C:
				if missed := int64(now.Sub(last)/frameEvery) - 1; missed > 0 {
					t.s.frames.Add(uint64(missed))
				}
				last, waits = now, false
			}
		}
	}
}

// pushEvery is the time between two "values" at the stream's pace.
func (t *stream) pushEvery() time.Duration {
	if t.pace.level == 0 {
		return pushEvery
	}
	return t.pace.every()
}

// keepPace notes how long the viewer let a frame wait, and tells it what it gets from
// now on.
func (t *stream) keepPace() error {
	before, took := t.pace.level, t.waited
	t.waited = 0
	if !t.pace.wrote(took, time.Now()) {
		return nil
	}
	if before == 0 {
		t.s.slowed.Add(1)
	}
	if err := t.send("pace", t.pace.frame(t.view.points)); err != nil {
		return err
	}
	return t.flush()
}

// changes returns what is closed when the stream's channels may have new values.
func (t *stream) changes() <-chan struct{} {
	if len(t.view.ids) == 0 {
		return nil
	}
	return t.s.store.changes(t.view.car)
}

// push sends the channels that have new values.
func (t *stream) push() error {
	now := time.Now()
	// A writer without deadlines is that of a test.
	_ = t.rc.SetWriteDeadline(now.Add(writeLimit))
	if err := t.values(now); err != nil {
		return err
	}
	return t.flush()
}

func (t *stream) values(now time.Time) error {
	values, version, ok := t.s.store.changed(t.view.car, t.view.ids, t.version)
	if !ok {
		return errGone
	}
	t.version, t.pushed = version, now
	if len(values) == 0 {
		return nil
	}
	return t.send("values", valuesFrame{now.UnixMilli(), values})
}

func (t *stream) begin() error {
	_, err := fmt.Fprintf(t.w, "retry: %d\n\n", retryMS)
	return err
}

// valuesFrame is the data of the event "values".
type valuesFrame struct {
	NowMS  int64   `json:"now_ms"`
	Values []Value `json:"values"`
}

var errGone = errors.New("live: the car has been forgotten")

// frame sends what there is to say at frame n.
func (t *stream) frame(n int) error {
	now := time.Now()
	// A writer without deadlines is that of a test.
	_ = t.rc.SetWriteDeadline(now.Add(writeLimit))
	turn := func(frames int) bool { return n%max(frames, int(t.pace.every()/frameEvery)) == 0 }
	var errs []error
	if turn(listFrames) {
		errs = append(errs, t.send("cars", t.s.carList()))
	}
	if t.view.car != "" {
		changes := t.s.store.linkChanges(t.view.car)
		if turn(carFrames) || changes != t.linkChanges {
			t.linkChanges = changes
			d, ok := t.s.store.detail(t.view.car, now.UnixMilli())
			if !ok {
				return errGone
			}
			errs = append(errs, t.send("car", d))
		}
		if err := t.values(now); err != nil {
			return err
		}
		errs = append(errs, t.sendCharts(now.UnixMilli()))
		if turn(coverFrames) {
			errs = append(errs, t.sendHoles(now.UnixMilli()), t.sendLaps())
		}
	}
	errs = append(errs, t.flush())
	return errors.Join(errs...)
}

// sendCharts sends what has changed in the charts; everything, when the steps have.
func (t *stream) sendCharts(nowMS int64) error {
	if len(t.plots) == 0 {
		return nil
	}
	step := strip.Step(t.view.spanMS, t.pace.points(t.view.points))
	if !t.s.store.read(&t.charts, t.view.car, t.plots, step, t.view.spanMS, step != t.stepMS, nowMS) {
		return errGone
	}
	t.stepMS = step
	if len(t.charts.series) == 0 && !t.charts.reset {
		return nil
	}
	t.buffer = t.charts.append(t.buffer[:0])
	return t.write("charts", t.buffer)
}

// sendHoles sends the holes of the charts' span when they have changed.
func (t *stream) sendHoles(wallMS int64) error {
	holes, nowMS := t.s.store.holes(nil, t.view.car, t.view.spanMS, wallMS)
	if t.covered && slices.Equal(holes, t.holes) {
		return nil
	}
	t.holes, t.covered = holes, true
	b := append(t.buffer[:0], `{"now_ms":`...)
	b = strconv.AppendInt(b, nowMS, 10)
	b = append(b, `,"lanes":{"full":`...)
	b = appendHoles(b, holes)
	t.buffer = append(b, "}}"...)
	return t.write("coverage", t.buffer)
}

// sendLaps sends the sessions of the car when they have changed.
func (t *stream) sendLaps() error {
	list, version := t.s.store.laps(t.view.car, t.laps)
	if version == t.laps {
		return nil
	}
	t.laps = version
	return t.send("laps", list)
}

// send writes one event. JSON has no line breaks.
func (t *stream) send(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("live: event %s: %w", name, err)
	}
	return t.write(name, b)
}

func (t *stream) write(name string, b []byte) error {
	began := time.Now()
	_, err := fmt.Fprintf(t.w, "event: %s\ndata: ", name)
	for len(b) > 0 && err == nil {
		n := min(len(b), pieceSize)
		_ = t.rc.SetWriteDeadline(time.Now().Add(writeLimit)) // see frame
		_, err = t.w.Write(b[:n])
		b = b[n:]
	}
	if err == nil {
		_, err = io.WriteString(t.w, "\n\n")
	}
	t.waited += time.Since(began)
	return err
}

func (t *stream) flush() error {
	began := time.Now()
	err := t.rc.Flush()
	t.waited += time.Since(began)
	return err
}

// connOf returns the TCP connection below a connection.
func connOf(c net.Conn) any {
	if t, ok := c.(interface{ NetConn() net.Conn }); ok {
		return t.NetConn()
	}
	return c
}
