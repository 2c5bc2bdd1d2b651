package sim

import (
	"fmt"
	"math"
)

// Groups of the car's own channels, with the divisor of the fastest rate.
const (
	groupChassis = "chassis" // accelerations, dampers
	groupDrive   = "drive"   // what driver and engine do
	groupGNSS    = "gnss"
	groupThermal = "thermal" // temperatures, pressures, fuel
)

// drift is what changes from lap to lap.
type drift uint8

const (
	driftNone drift = iota
	driftLap        // counts laps
	driftWarm       // begins lower by span and warms up
	driftFuel       // falls by a lap's fuel, and is filled up
)

// carChannel describes one of the car's own channels. Physical values come from
// the state of the lap; raw = (physical-offset)/scale plus noise.
type carChannel struct {
	name, unit, group string
	bits              uint8
	signed            bool
	scale, offset     float64
	min, max          float64 // of the sensor, physical
	noise             float64 // standard deviation, physical
	step              bool    // holds its value; no interpolation
	wrap              float64 // the value is an angle or distance that begins again here; 0: no
	drift             drift
	span              float64 // of the drift, physical
	enum              []string
	value             func(*lap, *state) float64
}

// carChannels lists the car's own channels, those first that a small
// configuration should have.
func carChannels() []carChannel {
	list := driveChannels()
	list = append(list, chassisChannels()...)
	list = append(list, gnssChannels()...)
	return append(list, thermalChannels()...)
}

func driveChannels() []carChannel {
	out := []carChannel{
		{name: "speed", unit: "km/h", bits: 16, scale: 0.01, max: 400, noise: 0.05, value: func(_ *lap, s *state) float64 { return 3.6 * s.v }},
		{name: "engine_rpm", unit: "rpm", bits: 14, scale: 1, max: 12000, noise: 6, value: func(_ *lap, s *state) float64 { return s.rpm }},
		{name: "gear", bits: 4, scale: 1, max: 6, step: true, enum: []string{"N", "1", "2", "3", "4", "5", "6"}, value: func(_ *lap, s *state) float64 { return float64(s.gear) }},
		{name: "throttle", unit: "%", bits: 10, scale: 0.1, max: 100, noise: 0.08, value: func(_ *lap, s *state) float64 { return 100 * s.throttle }},
		{name: "brake_pressure_front", unit: "bar", bits: 12, scale: 0.05, max: 200, noise: 0.1, value: func(_ *lap, s *state) float64 { return 95 * s.brake }},
		{name: "brake_pressure_rear", unit: "bar", bits: 12, scale: 0.05, max: 200, noise: 0.1, value: func(_ *lap, s *state) float64 { return 62 * s.brake }},
		{name: "steering_angle", unit: "deg", bits: 14, signed: true, scale: 0.1, min: -600, max: 600, noise: 0.15, value: func(_ *lap, s *state) float64 {
			return 13 * 180 / math.Pi * (math.Atan(wheelbase*s.curvature) + 0.006*s.ay)
		}},
		{name: "lap_number", bits: 16, scale: 1, max: 65535, step: true, drift: driftLap, span: 1, value: func(*lap, *state) float64 { return 1 }},
		{name: "lap_distance", unit: "m", bits: 20, scale: 0.1, max: 60000, wrap: 1, value: func(_ *lap, s *state) float64 { return s.s }},
		{name: "engine_torque", unit: "Nm", bits: 14, signed: true, scale: 0.1, min: -300, max: 800, noise: 1.5, value: torque},
		{name: "lambda", bits: 12, scale: 0.001, max: 2, noise: 0.004, value: func(_ *lap, s *state) float64 {
			if s.throttle > 0 {
				return 0.99 - 0.11*s.throttle
			}
			return 1.35
		}},
		{name: "clutch", unit: "%", bits: 8, scale: 0.5, max: 100, step: true, value: func(*lap, *state) float64 { return 0 }},
		{name: "brake_light", bits: 1, scale: 1, max: 1, step: true, enum: []string{"off", "on"}, value: func(_ *lap, s *state) float64 {
			return math.Ceil(s.brake)
		}},
	}
	for i, name := range corners() {
		side, driven := cornerSide(i), i >= 2
		out = append(out, carChannel{name: "wheel_speed_" + name, unit: "km/h", bits: 16, scale: 0.01, max: 400, noise: 0.12, value: func(_ *lap, s *state) float64 {
			slip := 1.0
			if driven {
				slip += 0.03 * s.throttle * math.Min(1, 20/s.v)
			}
			return math.Max(0, 3.6*s.v*(slip-0.02*s.brake+side*axle/2*s.curvature))
		}})
	}
	return inGroup(groupDrive, out)
}

