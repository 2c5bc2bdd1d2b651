package uplink

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"testing"

	"telemetry/wire"
)

func (s *sim) command(link int, c *wire.Command) {
	s.e.Message(s.now, link, s.e.links[link].cur.gen, wire.AppendCommand(nil, c))
	s.step()
}

// bigCatalogue returns canonical bytes that don't compress, in the store.
func bigCatalogue(s *sim, n int) (wire.CatalogueHash, []byte) {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	h := wire.HashCatalogue(b)
	s.st.catalogue[h] = b
	return h, b
}

func (s *sim) joined(t *testing.T, links map[int]bool) []byte {
	t.Helper()
	var j wire.CatalogueJoiner
	for _, o := range s.other {
		if o.Topic != topicCatalogue(simCar) {
			continue
		}
		links[o.Link] = true
		p, err := wire.ParseCataloguePart(o.Payload)
		if err != nil {
			t.Fatal(err)
		}
		if b, done, err := j.Add(p); err != nil {
			t.Fatal(err)
		} else if done {
			return b
		}
	}
	return nil
}

func TestCatalogueGoesOverTheLinkThatAsked(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	backlog(s, 3000, 8<<10)
	s.run(s.now+2000*ms, nil)
	h, want := bigCatalogue(s, 100_000)
	s.command(1, &wire.Command{ID: 5, NotAfterNS: s.now + 10_000*ms, Verb: "catalogue", Args: map[string]string{"hash": hex.EncodeToString(h[:])}})
	asked := s.now
	s.run(s.now+5000*ms, func() bool { return len(answers(t, s)) > 0 })
	links := map[int]bool{}
	if got := s.joined(t, links); !bytes.Equal(got, want) {
		t.Errorf("joined %d bytes, want %d", len(got), len(want))
	}
	if len(links) != 1 || !links[1] {
		t.Errorf("parts went over links %v, want only 1", links)
	}
	a := answers(t, s)
	if len(a) != 1 || !a[0].OK || a[0].Data["parts"] == "" || s.now-asked > 1000*ms {
		t.Errorf("answers %+v after %d ms, want one OK within a second in front of a backlog", a, (s.now-asked)/ms)
	}
	if s.other[len(s.other)-1].Link != 1 {
		t.Error("the answer went over another link than the command")
	}
}

// TestCatalogueGoesOnWhereItStopped: a slow link and commands that expire before
// the end get the whole through, not its beginning again and again.
func TestCatalogueGoesOnWhereItStopped(t *testing.T) {
	s := newSim(t, 1, []*simLink{{delay: 50 * ms, rate: 20_000}})
	s.run(s.now+2000*ms, nil)
	h, want := bigCatalogue(s, 300_000)
	s.load(wire.LaneFull, 500, 200*ms, s.now+36_000*ms)
	ask := func(id uint64) {
		s.command(0, &wire.Command{ID: id, NotAfterNS: s.now + 5000*ms, Verb: "catalogue", Args: map[string]string{"hash": hex.EncodeToString(h[:])}})
	}
	for id := uint64(1); id <= 6; id++ {
		ask(id)
		s.run(s.now+6000*ms, nil)
	}
	if got := s.joined(t, map[int]bool{}); !bytes.Equal(got, want) {
		t.Errorf("joined %d bytes of %d after six requests of 5 s at 20 kB/s", len(got), len(want))
	}
}

func TestCatalogueIsSentWithoutCredit(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	s.run(s.now+1000*ms, nil)
	s.insts["tcp://a:1"].credit = 0
	s.run(s.now+500*ms, nil)
	h, want := bigCatalogue(s, 50_000)
	s.command(0, &wire.Command{ID: 5, NotAfterNS: s.now + 10_000*ms, Verb: "catalogue", Args: map[string]string{"hash": hex.EncodeToString(h[:])}})
	id := s.make(wire.LaneCritical, 100)
	full := s.make(wire.LaneFull, 100)
	s.run(s.now+1000*ms, nil)
	if got := s.joined(t, map[int]bool{}); !bytes.Equal(got, want) {
		t.Error("the catalogue waits for credit that waits for the catalogue")
	}
	if len(s.sends[id]) == 0 || len(s.sends[full]) != 0 {
		t.Errorf("critical sent %d times, full %d times; want critical only", len(s.sends[id]), len(s.sends[full]))
	}
}

func TestCommandOfALinkThatEndsIsDropped(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	s.run(s.now+1000*ms, nil)
	h, _ := bigCatalogue(s, 400_000)
	s.command(0, &wire.Command{ID: 5, NotAfterNS: s.now + 10_000*ms, Verb: "catalogue", Args: map[string]string{"hash": hex.EncodeToString(h[:])}})
	s.run(s.now+50*ms, nil)
	s.e.LinkDown(s.now, 0, s.e.links[0].cur.gen, "gone")
	s.step()
	n := len(s.other)
	s.run(s.now+3000*ms, nil)
	if got := len(s.other) - n; got != 0 {
		t.Errorf("%d messages for a connection that is gone", got)
	}
}

type slowVerb struct{}

func (slowVerb) Do(*wire.Command) (map[string]string, error) { return nil, ErrPending }

type failVerb struct{}

func (failVerb) Do(*wire.Command) (map[string]string, error) { return nil, errors.New("no fuel") }

