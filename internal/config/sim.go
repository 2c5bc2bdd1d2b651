package config

// Sim is a simulated car that drives laps.
type Sim struct {
	Channels int   `yaml:"channels"` // default 200
	Rate     Rate  `yaml:"rate"`     // of the fastest group; default 100Hz
	Seed     int64 `yaml:"seed"`     // default 1
	Laps     int   `yaml:"laps"`     // 0 = drive until stopped
}

func (s *Sim) preset() { *s = Sim{Channels: 200, Rate: 100_000, Seed: 1} }

func (s *Sim) resolve(string) {}

func (s *Sim) validate(at string, report reporter) {
	if s.Channels < 1 || s.Channels > MaxChannel {
		report(at+".channels", "is %d (want 1 to %d)", s.Channels, int(MaxChannel))
	}
	if s.Rate < 1000 || s.Rate > 1_500_000 {
		report(at+".rate", "is out of range (want 1Hz to 1.5kHz)")
	}
	if s.Laps < 0 {
		report(at+".laps", "is %d (want 0, to drive until stopped, or more)", s.Laps)
	}
}
