package chip

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"telemetry/wire"
)

// Input is one input of a converter.
type Input struct {
	Pin           int
	Name, Unit    string
	Scale, Offset float64 // from volts to the unit; scale 0 means 1
}

func (in *Input) channel(volt, least, most float64) wire.Channel {
	scale := in.Scale
	if scale == 0 {
		scale = 1
	}
	unit := in.Unit
	if unit == "" {
		unit = "V"
	}
	a, b := least*scale+in.Offset, most*scale+in.Offset
	return wire.Channel{
		Name: in.Name, Unit: unit, Type: wire.TypeInt, Bits: 16, Scale: volt * scale, Offset: in.Offset, Min: min(a, b), Max: max(a, b),
	}
}

// checkInputs reports inputs that a converter has not.
func checkInputs(inputs []Input, pins int) error {
	if len(inputs) == 0 || len(inputs) > pins {
		return fmt.Errorf("chip: %d inputs (want 1 to %d)", len(inputs), pins)
	}
	for i, in := range inputs {
		if in.Pin < 0 || in.Pin >= pins || in.Name == "" {
			return fmt.Errorf("chip: input %d: pin %d, name %q (want pin 0 to %d and a name)", i, in.Pin, in.Name, pins-1)
		}
	}
	return nil
}

// ADS1115Config says how this converter of 16 bits is set. It converts one input
// after the other, so a row takes inputs/Rate.
type ADS1115Config struct {
	Name      string
	Inputs    []Input // pins 0 to 3, against ground
	FullScale float64 // V: 6.144, 4.096, 2.048, 1.024, 0.512 or 0.256; 0 means 4.096
	Rate      int     // conversions a second: 8, 16, 32, 64, 128, 250, 475 or 860; 0 means 860
	Open      Opener
	Sleep     func(time.Duration) // nil means time.Sleep
}

// Registers of the ADS1115 and bits of its configuration.
const (
	adsConversion = 0
	adsConfig     = 1
	adsStart      = 1 << 15
	adsSingle     = 1 << 14 // inputs against ground
	adsOnce       = 1 << 8
	adsNoCompare  = 3
	adsTries      = 20 // looks at a conversion that is not ready
)

var (
	adsScales = []float64{6.144, 4.096, 2.048, 1.024, 0.512, 0.256}
	adsRates  = []int{8, 16, 32, 64, 128, 250, 475, 860}
)

// ADS1115 is a converter on I²C.
type ADS1115 struct {
	cfg    ADS1115Config
	config uint16
	wait   time.Duration
	link   Link
	buf    [8]byte
}

// NewADS1115 checks cfg.
func NewADS1115(cfg ADS1115Config) (*ADS1115, error) {
	if cfg.FullScale == 0 {
		cfg.FullScale = 4.096
	}
	if cfg.Rate == 0 {
		cfg.Rate = 860
	}
	if cfg.Sleep == nil {
		cfg.Sleep = time.Sleep
	}
	scale, rate := slices.Index(adsScales, cfg.FullScale), slices.Index(adsRates, cfg.Rate)
	var errs []error
	if scale < 0 {
		errs = append(errs, fmt.Errorf("chip: full scale of %v V (want one of %v)", cfg.FullScale, adsScales))
	}
	if rate < 0 {
		errs = append(errs, fmt.Errorf("chip: %d conversions a second (want one of %v)", cfg.Rate, adsRates))
	}
	if cfg.Open == nil {
		errs = append(errs, errors.New("chip: no connection"))
	}
	if err := errors.Join(append(errs, checkInputs(cfg.Inputs, 4))...); err != nil {
		return nil, err
	}
	return &ADS1115{
		cfg: cfg, config: adsStart | adsSingle | uint16(scale)<<9 | adsOnce | uint16(rate)<<5 | adsNoCompare,
		wait: time.Second / time.Duration(cfg.Rate),
	}, nil
}

// Group describes a row.
func (a *ADS1115) Group() wire.Group {
	g := wire.Group{Name: a.cfg.Name, Lane: wire.LaneFull}
	for i := range a.cfg.Inputs {
		g.Channels = append(g.Channels, a.cfg.Inputs[i].channel(a.cfg.FullScale/32768, -a.cfg.FullScale, a.cfg.FullScale))
	}
	return g
}

