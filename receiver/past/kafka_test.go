package past_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"telemetry/receiver/archive"
	"telemetry/receiver/archive/archivetest"
	"telemetry/receiver/past"
	"telemetry/receiver/sequence/sequencetest"
)

// TestOverKafka: a real archive over Kafka inside the test answers each question.
func TestOverKafka(t *testing.T) {
	p := archivetest.Open(t, "")
	p.Catalogue(sequencetest.Catalogue("car-1"))
	car := sequencetest.NewCar("car-1", 1, 7)
	const utc0 = int64(1_790_000_000_000_000_000)
	p.Batches(car.Open(), car.Anchor(1, 1e9, utc0+1e9, 1e6))
	for i := range 100 {
		p.Batches(car.Full(int64(i+100)*10e6, 10))
	}
	p.Batches(car.Event(1_500e6, "pit_stop"))
	p.Sequence(nil)
	s := serve(t, past.Options{Archive: p.Archive(archive.Options{})})
	got := answer[struct{ Sessions []past.Session }](t, s, "cars/car-1/sessions")
	if len(got.Sessions) != 1 || got.Sessions[0].State != "epoch" || *got.Sessions[0].StartMS != float64(utc0/1e6+1000) {
		t.Fatalf("%+v", got)
	}
	id := got.Sessions[0].ID
	a := answer[seriesAnswer](t, s, "cars/car-1/past?channels=Engine.rpm,gear&points=50&session="+id)
	if len(a.Series) != 2 || a.Series[0].Name != "Engine.gear" || a.Series[0].Max[5] != 6 || a.Series[1].Max[len(a.Series[1].Max)-1] != (1990+9)*0.25 {
		t.Errorf("%+v", a)
	}
	code, body := get(t, s, fmt.Sprintf("cars/car-1/export?format=csv&channels=Engine.gear&from=%d&to=%d", utc0/1e6+1500, utc0/1e6+1505))
	if code != http.StatusOK || strings.Count(body, "\n") != 6 || !strings.HasSuffix(body, "\n1790000001504000000,1504000000,1,1,4\n") {
		t.Errorf("%d %s", code, body)
	}
	if code, body := get(t, s, "cars/nobody/sessions"); code != http.StatusNotFound && !strings.Contains(body, `"sessions":[]`) {
		t.Errorf("another car: %d %s", code, body)
	}
}
