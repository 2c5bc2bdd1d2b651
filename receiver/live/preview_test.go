package live

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// atBoot gives a row another boot time.
func atBoot(text string, bootNS int64) string {
	return strings.Replace(text, `"boot_ns":77`, fmt.Sprintf(`"boot_ns":%d`, bootNS), 1)
}

// previewText is a row as a preview has it: its clock is not known.
func previewText(car, lane string, bootNS int64, fields string) string {
	text := rowText(car, lane, 0, fields)
	text = strings.Replace(text, `"clock":"synced"`, `"clock":"unsynced"`, 1)
	return atBoot(text, bootNS)
}

func showPreview(t *testing.T, s *store, nowMS int64, text string) {
	t.Helper()
	var r row
	if err := parseRow([]byte(text), &r); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	s.preview(&r, wire.CatalogueHash{}, nowMS)
}

// A preview takes its UTC from the rows in order before it; when its own row
// comes in order, there is nothing new to show, and nothing was counted twice.
func TestPreviewTakesItsTimeFromTheTopics(t *testing.T) {
	const now, boot = int64(1_800_000_000_000), int64(5_000_000_000)
	s := quietStore()
	put(t, s, inOrder, now, atBoot(rowText("c", "full", now-1000, `,"rpm":1`), boot))
	_, version, _ := s.changed("c", []int{0}, 0)
	showPreview(t, s, now, previewText("c", "full", boot+400e6, `,"rpm":2`))
	values, version, _ := s.changed("c", []int{0}, version)
	if len(values) != 1 || values[0] != (Value{0, 2, float64(now - 600), float64(wire.LaneFull), 1}) {
		t.Fatalf("preview: %v", values)
	}
	rows := s.counters().Rows
	put(t, s, inOrder, now+60, rowText("c", "full", now-600, `,"rpm":2`))
	if values, _, _ = s.changed("c", []int{0}, version); len(values) != 0 {
		t.Errorf("the same row in order is shown again: %v", values)
	}
	if got := s.counters().Rows; got != rows+1 {
		t.Errorf("%d rows counted, want %d", got, rows+1)
	}
	put(t, s, inOrder, now+70, rowText("c", "full", now-600, `,"rpm":7`))
	if values, _, _ = s.changed("c", []int{0}, version); len(values) != 1 || values[0][1] != 7 {
		t.Errorf("what is in order wins over a preview: %v", values)
	}
}

func TestPreviewFollowsTheNewestSession(t *testing.T) {
	const now = int64(1_800_000_000_000)
	for name, c := range map[string]struct {
		session string
		shown   bool
	}{
		"the same":                {"3-00000000000000aa", true},
		"a later epoch":           {"4-00000000000000bb", true},
		"an earlier epoch":        {"2-00000000000000cc", false},
		"a clone of the same one": {"3-00000000000000dd", false},
		"no session's name":       {"what", false},
	} {
		t.Run(name, func(t *testing.T) {
			s := quietStore()
			put(t, s, inOrder, now, rowText("c", "full", now-1000, `,"rpm":1`))
			_, version, _ := s.changed("c", []int{0}, 0)
			showPreview(t, s, now, strings.Replace(previewText("c", "full", 77, `,"rpm":9`), "3-00000000000000aa", c.session, 1))
			values, _, _ := s.changed("c", []int{0}, version)
			if (len(values) == 1) != c.shown {
				t.Fatalf("shown: %v", values)
			}
			// The boot clock of another epoch says nothing about this one's.
			if c.shown && (values[0][4] == 1) != (name == "the same") {
				t.Errorf("synced is %v", values[0][4])
			}
		})
	}
}

// A change is pushed, not fetched by the next frame: the stream's frames could
// never bring the hundred changes in the time that they take here.
func TestChangesArePushed(t *testing.T) {
	log := newLog()
	s := start(t, Options{Source: log})
	now := time.Now().UnixMilli()
	log.add(log.Names().Live, rowText("c", "live", now-60_000, `,"rpm":0`))
	waitCar(t, s, "c")
	_, next := open(t, s, "car=c&channels=0")
	next("values")
	began := time.Now()
	const changes = 100
	for i := 1; i <= changes; i++ {
		rec := topic.Record{Value: []byte(previewText("c", "live", int64(i), fmt.Sprintf(`,"rpm":%d`, i)))}
		s.Preview(&rec, wire.CatalogueHash{})
		var v valuesFrame
		if err := json.Unmarshal([]byte(next("values").data), &v); err != nil || len(v.Values) != 1 || v.Values[0][1] != float64(i) {
			t.Fatalf("change %d: %+v, %v", i, v, err)
		}
	}
	if took := time.Since(began); took >= changes*frameEvery {
		t.Errorf("%d changes took %v: one a frame", changes, took)
	}
}
