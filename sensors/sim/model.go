package sim

import (
	"math"

	"telemetry/wire"
)

// The journey of a value: a tick has a time, the time a place in the lap
// (moment), the place gives the car's own channels by table and the inputs of
// the further ones; noise is a hash of channel and tick.

// Model computes the values of a simulated car. It is never changed after
// [NewModel] and safe for concurrent use.
type Model struct {
	cfg    Config
	groups []wire.Group
	parts  []part
	lap    *lap

	lapNS  int64 // of car time
	milli  int64 // car time per time, in thousandths
	inputs [lapPoints][inputs]int32
	engine [lapPoints + 1]uint64 // engine cycles since the line, times 2^32
	wheel  [lapPoints + 1]uint64 // 10 m since the line, times 2^32
	warm   [warmSeconds]int64    // share still cold, times 2^16
	sine   *[1 << sineBits]int32
}

// warmSeconds is how long a car warms up; the time constant is a sixth of it.
const warmSeconds = 900

// part is a group with the plans of its channels: own ones or bulk ones.
type part struct {
	rateMilliHz uint64
	seed        uint64
	own         []ownChannel
	bulk        []bulk
}

// ownChannel is a channel by table. All values are raw times 256.
type ownChannel struct {
	table  []int64 // lapPoints
	seed   uint64
	peak   int64 // of the noise
	wrap   int64 // 0: none
	span   int64
	lo, hi int64 // raw
	drift  drift
	step   bool
}

// NewModel drives the lap and draws all channels. It does not need a clock.
func NewModel(cfg Config) (*Model, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	cfg = cfg.withDefaults()
	m := &Model{cfg: cfg, sine: sineTable(), milli: int64(cfg.Speed * 1000)}
	m.lap = driveLap(uint64(cfg.TrackSeed), cfg.LapTime.Seconds())
	m.lapNS = int64(math.Round(m.lap.seconds * 1e9))
	m.tables()
	own := carChannels()
	m.addOwn(own[:min(len(own), cfg.Channels)])
	m.addBulk(cfg.Channels - min(len(own), cfg.Channels))
	return m, nil
}

// tables fills what all further channels depend on.
func (m *Model) tables() {
	for k := range m.lap.states {
		s := &m.lap.states[k]
		for in := range inputs {
			m.inputs[k][in] = int32(math.Round(in.of(s)))
		}
		m.engine[k] = uint64(s.revs / 2 * (1 << 32))
		m.wheel[k] = uint64(s.s / 10 * (1 << 32))
	}
	m.engine[lapPoints] = uint64(m.lap.revs / 2 * (1 << 32))
	m.wheel[lapPoints] = uint64(m.lap.track.length / 10 * (1 << 32))
	for i := range m.warm {
		m.warm[i] = int64(65536 * math.Exp(-float64(i)*6/warmSeconds))
	}
	m.warm[warmSeconds-1] = 0
}

func (m *Model) rate(divisor uint64) uint64 { return max(1000, m.cfg.RateMilliHz/divisor) }

// ownDivisor returns by how much a group of the car's own channels is slower
// than the fastest one.
func ownDivisor(group string) uint64 {
	switch group {
	case groupDrive:
		return 5
	case groupGNSS:
		return 20
	case groupThermal:
		return 50
	}
	return 1
}

func (m *Model) addOwn(list []carChannel) {
	index := map[string]int{}
	for i, c := range list {
		at, ok := index[c.group]
		if !ok {
			at = len(m.groups)
			index[c.group] = at
			rate := m.rate(ownDivisor(c.group))
			m.groups = append(m.groups, wire.Group{Name: c.group, Lane: wire.LaneFull, RateMilliHz: rate})
			m.parts = append(m.parts, part{rateMilliHz: rate, seed: split(uint64(m.cfg.Seed), uint64(at))})
		}
		m.groups[at].Channels = append(m.groups[at].Channels, c.describe())
		m.parts[at].own = append(m.parts[at].own, m.plan(&c, split(uint64(m.cfg.Seed), uint64(1000+i))))
	}
}

func (c *carChannel) describe() wire.Channel {
	out := wire.Channel{Name: c.name, Unit: c.unit, Type: wire.TypeUint, Bits: c.bits, Scale: c.scale, Offset: c.offset, Min: c.min, Max: c.max}
	if c.signed {
		out.Type = wire.TypeInt
	}
	for i, name := range c.enum {
		out.Enum = append(out.Enum, wire.EnumValue{Raw: int64(i), Name: name})
	}
	return out
}

