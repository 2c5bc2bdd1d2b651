package sim

import (
	"fmt"
	"math"

	"telemetry/wire"
)

// input is a quantity of the car that further channels depend on, in
// thousandths: km/h, rpm and per cent whole.
type input uint8

const (
	inSpeed    input = iota // km/h
	inRPM                   // rpm
	inThrottle              // per mille
	inBrake                 // per mille
	inLong                  // milli-g
	inLat                   // milli-g
	inVert                  // milli-g
	inEngine                // heat, per mille
	inTyre                  // heat, per mille
	inBrakeT                // heat, per mille
	inGear
	inOne // always 1
	inputs
)

func (in input) of(s *state) float64 {
	switch in {
	case inSpeed:
		return 3.6 * s.v
	case inRPM:
		return s.rpm
	case inThrottle:
		return 1000 * s.throttle
	case inBrake:
		return 1000 * s.brake
	case inLong:
		return 1000 * s.ax
	case inLat:
		return 1000 * s.ay
	case inVert:
		return 1000 * s.az
	case inEngine:
		return 1000 * s.engine
	case inTyre:
		return 1000 * s.tyre
	case inBrakeT:
		return 1000 * math.Min(1, s.brakeT)
	case inGear:
		return float64(s.gear)
	}
	return 1
}

// rotor is what turns: its phase drives a channel's oscillation.
type rotor uint8

const (
	rotorEngine rotor = iota // half a turn of the crankshaft per unit: order 1 is half an engine order
	rotorWheel               // metres
	rotorTime                // seconds of car time
	rotors
)

// bulk is one further channel: a weighted sum of two inputs, an oscillation
// whose size follows a third, and noise, clamped to the sensor's range. All is
// in whole numbers, so that every machine gets the same.
type bulk struct {
	seed   uint64
	base   int32  // raw
	w0, w1 int32  // raw per input, times 2^16
	swing  int32  // raw per input at full sine, times 2^16
	peak   int32  // of the noise, raw times 256
	lo, hi int32  // raw
	order  uint32 // of the rotor's phase
	phase  uint32
	i0, i1 input
	i2     input // of the swing
	rotor  rotor
}

// family is a kind of further channels.
type family struct {
	name    string
	share   int // per cent of the further channels
	divisor uint64
	make    func(n int, r *draw) (wire.Channel, bulk)
}

// draw gives the random numbers of one channel.
type draw struct{ seed, n uint64 }

func (d *draw) in(lo, hi float64) float64 {
	d.n++
	return lo + (hi-lo)*unit(d.seed, d.n)
}

func (d *draw) pick(n int) int { return int(d.in(0, float64(n))) }

func families() []family {
	return []family{
		{name: "vibration", share: 10, divisor: 1, make: vibration},
		{name: "strain", share: 15, divisor: 3, make: strain},
		{name: "pressure", share: 25, divisor: 15, make: pressure},
		{name: "state", share: 15, divisor: 15, make: switches},
		{name: "temperature", share: 35, divisor: 150, make: temperature},
	}
}

// ratio returns a weight in 2^-16 raw.
func ratio(v float64) int32 { return int32(math.Round(v * 65536)) }

func signedRange(bits uint8) (lo, hi int32) { return -1 << (bits - 1), 1<<(bits-1) - 1 }

// vibration is an accelerometer on the engine or chassis: an engine order that
// grows with revs, on top of what the road does.
func vibration(n int, r *draw) (wire.Channel, bulk) {
	b := bulk{i0: inVert, i1: inOne, i2: inRPM, rotor: rotorEngine}
	b.order = uint32(1 + r.pick(10))
	b.w0 = ratio(r.in(0.05, 0.4))
	b.swing = ratio(r.in(0.05, 0.6))
	b.peak = int32(r.in(8, 90) * 256)
	b.lo, b.hi = signedRange(16)
	return wire.Channel{
		Name: fmt.Sprintf("vibration_%05d", n), Unit: "g", Type: wire.TypeInt, Bits: 16, Scale: 0.002, Min: -65, Max: 65,
		Description: fmt.Sprintf("engine order %.1f", float64(b.order)/2),
	}, b
}

