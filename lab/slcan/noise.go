package slcan

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Noise is what goes wrong between adapter and host: probabilities per line.
type Noise struct {
	Garbage  float64       // 1 to 8 bytes that no line has come in between
	Lost     float64       // 1 to 4 bytes get lost, maybe the CR
	Bell     float64       // a BEL that answers nothing comes before the line
	Stall    float64       // the adapter says nothing for StallFor, while the bus goes on
	StallFor time.Duration //
}

// hit changes a line and reports whether its frame was hit.
func (n *Noise) hit(rng *rand.Rand, line []byte) (out []byte, hit bool) {
	if rng.Float64() < n.Garbage {
		at := rng.IntN(len(line))
		junk := make([]byte, 1+rng.IntN(8))
		for i := range junk {
			junk[i] = 0x80 | byte(rng.Uint32())
		}
		line, hit = slices.Insert(line, at, junk...), true
	}
	if rng.Float64() < n.Lost {
		at := rng.IntN(len(line))
		line, hit = slices.Delete(line, at, min(len(line), at+1+rng.IntN(4))), true
	}
	return line, hit
}
