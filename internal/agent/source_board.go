package agent

import (
	"log/slog"

	"periph.io/x/conn/v3/spi"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/chip"
	"telemetry/sensors/filter"
	"telemetry/sensors/iio"
	"telemetry/sensors/poll"
)

// opener connects to a chip on a bus of the board.
func opener(bus config.Bus, addr config.Addr, clock config.Rate) chip.Opener {
	if bus.Kind == "spi" {
		return chip.SPI(bus.Number, bus.Select, bus.Speed(clock), spi.Mode0)
	}
	return chip.I2C(bus.Number, uint16(addr), bus.Speed(clock))
}

// polled makes a source of a device that is asked at a rate.
func (b *builder) polled(at string, d poll.Device, rate config.Rate, f config.Filter, t config.Thread, log *slog.Logger) (sensors.Source, error) {
	factor := max(1, f.Oversample)
	s, err := poll.New(poll.Config{
		Device: d, RateMilliHz: uint64(rate) * uint64(factor), Clock: b.clock, Log: log,
		Thread: poll.Thread{Realtime: t.Realtime, CPU: t.CPU, Lock: t.LockMemory},
	})
	if err != nil || factor == 1 {
		return s, b.fault(at, err)
	}
	filtered, err := filter.NewSource(s, factor)
	return filtered, b.fault(at+".filter", err)
}

// imu makes the source of an inertial sensor on a bus of the board.
func (b *builder) imu(at, name string, c *config.IMU, log *slog.Logger) (sensors.Source, error) {
	d, err := chip.NewMPU(chip.MPUConfig{
		Name: name, AccelG: c.Accel, GyroDPS: c.Gyro, LowPassHz: int(c.LowPass / 1000), Open: opener(c.Bus, c.Address, c.Clock),
	})
	if err != nil {
		return nil, b.fault(at, err)
	}
	return b.polled(at, d, c.Rate, c.Filter, c.Thread, log)
}

// adc makes the source of a converter on a bus of the board.
func (b *builder) adc(at, name string, c *config.ADC, log *slog.Logger) (sensors.Source, error) {
	var inputs []chip.Input
	for _, in := range c.Inputs {
		inputs = append(inputs, chip.Input{Pin: in.Pin, Name: in.Name, Unit: in.Unit, Scale: in.Scale, Offset: in.Offset})
	}
	open := opener(c.Bus, c.Address, c.Clock)
	var d poll.Device
	var err error
	if c.Chip == "mcp3208" {
		d, err = chip.NewMCP3208(chip.MCP3208Config{Name: name, Inputs: inputs, VoltRef: c.Reference, Open: open})
	} else {
		d, err = chip.NewADS1115(chip.ADS1115Config{Name: name, Inputs: inputs, FullScale: c.FullScale, Rate: c.Conversions, Open: open})
	}
	if err != nil {
		return nil, b.fault(at, err)
	}
	return b.polled(at, d, c.Rate, c.Filter, c.Thread, log)
}

// iio makes the source of a device of the kernel's industrial I/O.
func (b *builder) iio(at, name string, c *config.IIO, log *slog.Logger) (sensors.Source, error) {
	s, err := iio.New(iio.Config{
		Name: name, Device: c.Device, Channels: c.Channels, RateHz: float64(c.Rate) / 1000, Trigger: c.Trigger,
		Length: c.Length, Watermark: c.Watermark, Clock: b.clock, Log: log,
	})
	if err != nil {
		return nil, b.fault(at, err)
	}
	return s, nil
}