// strain is a gauge on suspension or body: it follows the accelerations.
func strain(n int, r *draw) (wire.Channel, bulk) {
	b := bulk{i0: inLat, i1: inLong, i2: inSpeed, rotor: rotorWheel}
	b.w0, b.w1 = ratio(r.in(-0.8, 0.8)), ratio(r.in(-0.8, 0.8))
	b.base = int32(r.in(-300, 300))
	b.order = uint32(1 + r.pick(5))
	b.swing = ratio(r.in(0.01, 0.12))
	b.peak = int32(r.in(1, 6) * 256)
	b.lo, b.hi = signedRange(14)
	return wire.Channel{Name: fmt.Sprintf("strain_%05d", n), Unit: "um/m", Type: wire.TypeInt, Bits: 14, Scale: 1, Min: -8192, Max: 8191}, b
}

// pressure is a fluid or surface pressure: it follows revs or speed.
func pressure(n int, r *draw) (wire.Channel, bulk) {
	b := bulk{i0: [...]input{inRPM, inSpeed}[r.pick(2)], i1: inThrottle, i2: inOne, rotor: rotorTime}
	b.w0 = ratio(r.in(0.01, 0.12))
	b.w1 = ratio(r.in(0, 0.3))
	b.base = int32(r.in(200, 900))
	b.order = uint32(1 + r.pick(8))
	b.swing = ratio(r.in(0, 6))
	b.peak = int32(r.in(0.8, 4) * 256)
	b.hi = 1<<12 - 1
	return wire.Channel{Name: fmt.Sprintf("pressure_%05d", n), Unit: "mbar", Type: wire.TypeUint, Bits: 12, Scale: 5, Max: 20475}, b
}

// switches is a switch or a small state: it follows a threshold, without noise.
func switches(n int, r *draw) (wire.Channel, bulk) {
	b := bulk{i1: inOne, i2: inOne}
	c := wire.Channel{
		Name: fmt.Sprintf("state_%05d", n), Type: wire.TypeUint, Bits: 1, Scale: 1, Max: 1,
		Enum: []wire.EnumValue{{Raw: 0, Name: "off"}, {Raw: 1, Name: "on"}},
	}
	b.hi = 1
	switch r.pick(4) {
	case 0:
		b.i0, b.w0, b.base = inBrake, ratio(1), -int32(r.in(10, 600))
	case 1:
		b.i0, b.w0, b.base = inSpeed, ratio(1), -int32(r.in(60, 240))
	case 2:
		b.i0, b.w0, b.base = inThrottle, ratio(1), -int32(r.in(50, 980))
	default: // a state of seven values: the gear that is asked for
		b.i0, b.w0, b.hi = inGear, ratio(1), 6
		c.Bits, c.Max, c.Enum = 3, 6, nil
	}
	return c, b
}

// temperature is a thermocouple or board sensor: it follows heat, slowly.
func temperature(n int, r *draw) (wire.Channel, bulk) {
	b := bulk{i0: [...]input{inEngine, inTyre, inBrakeT}[r.pick(3)], i1: inOne, i2: inOne, rotor: rotorTime}
	b.w0 = ratio(r.in(0.05, 0.9))
	b.base = int32(r.in(600, 1400))
	b.order = 1
	b.swing = ratio(r.in(0, 5))
	b.peak = int32(r.in(0.4, 2.5) * 256)
	b.hi = 1<<12 - 1
	return wire.Channel{Name: fmt.Sprintf("temperature_%05d", n), Unit: "degC", Type: wire.TypeUint, Bits: 12, Scale: 0.1, Offset: -40, Min: -40, Max: 369.5}, b
}
