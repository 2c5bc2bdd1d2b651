package reorder

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"testing"
	"time"

	"telemetry/wire"
)

// seal puts the right checksum behind a state's body.
func seal(body []byte) []byte {
	return binary.LittleEndian.AppendUint32(bytes.Clone(body), crc32.Checksum(body, castagnoli))
}

func TestParseCarRefuses(t *testing.T) {
	s := newScript(t, None)
	s.open()
	s.put(1, full, 2, "")
	good := s.c.AppendState(nil)
	body := good[:len(good)-4]
	version := bytes.Clone(body)
	version[0] = 9
	for name, b := range map[string][]byte{
		"empty":    nil,
		"cut":      good[:len(good)-1],
		"flipped":  append(bytes.Clone(good[:5]), append([]byte{good[5] ^ 1}, good[6:]...)...),
		"version":  seal(version),
		"short":    seal(body[:len(body)-1]),
		"trailing": seal(append(bytes.Clone(body), 0)),
		"name":     seal([]byte{stateVersion, 1, '/'}),
	} {
		if _, err := ParseCar(s.cfg, b); !errors.Is(err, ErrState) {
			t.Errorf("%s: error %v, want ErrState", name, err)
		}
	}
	dst := s.c.AppendState([]byte("before"))
	if !bytes.Equal(dst[6:], good) {
		t.Error("AppendState depends on what stands before it")
	}
}

// FuzzParseCar reads what may be a state: it never panics, and what is read can be
// written, read again, and goes on.
func FuzzParseCar(f *testing.F) {
	cfg := Defaults()
	cfg.Retention, cfg.Forget = time.Hour, 2*time.Hour
	for seed := range int64(6) {
		sim := simulate(seed, seed%2 == 1)
		c := NewCar(simCarName, cfg)
		var out Out
		for i := range sim.log {
			c.Apply(&sim.log[i].Input, &out)
			if i%40 == 20 {
				b := c.AppendState(nil)
				f.Add(b[:len(b)-4])
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := ParseCar(cfg, seal(body))
		if err != nil {
			return
		}
		again := c.AppendState(nil)
		d, err := ParseCar(cfg, again)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v", err)
		}
		if !bytes.Equal(d.AppendState(nil), again) {
			t.Fatal("written again it differs")
		}
		var out Out
		st := wire.Stream{Car: c.Name(), Epoch: ep(3), Lane: full}
		if len(c.epochs) > 0 {
			st.Epoch = c.epochs[len(c.epochs)/2].id
		}
		for i := range uint64(20) {
			in := Input{Offset: c.NextOffset() + int64(i)*3 - 9, AppendMS: c.NowMS() + int64(i)*50_000, Header: wire.Header{Stream: st, Seq: 1 + i*i}}
			if i == 10 {
				in.Header.Stream.Lane = critical
				opens(wire.Predecessor{Epoch: ep(9)})(&in)
			}
			c.Apply(&in, &out)
		}
		c.Advance(c.NowMS()+10*time.Hour.Milliseconds(), &out)
		c.Gone(c.NextOffset(), &out)
		checkCounts(t, c)
	})
}
