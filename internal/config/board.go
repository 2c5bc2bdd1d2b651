package config

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// IMU reads an inertial sensor of the MPU-6500 family on the board's I²C or SPI.
type IMU struct {
	Bus     Bus    `yaml:"bus"`      // as i2c-1 or spi0.0
	Address Addr   `yaml:"address"`  // on I²C; default 0x68
	Clock   Rate   `yaml:"clock"`    // of the bus; default 400kHz, on SPI 1000kHz
	Rate    Rate   `yaml:"rate"`     // default 1kHz
	Accel   int    `yaml:"accel"`    // full scale in g: 2, 4, 8 or 16; default 16
	Gyro    int    `yaml:"gyro"`     // full scale in degrees a second: 250, 500, 1000 or 2000; default 2000
	LowPass Rate   `yaml:"low_pass"` // of the chip: 250Hz, 184Hz, 92Hz, 41Hz, 20Hz, 10Hz or 5Hz; default 184Hz
	Filter  Filter `yaml:"filter"`
	Thread  Thread `yaml:"thread"`
}

// ADC reads a converter on the board's I²C or SPI.
type ADC struct {
	Chip        string     `yaml:"chip"`        // ads1115 or mcp3208
	Bus         Bus        `yaml:"bus"`         // as i2c-1 or spi0.0
	Address     Addr       `yaml:"address"`     // on I²C; default 0x48
	Clock       Rate       `yaml:"clock"`       // of the bus; default 400kHz, on SPI 1000kHz
	Rate        Rate       `yaml:"rate"`        // of rows; default 100Hz
	FullScale   float64    `yaml:"full_scale"`  // of the ads1115, V; default 4.096
	Conversions int        `yaml:"conversions"` // of the ads1115, a second; default 860
	Reference   float64    `yaml:"reference"`   // of the mcp3208, V
	Inputs      []ADCInput `yaml:"inputs"`
	Filter      Filter     `yaml:"filter"`
	Thread      Thread     `yaml:"thread"`
}

// ADCInput is one input of a converter.
type ADCInput struct {
	Pin    int     `yaml:"pin"`
	Name   string  `yaml:"name"`
	Unit   string  `yaml:"unit"`   // default V
	Scale  float64 `yaml:"scale"`  // from volts to the unit; default 1
	Offset float64 `yaml:"offset"` // likewise
}

// IIO captures a device of the kernel's industrial I/O.
type IIO struct {
	Device    string   `yaml:"device"`   // as iio:device0, or the name that its driver gives it
	Channels  []string `yaml:"channels"` // as accel_x; default all
	Rate      Rate     `yaml:"rate"`     // absent: as it is
	Trigger   string   `yaml:"trigger"`  // absent: as it is
	Length    int      `yaml:"length"`   // of the kernel's buffer in samples; default half a second
	Watermark int      `yaml:"watermark"`
}

// Filter is a linear-phase low pass before the rate is reduced: the device is read
// at rate times oversample.
type Filter struct {
	Oversample int `yaml:"oversample"` // 1 to 64; default 1: none
}

// Thread says what the reading thread asks of the kernel. What it does not get is
// a warning.
type Thread struct {
	Realtime   int  `yaml:"realtime"`    // SCHED_FIFO priority, 1 to 99; default 0: the usual scheduling
	CPU        int  `yaml:"cpu"`         // bound to this one, counted from 1; default 0: any
	LockMemory bool `yaml:"lock_memory"` // the process is kept from being paged out
}

// maxPolled is the fastest that a device is asked.
const maxPolled = 20_000_000 // mHz

func (i *IMU) preset() { *i = IMU{Address: 0x68, Rate: 1_000_000, LowPass: 184_000} }

func (a *ADC) preset() { *a = ADC{Address: 0x48, Rate: 100_000} }

func (i *IMU) resolve(string) {}

func (a *ADC) resolve(string) {}

func (i *IIO) resolve(string) {}

func (i *IMU) validate(at string, report reporter) {
	checkPolled(at, i.Bus, i.Rate, i.Filter, i.Thread, report)
}

