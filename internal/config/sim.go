package config

import "time"

// Sim is a simulated car that drives laps.
type Sim struct {
	Channels int      `yaml:"channels"`  // default 200
	Rate     Rate     `yaml:"rate"`      // of the fastest group; default 100Hz
	Seed     int64    `yaml:"seed"`      // default 1
	Laps     int      `yaml:"laps"`      // 0 = drive until stopped
	LapTime  Duration `yaml:"lap_time"`  // 20s to 10m; default 95s
	FullRate bool     `yaml:"full_rate"` // all channels beyond the car's own at the fastest rate
}

func (s *Sim) preset() {
	*s = Sim{Channels: 200, Rate: 100_000, Seed: 1, LapTime: Duration(95 * time.Second)}
}

func (s *Sim) resolve(string) {}

func (s *Sim) validate(at string, report reporter) {
	if s.Channels < 1 || s.Channels > MaxChannel {
		report(at+".channels", "is %d (want 1 to %d)", s.Channels, int(MaxChannel))
	}
	if s.Rate < 1000 || s.Rate > 1_500_000 {
		report(at+".rate", "is out of range (want 1Hz to 1.5kHz)")
	}
	if d := s.LapTime.D(); d < 20*time.Second || d > 10*time.Minute {
		report(at+".lap_time", "is %v (want 20s to 10m)", d)
	}
	if s.Laps < 0 {
		report(at+".laps", "is %d (want 0, to drive until stopped, or more)", s.Laps)
	}
}
