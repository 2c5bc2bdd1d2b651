// Package sim simulates a car that drives laps, with as many channels as are
// asked for.
//
// The entry points are [NewModel], which computes any value of any tick, and
// [New], the source that plays a model in time.
//
// A value depends on the configuration, its channel and the number of its tick,
// and on nothing else: a checker that has the same configuration knows what the
// source has sent. The package never keeps state between ticks and never
// accumulates time.
package sim

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Limits of a configuration.
const (
	MaxChannels    = 50_000
	MaxRateMilliHz = 1_500_000
	MaxSpeed       = 100
	GroupSize      = 512 // channels in a group at most, so that blocks stay small
	minLap         = 20 * time.Second
	maxLap         = 600 * time.Second
	defaultLap     = 95 * time.Second
	defaultRate    = 100_000
)

// Clock is the boot clock.
type Clock interface {
	// BootNS returns ns since boot. It never goes back.
	BootNS() int64
}

// Config describes a simulated car. The zero value of all but Clock is a car
// with its own channels only, at 100 Hz, that drives until it is stopped.
type Config struct {
	Channels    int           // 1 to 50,000; 0 means the car's own ones. Fewer than those are the first of them
	RateMilliHz uint64        // of the fastest groups, 1 to 1500 Hz; 0 means 100 Hz. Slow groups have a fraction of it, at least 1 Hz
	Seed        int64         // of noise and of the further channels
	TrackSeed   int64         // of the track
	LapTime     time.Duration // 20 s to 10 min; 0 means 95 s. The track is made as long as the car needs
	Speed       float64       // car time per time, in steps of 0.001, up to 100; 0 means 1. Rates do not change
	FullRate    bool          // all further channels at the fastest rate, for load tests
	Laps        int           // the source is at its end after so many; 0 means never
	Clock       Clock         // for the source; a model needs none
	Unpaced     bool          // the source goes as fast as rows are taken; stamps are as if it did not
}

// Validate reports all faults but a missing clock.
func (c *Config) Validate() error {
	var errs []error
	if c.Channels < 0 || c.Channels > MaxChannels {
		errs = append(errs, fmt.Errorf("sim: %d channels (want 1 to %d)", c.Channels, MaxChannels))
	}
	if c.RateMilliHz != 0 && (c.RateMilliHz < 1000 || c.RateMilliHz > MaxRateMilliHz) {
		errs = append(errs, fmt.Errorf("sim: rate of %d mHz (want 1000 to %d)", c.RateMilliHz, MaxRateMilliHz))
	}
	if c.LapTime != 0 && (c.LapTime < minLap || c.LapTime > maxLap) {
		errs = append(errs, fmt.Errorf("sim: lap time %v (want %v to %v)", c.LapTime, minLap, maxLap))
	}
	if c.Speed != 0 && !(c.Speed >= 0.001 && c.Speed <= MaxSpeed) {
		errs = append(errs, fmt.Errorf("sim: speed %v (want 0.001 to %d)", c.Speed, MaxSpeed))
	}
	if c.Laps < 0 {
		errs = append(errs, fmt.Errorf("sim: %d laps (want 0 or more)", c.Laps))
	}
	return errors.Join(errs...)
}

func (c Config) withDefaults() Config {
	if c.Channels == 0 {
		c.Channels = len(carChannels())
	}
	if c.RateMilliHz == 0 {
		c.RateMilliHz = defaultRate
	}
	if c.LapTime == 0 {
		c.LapTime = defaultLap
	}
	if c.Speed == 0 {
		c.Speed = 1
	}
	c.Speed = math.Round(c.Speed*1000) / 1000
	return c
}
