package live

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"telemetry/receiver/sequence"
	"telemetry/wire"
)

// atBoot gives a row another boot time.
func atBoot(text string, bootNS int64) string {
	return strings.Replace(text, `"boot_ns":77`, fmt.Sprintf(`"boot_ns":%d`, bootNS), 1)
}

// arrives shows a batch of one row of one channel as it arrives.
func arrives(t *testing.T, s *Server, nowMS, bootNS int64, epoch wire.Epoch, seq uint64, rpm int64) {
	t.Helper()
	cat := &wire.Catalogue{Car: "c", Groups: []wire.Group{{Name: "Engine", Lane: wire.LaneFull, Channels: []wire.Channel{{Name: "rpm", Type: wire.TypeInt, Unit: "1/min"}}}}}
	b := &sequence.Batch{
		ID:   wire.ID{Stream: wire.Stream{Car: "c", Epoch: epoch, Lane: wire.LaneFull}, Seq: seq},
		Hash: cat.Hash(), Catalogue: cat, AppendMS: nowMS,
		Blocks: []wire.Block{{Ticks: []int64{bootNS}, Columns: []wire.Column{{Type: wire.TypeInt, Values: []int64{rpm}}}}},
	}
	if err := s.Arrivals().Show(b); err != nil {
		t.Fatal(err)
	}
}

// bareServer is a server that does not run.
func bareServer() *Server { return &Server{store: quietStore()} }

var epoch3 = wire.Epoch{Counter: 3, Nonce: 0xaa}

// A preview takes its UTC from the rows in order before it; when its own row
// comes in order, there is nothing new to show, and nothing was counted twice.
func TestPreviewTakesItsTimeFromTheTopics(t *testing.T) {
	const boot = int64(5_000_000_000)
	now := time.Now().UnixMilli()
	srv := bareServer()
	s := srv.store
	put(t, s, inOrder, now, atBoot(rowText("c", "full", now-1000, `,"rpm":1`), boot))
	_, version, _ := s.changed("c", []int{0}, 0)
	arrives(t, srv, now, boot+400e6, epoch3, 10, 2)
	values, version, _ := s.changed("c", []int{0}, version)
	if len(values) != 1 || values[0] != (Value{0, 2, float64(now - 600), float64(wire.LaneFull), 1}) {
		t.Fatalf("preview: %v", values)
	}
	rows := s.counters().Rows
	put(t, s, inOrder, now+60, atBoot(rowText("c", "full", now-600, `,"rpm":2`), boot+400e6))
	if values, _, _ = s.changed("c", []int{0}, version); len(values) != 0 {
		t.Errorf("the same row in order is shown again: %v", values)
	}
	if got := s.counters().Rows; got != rows+1 {
		t.Errorf("%d rows counted, want %d", got, rows+1)
	}
	put(t, s, inOrder, now+70, atBoot(rowText("c", "full", now-600, `,"rpm":7`), boot+400e6))
	if values, _, _ = s.changed("c", []int{0}, version); len(values) != 1 || values[0][1] != 7 {
		t.Errorf("what is in order wins over a preview: %v", values)
	}
}

func TestPreviewFollowsTheNewestSession(t *testing.T) {
	now := time.Now().UnixMilli()
	for name, c := range map[string]struct {
		epoch wire.Epoch
		shown bool
	}{
		"the same":                {epoch3, true},
		"a later epoch":           {wire.Epoch{Counter: 4, Nonce: 0xbb}, true},
		"an earlier epoch":        {wire.Epoch{Counter: 2, Nonce: 0xcc}, false},
		"a clone of the same one": {wire.Epoch{Counter: 3, Nonce: 0xdd}, false},
	} {
		t.Run(name, func(t *testing.T) {
			srv := bareServer()
			s := srv.store
			put(t, s, inOrder, now, rowText("c", "full", now-1000, `,"rpm":1`))
			_, version, _ := s.changed("c", []int{0}, 0)
			arrives(t, srv, now, 77, c.epoch, 10, 9)
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

// Of what arrives before any row, the units are known as well.
func TestPreviewTellsUnits(t *testing.T) {
	srv := bareServer()
	arrives(t, srv, 1, 77, epoch3, 1, 9)
	if _, found, _ := srv.store.find("c", "rpm", 0, 1); len(found) != 1 || found[0].Unit != "1/min" || found[0].Group != "Engine" || found[0].Lane != "full" {
		t.Errorf("got %+v", found)
	}
}

// A change is pushed, not fetched by the next frame: the stream's frames could
// never bring the hundred changes in the time that they take here. None is missed
// that comes while a frame is sent.
func TestChangesArePushed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, l := virtual(t, Options{})
		now := time.Now().UnixMilli()
		put(t, s.store, inOrder, now, rowText("c", "live", now-60_000, `,"rpm":0`))
		conn := l.dial(t, "car=c&channels=0")
		defer conn.Close()
		lines := bufio.NewScanner(conn)
		values := func() (v valuesFrame, err error) {
			for name := ""; lines.Scan(); {
				if n, ok := strings.CutPrefix(lines.Text(), "event: "); ok {
					name = n
				}
				if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok && name == "values" {
					return v, json.Unmarshal([]byte(data), &v)
				}
			}
			return v, fmt.Errorf("the stream has ended: %w", lines.Err())
		}
		if _, err := values(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		const changes = 100
		for i := 1; i <= changes; i++ {
			arrives(t, s, now, int64(i)*1e6, epoch3, uint64(i), int64(i))
			if v, err := values(); err != nil || len(v.Values) != 1 || v.Values[0][1] != float64(i) {
				t.Fatalf("change %d: %+v, %v", i, v, err)
			}
		}
		if took := time.Since(began); took > changes*pushEvery { // virtual
			t.Errorf("%d changes took %v, want one each %v at least", changes, took, pushEvery)
		}
	})
}
