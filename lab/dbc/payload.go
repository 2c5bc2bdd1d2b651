package dbc

import (
	"math/rand/v2"

	"telemetry/sensors/dbc"
)

// payloads returns what to decode a message of some bytes with: bounds, each
// value that a selector asks for, and noise. All of it depends on the seed
// alone.
func payloads(def *dbc.MessageDef, size int, rng *rand.Rand) [][]byte {
	var out [][]byte
	fill := func(v byte) []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = v
		}
		return b
	}
	noise := func() []byte {
		b := make([]byte, size)
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		return b
	}
	for _, v := range []byte{0, 0xff, 0x55, 0xaa, 0x80, 0x01, 0x7f} {
		out = append(out, fill(v))
	}
	for range 4 {
		out = append(out, noise())
	}
	for i, s := range def.Signals {
		for _, bits := range []uint64{0, 1, ^uint64(0), 1 << (max(1, s.Length) - 1), 1<<(max(1, s.Length)-1) - 1} {
			b := noise()
			setBits(b, s, bits)
			selectSignal(b, def, i, 0)
			out = append(out, b)
		}
		for which := range s.Mux.Ranges {
			for range 2 {
				b := noise()
				selectSignal(b, def, i, which)
				out = append(out, b)
			}
		}
	}
	for n := range size { // frames shorter than the database says
		if n%7 == 0 || n == size-1 {
			out = append(out, noise()[:n])
		}
	}
	return out
}

// selectSignal sets the selectors above a signal to values that let it be
// there.
func selectSignal(b []byte, def *dbc.MessageDef, signal, which int) {
	for depth := 0; depth < 8; depth++ {
		s := def.Signals[signal]
		parent := selector(def, s)
		if parent < 0 || parent == signal {
			return
		}
		v := s.Mux.Value
		if n := len(s.Mux.Ranges); n > 0 {
			v = s.Mux.Ranges[which%n].First
			if which%2 == 1 {
				v = s.Mux.Ranges[which%n].Last
			}
		}
		setBits(b, def.Signals[parent], v)
		signal, which = parent, 0
	}
}

// selector returns the index of the signal that selects s, or -1.
func selector(def *dbc.MessageDef, s *dbc.SignalDef) int {
	if !s.Mux.Marked && s.Mux.By == "" {
		return -1
	}
	first := -1
	for i, o := range def.Signals {
		switch {
		case s.Mux.By != "" && o.Name == s.Mux.By:
			return i
		case first < 0 && o.Mux.Selector && !o.Mux.Marked:
			first = i
		}
	}
	return first
}

// setBits writes a raw value where a signal lies.
func setBits(b []byte, s *dbc.SignalDef, v uint64) {
	at := s.Start
	if s.BigEndian { // from the most significant bit on
		for k := s.Length - 1; k >= 0; k-- {
			setBit(b, at, v>>min(k, 63)&1)
			if at%8 == 0 {
				at += 15
			} else {
				at--
			}
		}
		return
	}
	for k := range s.Length {
		setBit(b, at+k, v>>min(k, 63)&1)
	}
}

func setBit(b []byte, at int, v uint64) {
	if at/8 >= len(b) {
		return
	}
	b[at/8] = b[at/8]&^(1<<(at%8)) | byte(v)<<(at%8)
}
