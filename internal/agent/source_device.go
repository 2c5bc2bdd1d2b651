package agent

import (
	"errors"
	"log/slog"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/gnss"
)

// device makes the source of a device that is no bus.
func (b *builder) device(at string, c config.Source, log *slog.Logger) (sensors.Source, error) {
	switch {
	case c.Gnss != nil:
		return b.gnss(at+".gnss", c.Gnss, log)
	case c.Serial != nil:
		return b.serial(at+".serial", c.Serial, log)
	case c.UDP != nil:
		return b.udp(at+".udp", c.UDP, log)
	case c.IMU != nil:
		return b.imu(at+".imu", c.Name, c.IMU, log)
	case c.ADC != nil:
		return b.adc(at+".adc", c.Name, c.ADC, log)
	case c.IIO != nil:
		return b.iio(at+".iio", c.Name, c.IIO, log)
	}
	return nil, b.fault(at, errors.New("a source without a kind"))
}

// gnss makes the source of a satellite receiver.
func (b *builder) gnss(at string, c *config.Gnss, log *slog.Logger) (sensors.Source, error) {
	s, err := gnss.New(gnss.Config{
		Port: c.Port, Bauds: c.Baud.List(), Protocol: gnss.Protocol(c.Protocol), RateHz: int(c.Rate / 1000),
		Latency: c.Latency.D(), LatencyError: c.LatencyError.D(), PPS: c.PPS, Root: b.root, NotBefore: c.NotBefore.Time,
		File: c.File, Speed: max(0, float64(c.Speed)), Unpaced: c.Speed == config.SpeedMax, Clock: pairClock{b.clock}, Log: log,
	})
	if err != nil {
		return nil, b.fault(at, err)
	}
	return s, nil
}
