package sim

import "math"

// The car: a grand tourer of 1250 kg, 400 kW, with some downforce.
const (
	gravity   = 9.80665 // m/s2
	mass      = 1250.0  // kg
	power     = 400e3   // W
	dragForce = 0.66    // N per (m/s)2
	downForce = 1.8     // N per (m/s)2
	grip      = 1.45    // friction of the tyres
	launch    = 9.0     // m/s2, what the driven axle can push
	topSpeed  = 88.0    // m/s
	wheelbase = 2.65    // m
	axle      = 1.65    // m between the wheels of an axle
)

// lapPoints is the number of states of a lap, equally far apart in time.
const lapPoints = 4096

// state is the car at one instant.
type state struct {
	s              float64 // m from the line
	v              float64 // m/s
	ax, ay, az     float64 // g: forward, left, up (1 at rest)
	x, y, z        float64 // m
	heading        float64 // rad, from north, clockwise
	curvature      float64 // 1/m
	gear           int
	rpm            float64
	throttle       float64 // 0..1
	brake          float64 // 0..1
	burn           float64 // share of full power
	energy         float64 // J the brakes took per second
	slide          float64 // share of the grip in use
	revs           float64 // of the engine since the line
	brakeT, engine float64 // filtered heat, 0..1
	tyre           float64 // filtered heat, 0..1
}

// lap is one lap of a track: states equally far apart in time.
type lap struct {
	track   *track
	seconds float64
	states  []state // lapPoints; the first is at the line
	revs    float64 // of the engine in a lap
}

// driveLap scales a track until the car needs the wanted time for it.
func driveLap(seed uint64, seconds float64) *lap {
	low, high := 100.0, 60_000.0 // m
	shape := newTrack(seed, 1)
	for range 40 {
		mid := (low + high) / 2
		if _, total := profile(shape.scaled(mid)); total < seconds {
			low = mid
		} else {
			high = mid
		}
		if high-low < 0.01 {
			break
		}
	}
	t := shape.scaled((low + high) / 2)
	v, total := profile(t)
	l := &lap{track: t, seconds: total}
	l.sample(v)
	l.drive()
	l.heat()
	return l
}

// profile returns the speed at each point of the track, and the time for a lap:
// what corners allow, then what the engine can reach from behind and the brakes
// from ahead, twice around so that the end meets the beginning.
func profile(t *track) (v []float64, seconds float64) {
	n, step := trackPoints, t.length/trackPoints
	v = make([]float64, n)
	for i, k := range t.curvature {
		v[i] = topSpeed
		if left := math.Abs(k) - grip*downForce/mass; left > 0 {
			v[i] = math.Min(topSpeed, math.Sqrt(grip*gravity/left))
		}
	}
	// spare is the grip that cornering leaves, by the friction circle.
	spare := func(v, k float64) float64 {
		all := grip * (gravity + downForce/mass*v*v)
		side := v * v * k
		return math.Sqrt(math.Max(0, all*all-side*side))
	}
	for i := range 2 * n {
		a, b := i%n, (i+1)%n
		drag := dragForce / mass * v[a] * v[a]
		push := min(launch, power/mass/v[a], spare(v[a], t.curvature[a])) - drag
		v[b] = math.Min(v[b], math.Sqrt(math.Max(1, v[a]*v[a]+2*push*step)))
	}
	for i := 2 * n; i > 0; i-- {
		a, b := i%n, (i-1)%n
		drag := dragForce / mass * v[a] * v[a]
		pull := 0.95*spare(v[a], t.curvature[a]) + drag
		v[b] = math.Min(v[b], math.Sqrt(v[a]*v[a]+2*pull*step))
	}
	for i := range v {
		seconds += 2 * step / (v[i] + v[(i+1)%n])
	}
	return v, seconds
}

// sample places the states at equal times.
func (l *lap) sample(v []float64) {
	t := l.track
	step := t.length / trackPoints
	l.states = make([]state, lapPoints)
	i, begun := 0, 0.0 // segment, and the time at its begin
	for k := range l.states {
		now := l.seconds * float64(k) / lapPoints
		for {
			dt := 2 * step / (v[i] + v[(i+1)%trackPoints])
			if now < begun+dt || i == trackPoints-1 {
				break
			}
			begun += dt
			i++
		}
		j := (i + 1) % trackPoints
		a := (v[j]*v[j] - v[i]*v[i]) / (2 * step)
		dt := now - begun
		f := math.Min(1, (v[i]*dt+a*dt*dt/2)/step)
		mix := func(p []float64) float64 { return p[i] + f*(p[j]-p[i]) }
		turn := math.Remainder(t.heading[j]-t.heading[i], 2*math.Pi)
		l.states[k] = state{
			s: step * (float64(i) + f), v: v[i] + a*dt,
			x: mix(t.x), y: mix(t.y), z: mix(t.z), curvature: mix(t.curvature),
			heading: t.heading[i] + f*turn, az: 1 + mix(t.crest)*v[i]*v[i]/gravity,
		}
	}
}

// Top speeds of the gears in m/s at maxRPM.
const (
	maxRPM  = 8600.0
	idleRPM = 2200.0
)

func gearTop() [6]float64 { return [6]float64{22, 32, 43, 55, 69, 90} }

// drive works out what driver, engine and brakes do in each state.
func (l *lap) drive() {
	n := len(l.states)
	dt := l.seconds / float64(n)
	accel := make([]float64, n)
	for k := range l.states {
		accel[k] = (l.states[(k+1)%n].v - l.states[(k+n-1)%n].v) / (2 * dt)
	}
	accel = smooth(accel, 2)
	tops := gearTop()
	gear := 1
	revs := 0.0
	for range 2 { // the second begins in the gear that the first ended in
		revs = 0
		for k := range l.states {
			s := &l.states[k]
			for gear < 6 && s.v > 0.97*tops[gear-1] {
				gear++
			}
			for gear > 1 && s.v < 0.82*tops[gear-2] {
				gear--
			}
			s.gear = gear
			s.rpm = math.Max(idleRPM, maxRPM*s.v/tops[gear-1])
			s.ax, s.ay = accel[k]/gravity, s.v*s.v*s.curvature/gravity
			need := mass*accel[k] + dragForce*s.v*s.v
			s.throttle, s.brake = 0, 0
			if need > 0 {
				s.throttle = math.Min(1, need/math.Min(mass*launch, power/s.v))
			} else {
				s.brake = math.Min(1, -need/(mass*2.2*gravity))
				s.energy = -need * s.v
			}
			s.burn = s.throttle * s.rpm / maxRPM
			s.slide = math.Min(1, math.Hypot(s.ax, s.ay)/(grip*(1+downForce/mass/gravity*s.v*s.v)))
			s.revs = revs
			revs += s.rpm / 60 * dt
		}
	}
	l.revs = revs
}

// heat runs first-order filters around the lap until they close.
func (l *lap) heat() {
	dt := l.seconds / float64(len(l.states))
	follow := func(tau float64, in func(*state) float64, out func(*state) *float64) {
		value := 0.0
		for range 12 {
			for k := range l.states {
				s := &l.states[k]
				value += (in(s) - value) * math.Min(1, dt/tau)
				*out(s) = value
			}
		}
	}
	follow(6, func(s *state) float64 { return s.energy / 1.2e6 }, func(s *state) *float64 { return &s.brakeT })
	follow(40, func(s *state) float64 { return s.burn }, func(s *state) *float64 { return &s.engine })
	follow(9, func(s *state) float64 { return s.slide }, func(s *state) *float64 { return &s.tyre })
}
