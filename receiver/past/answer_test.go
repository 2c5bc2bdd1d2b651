package past_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"telemetry/receiver/past"
)

// Whatever keeps the past from being read, the answer says what to do.
func TestFailuresSayWhatToDo(t *testing.T) {
	for err, want := range map[error]string{
		fmt.Errorf("archive: fetch: %w", context.DeadlineExceeded): "Kafka has not answered in time: try again",
		errors.New("archive: the broker is gone"):                  "the broker is gone: try again",
	} {
		m := tour("s", "km/h", 1, [2]float64{})
		m.err = err
		s := serve(t, past.Options{Archive: m})
		if code, body := get(t, s, "cars/gt3-7/past?lap=Q1/1&channels=rpm"); code != http.StatusServiceUnavailable || !strings.Contains(body, want) || !strings.Contains(body, "receiver doctor") {
			t.Errorf("%v: %d %s", err, code, body)
		}
	}
}