// plan tabulates a channel over the lap.
func (m *Model) plan(c *carChannel, seed uint64) ownChannel {
	raw := func(v float64) float64 { return (v - c.offset) / c.scale }
	o := ownChannel{
		table: make([]int64, lapPoints), seed: seed, step: c.step, drift: c.drift,
		peak: int64(math.Round(math.Sqrt(6) * c.noise / c.scale * 256)),
		span: int64(math.Round(c.span / c.scale * 256)),
		lo:   int64(math.Ceil(raw(c.min))), hi: int64(math.Floor(raw(c.max))),
	}
	switch {
	case c.wrap == 1:
		o.wrap = int64(math.Round(m.lap.track.length / c.scale * 256))
	case c.wrap > 0:
		o.wrap = int64(math.Round(c.wrap / c.scale * 256))
	}
	for k := range m.lap.states {
		o.table[k] = int64(math.Round(256 * raw(c.value(m.lap, &m.lap.states[k]))))
	}
	return o
}

// addBulk shares n further channels among the families.
func (m *Model) addBulk(n int) {
	left, seed := n, split(uint64(m.cfg.Seed), 1<<40)
	list := families()
	for i, f := range list {
		count := min(left, (n*f.share+99)/100)
		if i == len(list)-1 {
			count = left
		}
		left -= count
		if m.cfg.FullRate {
			f.divisor = 1
		}
		for first := 0; first < count; first += GroupSize {
			m.addFamily(f, first, min(GroupSize, count-first), split(seed, uint64(i)))
		}
	}
}

func (m *Model) addFamily(f family, first, count int, seed uint64) {
	rate := m.rate(f.divisor)
	g := wire.Group{Name: f.name + groupNumber(first/GroupSize+1), Lane: wire.LaneFull, RateMilliHz: rate}
	p := part{rateMilliHz: rate, seed: split(uint64(m.cfg.Seed), uint64(len(m.groups)))}
	for k := first; k < first+count; k++ {
		own := split(seed, uint64(k))
		c, b := f.make(k+1, &draw{seed: own})
		b.seed, b.phase = split(own, 1<<32), uint32(split(own, 1<<33))
		g.Channels = append(g.Channels, c)
		p.bulk = append(p.bulk, b)
	}
	m.groups = append(m.groups, g)
	m.parts = append(m.parts, p)
}

func groupNumber(n int) string {
	return "_" + string([]byte{byte('0' + n/100%10), byte('0' + n/10%10), byte('0' + n%10)})
}

// Groups lists the groups. The caller must not change them.
func (m *Model) Groups() []wire.Group { return m.groups }

// TickNS returns the time of a tick in ns since tick 0: tick*10^12/rate in mHz,
// rounded down.
func (m *Model) TickNS(group int, tick int64) int64 {
	return mulDiv(tick, 1_000_000_000_000, int64(m.parts[group].rateMilliHz))
}

// TickAt returns the first tick whose time is at or after ns.
func (m *Model) TickAt(group int, ns int64) int64 {
	if ns <= 0 {
		return 0
	}
	rate := int64(m.parts[group].rateMilliHz)
	tick := mulDiv(ns, rate, 1_000_000_000_000)
	for m.TickNS(group, tick) < ns {
		tick++
	}
	return tick
}

// LapStartNS returns when lap n, from 0, begins, in ns since tick 0.
func (m *Model) LapStartNS(n int64) int64 {
	ns := mulDiv(n*m.lapNS, 1000, m.milli)
	if mulDiv(ns, m.milli, 1000) < n*m.lapNS {
		ns++
	}
	return ns
}

// TrackMetres returns the length of a lap.
func (m *Model) TrackMetres() float64 { return m.lap.track.length }

// moment is the car at one tick.
type moment struct {
	lap    int64
	carNS  int64 // car time since tick 0
	at     int   // state before it
	frac   int64 // share of the way to the next one, times 2^16
	key    uint64
	in     [inputs]int64
	rotors [rotors]uint32
}

// rotorPeriodNS is the period of the slow oscillations.
const rotorPeriodNS = 20_000_000_000