func torque(_ *lap, s *state) float64 {
	if s.throttle == 0 {
		return -40 - 25*s.rpm/maxRPM
	}
	return s.throttle * math.Min(power/(s.rpm*2*math.Pi/60), 620)
}

func chassisChannels() []carChannel {
	out := []carChannel{
		{name: "g_long", unit: "g", bits: 13, signed: true, scale: 0.002, min: -6, max: 6, noise: 0.025, value: func(_ *lap, s *state) float64 { return s.ax }},
		{name: "g_lat", unit: "g", bits: 13, signed: true, scale: 0.002, min: -6, max: 6, noise: 0.025, value: func(_ *lap, s *state) float64 { return s.ay }},
		{name: "g_vert", unit: "g", bits: 13, signed: true, scale: 0.002, min: -6, max: 6, noise: 0.06, value: func(_ *lap, s *state) float64 { return s.az }},
		{name: "yaw_rate", unit: "deg/s", bits: 14, signed: true, scale: 0.05, min: -300, max: 300, noise: 0.2, value: func(_ *lap, s *state) float64 {
			return 180 / math.Pi * s.v * s.curvature
		}},
		{name: "roll_angle", unit: "deg", bits: 12, signed: true, scale: 0.01, min: -20, max: 20, noise: 0.03, value: func(_ *lap, s *state) float64 { return 0.55 * s.ay }},
		{name: "pitch_angle", unit: "deg", bits: 12, signed: true, scale: 0.01, min: -20, max: 20, noise: 0.03, value: func(_ *lap, s *state) float64 { return -0.4 * s.ax }},
		{name: "ride_height_front", unit: "mm", bits: 12, scale: 0.05, max: 150, noise: 0.3, value: func(_ *lap, s *state) float64 {
			return 62 + 7*s.ax - 0.0022*s.v*s.v
		}},
		{name: "ride_height_rear", unit: "mm", bits: 12, scale: 0.05, max: 150, noise: 0.3, value: func(_ *lap, s *state) float64 {
			return 74 - 6*s.ax - 0.0026*s.v*s.v
		}},
	}
	for i, name := range corners() {
		side, front := cornerSide(i), 1.0
		if i >= 2 {
			front = -1
		}
		load := func(s *state) float64 { // N on this wheel
			return math.Max(0, mass*gravity/4*s.az+downForce/4*s.v*s.v-front*mass*gravity*s.ax*0.11+side*mass*gravity*s.ay*0.16)
		}
		out = append(out,
			carChannel{name: "damper_" + name, unit: "mm", bits: 14, signed: true, scale: 0.01, min: -80, max: 80, noise: 0.5, value: func(_ *lap, s *state) float64 {
				// the road: the same bumps each lap
				bump := 2.2*math.Sin(s.s*0.61+float64(i)) + 1.4*math.Sin(s.s*1.37+2*float64(i)) + 0.8*math.Sin(s.s*0.13)
				return load(s)/320 - 10 + bump
			}},
			carChannel{name: "wheel_load_" + name, unit: "N", bits: 16, scale: 1, max: 25000, noise: 40, value: func(_ *lap, s *state) float64 { return load(s) }})
	}
	return inGroup(groupChassis, out)
}

func gnssChannels() []carChannel {
	deg := 180 / math.Pi
	return inGroup(groupGNSS, []carChannel{
		{name: "gnss_latitude", unit: "deg", bits: 32, signed: true, scale: 1e-7, min: -90, max: 90, noise: 2e-7, value: func(l *lap, s *state) float64 {
			lat, _ := l.track.position(s.x, s.y)
			return lat
		}},
		{name: "gnss_longitude", unit: "deg", bits: 32, signed: true, scale: 1e-7, min: -180, max: 180, noise: 2e-7, value: func(l *lap, s *state) float64 {
			_, lon := l.track.position(s.x, s.y)
			return lon
		}},
		{name: "gnss_altitude", unit: "m", bits: 24, signed: true, scale: 0.01, min: -500, max: 5000, noise: 0.04, value: func(_ *lap, s *state) float64 { return 180 + s.z }},
		{name: "gnss_heading", unit: "deg", bits: 16, scale: 0.01, max: 360, wrap: 360, noise: 0.05, value: func(_ *lap, s *state) float64 {
			return math.Mod(math.Mod(s.heading*deg, 360)+360, 360)
		}},
		{name: "gnss_speed", unit: "m/s", bits: 16, scale: 0.01, max: 150, noise: 0.02, value: func(_ *lap, s *state) float64 { return s.v }},
		{name: "gnss_satellites", bits: 6, scale: 1, max: 40, step: true, value: func(_ *lap, s *state) float64 { return 17 + math.Floor(3*math.Sin(s.s/700)) }},
	})
}