// Open connects. The converter has no name to ask for: its configuration is read
// back.
func (a *ADS1115) Open() (err error) {
	if a.link, err = a.cfg.Open(); err != nil {
		return err
	}
	want := a.config &^ adsStart
	if err = a.link.Conn.Tx([]byte{adsConfig, byte(want >> 8), byte(want)}, nil); err == nil {
		err = a.link.read(adsConfig, a.buf[:2], a.buf[2:])
	}
	if got := uint16(a.buf[0])<<8 | uint16(a.buf[1]); err == nil && got&^adsStart != want {
		err = fmt.Errorf("it read back %#04x for %#04x", got, want)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("chip: set up ADS1115: %w: is it wired, is its address right?", err), a.Close())
	}
	return nil
}

// FastestMilliHz returns how many rows its conversions, one after the other, allow.
func (a *ADS1115) FastestMilliHz() uint64 {
	return uint64(a.cfg.Rate) * 1000 / uint64(len(a.cfg.Inputs))
}

var errNotReady = errors.New("conversion does not end")

// Read converts every input.
func (a *ADS1115) Read(row []int64) error {
	for i, in := range a.cfg.Inputs {
		c := a.config | uint16(in.Pin)<<12
		a.buf[0], a.buf[1], a.buf[2] = adsConfig, byte(c>>8), byte(c)
		if err := a.link.Conn.Tx(a.buf[:3], nil); err != nil {
			return fmt.Errorf("chip: start conversion of %s: %w", in.Name, err)
		}
		a.cfg.Sleep(a.wait)
		if err := a.await(); err != nil {
			return fmt.Errorf("chip: convert %s: %w", in.Name, err)
		}
		if err := a.link.read(adsConversion, a.buf[:2], a.buf[2:]); err != nil {
			return fmt.Errorf("chip: read %s: %w", in.Name, err)
		}
		row[i] = int64(int16(uint16(a.buf[0])<<8 | uint16(a.buf[1])))
	}
	return nil
}

// await looks until the conversion is ready: its clock is off by up to a tenth.
func (a *ADS1115) await() error {
	for range adsTries {
		if err := a.link.read(adsConfig, a.buf[:2], a.buf[2:]); err != nil {
			return err
		}
		if a.buf[0]&(adsStart>>8) != 0 {
			return nil
		}
		a.cfg.Sleep(a.wait / 10)
	}
	return errNotReady
}

// Close gives the bus back.
func (a *ADS1115) Close() error { return a.link.close() }

// MCP3208Config says how this converter of 12 bits is used.
type MCP3208Config struct {
	Name    string
	Inputs  []Input // pins 0 to 7, against ground
	VoltRef float64 // its reference, V
	Open    Opener
}

// MCP3208 is a converter on SPI: an input is read in one exchange of three bytes.
type MCP3208 struct {
	cfg  MCP3208Config
	link Link
	w, r [3]byte
}

// NewMCP3208 checks cfg.
func NewMCP3208(cfg MCP3208Config) (*MCP3208, error) {
	err := checkInputs(cfg.Inputs, 8)
	if !(cfg.VoltRef > 0 && cfg.VoltRef < 10) || math.IsNaN(cfg.VoltRef) {
		err = errors.Join(err, fmt.Errorf("chip: reference of %v V (want more than 0, up to 10)", cfg.VoltRef))
	}
	if cfg.Open == nil {
		err = errors.Join(err, errors.New("chip: no connection"))
	}
	return &MCP3208{cfg: cfg}, err
}

// Group describes a row.
func (a *MCP3208) Group() wire.Group {
	g := wire.Group{Name: a.cfg.Name, Lane: wire.LaneFull}
	for i := range a.cfg.Inputs {
		c := a.cfg.Inputs[i].channel(a.cfg.VoltRef/4096, 0, a.cfg.VoltRef)
		c.Type, c.Bits = wire.TypeUint, 12
		g.Channels = append(g.Channels, c)
	}
	return g
}

// Open connects.
func (a *MCP3208) Open() (err error) {
	a.link, err = a.cfg.Open()
	return err
}

var errNoNull = errors.New("no null bit before the value: is the converter wired and powered?")

// Read converts every input.
func (a *MCP3208) Read(row []int64) error {
	const startSingle = 0x06
	for i, in := range a.cfg.Inputs {
		a.w = [3]byte{startSingle | byte(in.Pin>>2), byte(in.Pin << 6), 0}
		if err := a.link.Conn.Tx(a.w[:], a.r[:]); err != nil {
			return fmt.Errorf("chip: convert %s: %w", in.Name, err)
		}
		if a.r[1]&0x10 != 0 {
			return fmt.Errorf("chip: convert %s: %w", in.Name, errNoNull)
		}
		row[i] = int64(a.r[1]&0x0F)<<8 | int64(a.r[2])
	}
	return nil
}

// Close gives the bus back.
func (a *MCP3208) Close() error { return a.link.close() }
