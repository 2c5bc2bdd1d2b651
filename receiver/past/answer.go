package past

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/export"
	"telemetry/receiver/history"
)

// refusal is an error with its HTTP status.
type refusal struct {
	code int
	text string
}

func (e *refusal) Error() string { return e.text }

func refuse(code int, format string, args ...any) error {
	return &refusal{code, fmt.Sprintf(format, args...)}
}

func bad(format string, args ...any) error { return refuse(http.StatusBadRequest, format, args...) }

// classify returns what an error is in HTTP, and its text.
func classify(err error) (int, string) {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r.code, r.text
	case errors.Is(err, archive.ErrUnknown):
		return http.StatusNotFound, err.Error()
	case errors.Is(err, export.ErrEmpty):
		return http.StatusNotFound, "there is no value of these channels in that time: look at the sessions for when the car ran"
	case errors.Is(err, export.ErrTooWide):
		return http.StatusBadRequest, err.Error()
	case errors.Is(err, history.ErrStore):
		return http.StatusBadGateway, err.Error() + "; add source=batches to read Kafka instead"
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusServiceUnavailable, "Kafka has not answered in time: try again; if it stays so, `receiver doctor` looks at its brokers (" + err.Error() + ")"
	default:
		return http.StatusServiceUnavailable, "the past cannot be read: " + err.Error() + ": try again; if it stays so, `receiver doctor` looks at Kafka"
	}
}

// fail answers with an error; one whose asker is gone, or whose answer has begun, is
// cut off.
func (s *server) fail(w http.ResponseWriter, r *http.Request, err error) {
	if r.Context().Err() != nil || errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler)
	}
	if errors.Is(err, errBegun) {
		s.opt.Logger.Warn("an answer about the past broke off", "path", r.URL.Path, "error", err)
		panic(http.ErrAbortHandler)
	}
	code, text := classify(err)
	if code >= 500 {
		s.opt.Logger.Warn("the past was not told", "path", r.URL.Path, "error", err)
	}
	if code == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	extend(w)
	http.Error(w, text, code)
}

// errBegun says that an answer has begun and cannot become another.
var errBegun = errors.New("past: the answer has begun")

// extend gives the next write its time: the server's own limit is that of short
// answers.
func extend(w http.ResponseWriter) {
	// A writer without deadlines is that of a test.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeLimit))
}

// reply is the answer to a long question: JSON, or lines of JSON with its progress
// when the asker takes application/x-ndjson.
type reply struct {
	w     http.ResponseWriter
	lines bool
	begun bool
	told  time.Time
	every time.Duration
}

func newReply(w http.ResponseWriter, r *http.Request) *reply {
	return &reply{w: w, lines: strings.Contains(r.Header.Get("Accept"), "application/x-ndjson"), told: time.Now(), every: 250 * time.Millisecond}
}

// progress tells how far it is, now and then.
func (p *reply) progress(done, of int64) {
	if !p.lines || time.Since(p.told) < p.every {
		return
	}
	p.told = time.Now()
	// A reader that is gone ends the request's context.
	_ = p.line(map[string]any{"progress": map[string]int64{"done": done, "of": of}})
}

// line writes one line.
func (p *reply) line(v any) error {
	if !p.begun {
		p.begun = true
		p.w.Header().Set("Content-Type", "application/x-ndjson")
	}
	extend(p.w)
	if err := json.NewEncoder(p.w).Encode(v); err != nil {
		return err
	}
	return http.NewResponseController(p.w).Flush()
}

// result ends the answer.
func (p *reply) result(v any, err error) error {
	switch {
	case err == nil && p.lines:
		return p.line(map[string]any{"result": v})
	case err == nil:
		return writeJSON(p.w, v)
	case p.begun && !errors.Is(err, context.Canceled):
		_, text := classify(err)
		return p.line(map[string]string{"error": text})
	}
	return err
}

func writeJSON(w http.ResponseWriter, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	extend(w)
	w.Header().Set("Content-Type", "application/json")
	if _, err := w.Write(append(b, '\n')); err != nil {
		return errors.Join(errBegun, err)
	}
	return nil
}

// numbers are values of which some may be missing: NaN is null. JSON has no
// infinities either: they are the largest number.
type numbers []float64

// MarshalJSON implements json.Marshaler.
func (n numbers) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, 12*len(n)+2)
	b = append(b, '[')
	for i, x := range n {
		if i > 0 {
			b = append(b, ',')
		}
		if math.IsNaN(x) {
			b = append(b, "null"...)
			continue
		}
		b = strconv.AppendFloat(b, max(min(x, math.MaxFloat64), -math.MaxFloat64), 'g', -1, 64)
	}
	return append(b, ']'), nil
}