func (m *Model) moment(group int, tick int64, c *moment) {
	p := &m.parts[group]
	c.carNS = mulDiv(m.TickNS(group, tick), m.milli, 1000)
	c.lap = c.carNS / m.lapNS
	q := mulDiv(c.carNS%m.lapNS, lapPoints<<16, m.lapNS)
	c.at, c.frac = int(q>>16), q&0xffff
	c.key = tickKey(tick) ^ p.seed
	if len(p.bulk) == 0 {
		return
	}
	a, b := &m.inputs[c.at], &m.inputs[(c.at+1)%lapPoints]
	for i := range c.in {
		c.in[i] = int64(a[i]) + (int64(b[i]-a[i])*c.frac+1<<15)>>16
	}
	c.in[inGear] = int64(a[inGear])
	turn := func(t *[lapPoints + 1]uint64) uint32 {
		d := t[c.at+1] - t[c.at]
		return uint32(uint64(c.lap)*t[lapPoints] + t[c.at] + d>>16*uint64(c.frac))
	}
	c.rotors = [rotors]uint32{turn(&m.engine), turn(&m.wheel), uint32(mulDiv(c.carNS%rotorPeriodNS, 1<<32, rotorPeriodNS))}
}

// Fill computes one row of a group: values must have room for its channels. It
// allocates nothing.
func (m *Model) Fill(group int, tick int64, values []int64) {
	var c moment
	m.moment(group, tick, &c)
	p := &m.parts[group]
	for i := range p.own {
		values[i] = m.own(&p.own[i], &c)
	}
	m.fillBulk(p.bulk, &c, values)
}

// Value computes the raw value of one channel at one tick, as [Model.Fill] does.
func (m *Model) Value(group, channel int, tick int64) int64 {
	var c moment
	m.moment(group, tick, &c)
	p := &m.parts[group]
	if p.own != nil {
		return m.own(&p.own[channel], &c)
	}
	var one [1]int64
	m.fillBulk(p.bulk[channel:channel+1], &c, one[:])
	return one[0]
}

func (m *Model) own(o *ownChannel, c *moment) int64 {
	v := o.table[c.at]
	if !o.step {
		d := o.table[(c.at+1)%lapPoints] - v
		if o.wrap > 0 {
			switch {
			case d > o.wrap/2:
				d -= o.wrap
			case d < -o.wrap/2:
				d += o.wrap
			}
		}
		v += mulShift(d, c.frac)
	}
	switch o.drift {
	case driftLap:
		v += c.lap * o.span
	case driftWarm:
		v -= o.span * m.cold(c.carNS) >> 16
	case driftFuel:
		v -= c.lap % fuelLaps * o.span
	}
	if o.peak > 0 {
		v += noise(c.key, o.seed, o.peak)
	}
	if o.wrap > 0 {
		v = ((v % o.wrap) + o.wrap) % o.wrap
	}
	return min(max((v+128)>>8, o.lo), o.hi)
}

// fuelLaps is how often a tank is driven before it is filled up.
const fuelLaps = 30

// mulShift returns d*frac/2^16.
func mulShift(d, frac int64) int64 { return d * frac >> 16 }

// cold returns how much of the warming up is still to come, times 2^16.
func (m *Model) cold(carNS int64) int64 {
	sec := carNS / 1e9
	if sec >= warmSeconds-1 {
		return 0
	}
	a, b := m.warm[sec], m.warm[sec+1]
	return a + (b-a)*(carNS%1e9/1000)/1_000_000
}

// fillBulk is the hot loop: about ten multiplications and shifts a value.
func (m *Model) fillBulk(list []bulk, c *moment, values []int64) {
	values = values[:len(list)]
	sine := m.sine
	for i := range list {
		b := &list[i]
		angle := c.rotors[b.rotor%rotors]*b.order + b.phase
		v := int64(b.base)<<16 + int64(b.w0)*c.in[b.i0%inputs] + int64(b.w1)*c.in[b.i1%inputs]
		v += (int64(b.swing) * c.in[b.i2%inputs] >> 15) * int64(sine[angle>>(32-sineBits)])
		v += noise(c.key, b.seed, int64(b.peak)) << 8
		values[i] = min(max((v+1<<15)>>16, int64(b.lo)), int64(b.hi))
	}
}