func TestCommands(t *testing.T) {
	tests := []struct {
		name string
		cmd  wire.Command
		ok   bool
		code string
		wait int64
	}{
		{"unknown verb", wire.Command{Verb: "dance", NotAfterNS: 1000 * ms}, false, "unknown-verb", 200 * ms},
		{"no time left", wire.Command{Verb: "pull", Args: map[string]string{"from_ns": "0", "to_ns": "1"}}, false, "expired", 200 * ms},
		{"of another boot", wire.Command{Verb: "pull", NotAfterNS: 3 * 3_600_000 * ms, Args: map[string]string{"from_ns": "0", "to_ns": "1"}}, false, "expired", 200 * ms},
		{"pull", wire.Command{Verb: "pull", NotAfterNS: 1000 * ms, Args: map[string]string{"from_ns": "0", "to_ns": "1"}}, true, "", 200 * ms},
		{"pull: no number", wire.Command{Verb: "pull", NotAfterNS: 1000 * ms, Args: map[string]string{"from_ns": "x"}}, false, "failed", 200 * ms},
		{"pull: backwards", wire.Command{Verb: "pull", NotAfterNS: 1000 * ms, Args: map[string]string{"from_ns": "2", "to_ns": "1"}}, false, "failed", 200 * ms},
		{"catalogue: no hash", wire.Command{Verb: "catalogue", NotAfterNS: 1000 * ms}, false, "failed", 200 * ms},
		{"catalogue: not here", wire.Command{Verb: "catalogue", NotAfterNS: 1000 * ms, Args: map[string]string{"hash": "0011223344556677"}}, false, "no-catalogue", 200 * ms},
		{"a verb from outside fails", wire.Command{Verb: "fail", NotAfterNS: 1000 * ms}, false, "failed", 200 * ms},
		{"a late answer doesn't come", wire.Command{Verb: "slow", NotAfterNS: 1000 * ms}, false, "expired", 1500 * ms},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSim(t, 1, threeLinks())
			s.e.ctl.verbs["slow"], s.e.ctl.verbs["fail"] = slowVerb{}, failVerb{}
			s.run(s.now+500*ms, nil)
			tt.cmd.ID = 77
			if tt.cmd.NotAfterNS != 0 {
				tt.cmd.NotAfterNS += s.now
			}
			for range 3 { // once more over the same and over another link
				s.command(0, &tt.cmd)
				s.command(1, &tt.cmd)
			}
			s.run(s.now+tt.wait, nil)
			a := answers(t, s)
			if len(a) != 1 || a[0].ID != 77 || a[0].OK != tt.ok || a[0].Data[CodeKey] != tt.code {
				t.Fatalf("answers %+v, want one, OK %v, code %q", a, tt.ok, tt.code)
			}
			s.run(s.now+1500*ms, nil)
			s.command(2, &tt.cmd)
			s.run(s.now+500*ms, nil)
			if a := answers(t, s); len(a) != 2 || a[1].OK != tt.ok {
				t.Errorf("asked again later: answers %+v, want the same once more", a)
			}
		})
	}
}

func TestLateAnswer(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	s.e.ctl.verbs["slow"] = slowVerb{}
	s.run(s.now+500*ms, nil)
	s.command(0, &wire.Command{ID: 3, Verb: "slow", NotAfterNS: s.now + 5000*ms})
	s.run(s.now+1000*ms, nil)
	s.e.Answer(s.now, 3, map[string]string{"x": "y"}, nil)
	s.e.Answer(s.now, 3, nil, errors.New("twice"))
	s.step()
	s.run(s.now+500*ms, nil)
	if a := answers(t, s); len(a) != 1 || !a[0].OK || a[0].Data["x"] != "y" {
		t.Errorf("answers %+v, want the late one once", a)
	}
}

// TestHostileMessages: nothing that comes over ctl makes the engine fail or grow.
func TestHostileMessages(t *testing.T) {
	s := newSim(t, 1, threeLinks())
	warm(s, 20*ms)
	r := rand.New(rand.NewPCG(3, 3))
	gen := s.e.links[0].cur.gen
	for i := range 2000 {
		a := &wire.Ack{Instance: string(rune('a' + i%60)), Nonce: r.Uint64(), Counter: r.Uint64(), State: wire.InstanceState(r.IntN(5)), Credit: r.Uint64()}
		a.Links = append(a.Links, wire.LinkEcho{Link: uint8(r.IntN(4)), Gen: gen, Messages: r.Uint64(), Bytes: r.Uint64(), LastSentNS: r.Int64(), HeldNS: r.Int64() - r.Int64()})
		a.Streams = append(a.Streams, wire.StreamAck{Epoch: wire.Epoch{Counter: r.Uint32(), Nonce: r.Uint64()}, Lane: wire.LaneFull, Received: wire.Ranges{{First: 1, Last: wire.MaxSeq}}})
		s.e.Message(s.now, r.IntN(4), gen, wire.AppendAck(nil, a))
		s.e.Message(s.now, 0, gen, []byte{byte(i), byte(i >> 8)})
		s.command(0, &wire.Command{ID: uint64(i), Verb: "catalogue", NotAfterNS: s.now + 60_000*ms, Args: map[string]string{"hash": hex.EncodeToString([]byte{1, 2, 3, 4, 5, 6, byte(i), byte(i >> 8)})}})
	}
	if len(s.e.views) > maxInstances || len(s.e.ctl.commands) > maxCommands || len(s.e.ctl.answers) > maxAnswers || len(s.e.ctl.transfers) > maxTransfers {
		t.Errorf("%d views, %d commands, %d answers, %d transfers", len(s.e.views), len(s.e.ctl.commands), len(s.e.ctl.answers), len(s.e.ctl.transfers))
	}
	s.run(s.now+5000*ms, nil)
	s.make(wire.LaneFull, 100)
	s.drained(40_000 * ms)
}
