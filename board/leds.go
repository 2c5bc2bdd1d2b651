package board

import "time"

// Lamp is how a light shines.
type Lamp uint8

// Lamps, from well to bad.
const (
	Dark Lamp = iota
	Lit
	Slow // blinks once a second
	Fast // blinks four times a second
)

// Shines reports whether the light is on at time now of any clock.
func (l Lamp) Shines(now time.Duration) bool {
	switch l {
	case Lit:
		return true
	case Slow:
		return now%time.Second < time.Second/2
	case Fast:
		return now%(time.Second/2) < time.Second/4
	}
	return false
}