func (a *ADC) validate(at string, report reporter) {
	oneOf(at+".chip", a.Chip, report, "ads1115", "mcp3208")
	if a.Chip != "" && a.Bus.Kind != "" && (a.Chip == "ads1115") != (a.Bus.Kind == "i2c") {
		report(at+".bus", "is %s, where there is no %s", a.Bus.Kind, a.Chip)
	}
	if a.Chip == "mcp3208" && !(a.Reference > 0) {
		report(at+".reference", "is missing (want the converter's reference in volts, as 3.3)")
	}
	if len(a.Inputs) == 0 {
		report(at+".inputs", "is missing (want at least one, as {pin: 0, name: oil_pressure})")
	}
	for k, in := range a.Inputs {
		if in.Name == "" {
			report(fmt.Sprintf("%s.inputs[%d].name", at, k), "is missing")
		}
	}
	checkPolled(at, a.Bus, a.Rate, a.Filter, a.Thread, report)
}

func checkPolled(at string, b Bus, rate Rate, f Filter, t Thread, report reporter) {
	if b.Kind == "" {
		report(at+".bus", "is missing (want i2c-1 or spi0.0, as below /dev)")
	}
	if f.Oversample < 0 || f.Oversample > 64 {
		report(at+".filter.oversample", "is %d (want 1 to 64)", f.Oversample)
	}
	if rate == 0 || rate*Rate(max(1, f.Oversample)) > maxPolled {
		report(at+".rate", "is out of range (want up to 20kHz, oversampling included)")
	}
	if t.Realtime < 0 || t.Realtime > 99 {
		report(at+".thread.realtime", "is %d (want 0 to 99)", t.Realtime)
	}
	if t.CPU < 0 {
		report(at+".thread.cpu", "is %d (want 0, for any, or more)", t.CPU)
	}
}

func (i *IIO) validate(at string, report reporter) {
	if i.Device == "" {
		report(at+".device", "is missing (want iio:device0, or the name that its driver gives it)")
	}
	if i.Length < 0 || i.Watermark < 0 || i.Length > 0 && i.Watermark > i.Length {
		report(at+".watermark", "is %d with a length of %d (want less than the length)", i.Watermark, i.Length)
	}
}

// Bus names a bus of the board.
type Bus struct {
	Kind   string // i2c or spi
	Number int
	Select int // chip select, of SPI
}

func (*Bus) want() string { return "a bus as below /dev: i2c-1 or spi0.0" }

// UnmarshalYAML reads a bus.
func (b *Bus) UnmarshalYAML(n ast.Node) (err error) {
	t := text(n)
	if num, ok := strings.CutPrefix(t, "i2c-"); ok {
		b.Kind = "i2c"
		b.Number, err = strconv.Atoi(num)
	} else if rest, ok := strings.CutPrefix(strings.Replace(t, "spidev", "spi", 1), "spi"); ok {
		num, cs, _ := strings.Cut(rest, ".")
		b.Kind = "spi"
		if b.Number, err = strconv.Atoi(num); err == nil {
			b.Select, err = strconv.Atoi(cs)
		}
	}
	if err != nil || b.Kind == "" || b.Number < 0 || b.Select < 0 {
		*b = Bus{}
		return badValue(n, b, "is none")
	}
	return nil
}

// Addr is an address on I²C.
type Addr uint16

func (*Addr) want() string { return "an address of 7 bits, as 0x68" }

// UnmarshalYAML reads an address.
func (a *Addr) UnmarshalYAML(n ast.Node) error {
	v, err := strconv.ParseUint(text(n), 0, 7)
	if err != nil {
		return badValue(n, a, "is none")
	}
	*a = Addr(v)
	return nil
}

// Speed returns the bus clock in Hz.
func (b Bus) Speed(clock Rate) int64 {
	switch {
	case clock > 0:
		return int64(clock / 1000)
	case b.Kind == "spi":
		return 1_000_000
	}
	return 400_000
}