func thermalChannels() []carChannel {
	var out []carChannel
	for i, name := range corners() {
		side := cornerSide(i)
		for k, part := range []string{"inner", "mid", "outer"} {
			camber := 6 - 5*float64(k) // the inner shoulder runs hotter
			out = append(out, carChannel{
				name: fmt.Sprintf("tyre_temp_%s_%s", name, part), unit: "degC", bits: 12, scale: 0.1, offset: -40, min: -40, max: 200, noise: 0.25, drift: driftWarm, span: 45,
				value: func(_ *lap, s *state) float64 { return 70 + 42*s.tyre + camber + 2.5*side*s.ay },
			})
		}
	}
	for i, name := range corners() {
		out = append(out,
			carChannel{name: "tyre_pressure_" + name, unit: "bar", bits: 10, scale: 0.005, max: 5, noise: 0.003, drift: driftWarm, span: 0.35, value: func(_ *lap, s *state) float64 {
				return 1.55 + 0.32*s.tyre + 0.02*float64(i&1)
			}},
			carChannel{name: "brake_temp_" + name, unit: "degC", bits: 11, scale: 1, max: 1200, noise: 1.5, drift: driftWarm, span: 60, value: func(_ *lap, s *state) float64 {
				return 220 + (620-140*float64(i/2))*math.Min(1, s.brakeT)
			}})
	}
	fluid := func(name, unit string, scale, max, at, gain, span, noise float64) carChannel {
		return carChannel{name: name, unit: unit, bits: 12, scale: scale, max: max, noise: noise, drift: driftWarm, span: span, value: func(_ *lap, s *state) float64 { return at + gain*s.engine }}
	}
	out = append(out,
		fluid("water_temp", "degC", 0.1, 160, 78, 18, 40, 0.1),
		fluid("oil_temp", "degC", 0.1, 180, 88, 26, 55, 0.1),
		fluid("gearbox_temp", "degC", 0.1, 180, 80, 22, 50, 0.1),
		fluid("intake_temp", "degC", 0.1, 120, 30, 9, 5, 0.1),
		fluid("exhaust_temp", "degC", 1, 1200, 560, 420, 200, 2),
		carChannel{name: "oil_pressure", unit: "bar", bits: 10, scale: 0.01, max: 10, noise: 0.03, value: func(_ *lap, s *state) float64 { return 1.6 + 3.9*s.rpm/maxRPM }},
		carChannel{name: "fuel_pressure", unit: "bar", bits: 10, scale: 0.01, max: 10, noise: 0.02, value: func(_ *lap, s *state) float64 { return 5.1 - 0.25*s.burn }},
		carChannel{name: "fuel_level", unit: "l", bits: 11, scale: 0.05, max: 100, noise: 0.04, drift: driftFuel, span: 2.6, value: func(l *lap, s *state) float64 { return 92 - 2.6*s.s/l.track.length }},
		carChannel{name: "battery_voltage", unit: "V", bits: 10, scale: 0.02, max: 20, noise: 0.03, value: func(_ *lap, s *state) float64 { return 13.9 - 0.35*s.brake - 0.1*s.burn }},
		carChannel{name: "ambient_temp", unit: "degC", bits: 10, scale: 0.1, offset: -40, min: -40, max: 60, noise: 0.05, value: func(_ *lap, s *state) float64 { return 23 - 0.0065*s.z }},
		carChannel{name: "air_pressure", unit: "hPa", bits: 14, scale: 0.1, max: 1200, noise: 0.1, value: func(_ *lap, s *state) float64 { return 992 - 0.118*s.z }},
	)
	return inGroup(groupThermal, out)
}

// corners names the wheels: front left, front right, rear left, rear right.
func corners() [4]string { return [4]string{"fl", "fr", "rl", "rr"} }

// cornerSide returns -1 on the left and 1 on the right: the outside of a left
// turn, whose curvature is positive.
func cornerSide(i int) float64 { return float64(2*(i&1) - 1) }

func inGroup(group string, list []carChannel) []carChannel {
	for i := range list {
		list[i].group = group
	}
	return list
}
