package live

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Pace of a stream, in frames of frameEvery.
const (
	frameEvery = 100 * time.Millisecond
	pushEvery  = 8 * time.Millisecond // between two "values"
	carFrames  = 5                    // between two "car"
	listFrames = 20                   // between two "cars"
	fullFrames = 50                   // between two whole charts: late rows fill holes
	// chartBack is how many steps of a chart are sent again with the newest.
	chartBack = 2000 / StepMS
	// writeLimit is how long a browser may take for one frame.
	writeLimit = 10 * time.Second
	// retryMS is how long a browser waits before it comes back.
	retryMS = 1000
)

// view is what one stream asks for.
type view struct {
	car   string // "": the list of cars only
	ids   []int
	chart int // id, -1: none
}

var errTooMany = errors.New("too many channels")

// parseView reads the query of a stream.
func parseView(r *http.Request) (view, error) {
	q := r.URL.Query()
	v := view{car: q.Get("car"), chart: -1}
	if c := q.Get("chart"); c != "" {
		id, err := number(c, 0)
		if err != nil {
			return v, fmt.Errorf("chart is %q (want the id of a channel)", c)
		}
		v.chart = id
	}
	list := q.Get("channels")
	if list == "" {
		return v, nil
	}
	if strings.Count(list, ",") >= MaxView {
		return v, errTooMany
	}
	for w := range strings.SplitSeq(list, ",") {
		id, err := number(w, -1)
		if err != nil || id < 0 {
			return v, fmt.Errorf("channels has %q (want ids of channels with commas between them)", w)
		}
		v.ids = append(v.ids, id)
	}
	return v, nil
}

// events serves one stream. Every frame is made of the present state, so a
// browser that is slow to read misses frames and nothing waits for it.
func (s *Server) events(w http.ResponseWriter, r *http.Request) {
	v, err := parseView(r)
	if errors.Is(err, errTooMany) {
		s.refused.Add(1)
		http.Error(w, fmt.Sprintf("a stream has at most %d channels", MaxView), http.StatusServiceUnavailable)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if v.car != "" {
		if _, ok := s.store.detail(v.car, 0); !ok {
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
	w.Header().Set("Content-Type", "text/event-stream")
	st := stream{s: s, w: w, rc: http.NewResponseController(w), view: v}
	if st.begin() != nil {
		return
	}
	st.run(r.Context())
}

// run sends frames until the browser has gone, or the car.
func (t *stream) run(ctx context.Context) {
	tick := time.NewTicker(frameEvery)
	defer tick.Stop()
	push := time.NewTimer(0)
	defer push.Stop()
	<-push.C
	last := time.Now()
	for n := 0; t.frame(n) == nil; n++ {
		changed := t.changes()
		for waits := true; waits; {
			select {
			case <-ctx.Done():
				return
			case <-changed: // what comes within the next pushEvery goes with it
				changed = nil
				push.Reset(time.Until(t.pushed.Add(pushEvery)))
			case <-push.C:
				changed = t.changes()
				if t.push() != nil {
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
	return t.rc.Flush()
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

// stream is one open stream, owned by its request.
type stream struct {
	s    *Server
	w    http.ResponseWriter
	rc   *http.ResponseController
	view view

	version uint64    // of the car, at the last values
	pushed  time.Time // when values were last looked at
	slot    int64     // newest of the chart that was sent
}

func (t *stream) begin() error {
	if _, err := fmt.Fprintf(t.w, "retry: %d\n\n", retryMS); err != nil {
		return err
	}
	return nil
}

// chartFrame is the data of the event "chart".
type chartFrame struct {
	ID     int   `json:"id"`
	StepMS int   `json:"step_ms"`
	Reset  bool  `json:"reset"` // the bins are the whole chart
	Bins   []Bin `json:"bins"`
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
	var errs []error
	if n%listFrames == 0 {
		errs = append(errs, t.send("cars", t.s.carList()))
	}
	if t.view.car != "" {
		if n%carFrames == 0 {
			d, ok := t.s.store.detail(t.view.car, now.UnixMilli())
			if !ok {
				return errGone
			}
			errs = append(errs, t.send("car", d))
		}
		if err := t.values(now); err != nil {
			return err
		}
		if t.view.chart >= 0 {
			errs = append(errs, t.chart(n, now.UnixMilli()))
		}
	}
	errs = append(errs, t.rc.Flush())
	return errors.Join(errs...)
}

func (t *stream) chart(n int, nowMS int64) error {
	c := chartFrame{ID: t.view.chart, StepMS: StepMS, Reset: n%fullFrames == 0}
	from := t.slot - chartBack
	if c.Reset {
		from = 0
	}
	var newest int64
	c.Bins, newest = t.s.store.chartSince(t.view.car, t.view.chart, from, nowMS)
	if newest == t.slot && !c.Reset {
		return nil
	}
	t.slot = newest
	return t.send("chart", c)
}

// send writes one event. JSON has no line breaks.
func (t *stream) send(name string, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("live: event %s: %w", name, err)
	}
	_, err = fmt.Fprintf(t.w, "event: %s\ndata: %s\n\n", name, b)
	return err
}
