package chip

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"telemetry/wire"
)

// MPUConfig says how an inertial sensor is set.
type MPUConfig struct {
	Name      string // of the group, and before the channels' names
	AccelG    int    // full scale: 2, 4, 8 or 16 g; 0 means 16
	GyroDPS   int    // full scale: 250, 500, 1000 or 2000 degrees a second; 0 means 2000
	LowPassHz int    // the chip's own filter: one of MPULowPass; 0 means 184
	Open      Opener
	Sleep     func(time.Duration) // nil means time.Sleep
}

// Registers of the family.
const (
	mpuSampleDiv = 0x19
	mpuConfig    = 0x1A
	mpuGyro      = 0x1B
	mpuAccel     = 0x1C
	mpuAccel2    = 0x1D
	mpuData      = 0x3B
	mpuUser      = 0x6A
	mpuPower     = 0x6B
	mpuWho       = 0x75

	mpuReset  = 0x80
	mpuNoI2C  = 0x10
	mpuBytes  = 14
	resetWait = 100 * time.Millisecond
)

// mpuNames are the answers of chips with these registers.
var mpuNames = map[byte]string{0x70: "MPU-6500", 0x71: "MPU-9250", 0x73: "MPU-9255", 0x12: "ICM-20602", 0xAF: "ICM-20608", 0x98: "ICM-20689"}

// lowPass is a setting of the chip's filter for angular rates: its bandwidth and
// how much it delays, by the data sheet. Accelerations are about a ms later.
type lowPass struct {
	hz    int
	delay time.Duration
	bits  byte
}

var lowPasses = [...]lowPass{
	{250, 970 * time.Microsecond, 0},
	{184, 2900 * time.Microsecond, 1},
	{92, 3900 * time.Microsecond, 2},
	{41, 5900 * time.Microsecond, 3},
	{20, 9900 * time.Microsecond, 4},
	{10, 17850 * time.Microsecond, 5},
	{5, 33480 * time.Microsecond, 6},
}

// MPULowPass lists the bandwidths of the chip's filter in Hz.
func MPULowPass() []int {
	var out []int
	for _, l := range lowPasses {
		out = append(out, l.hz)
	}
	return out
}

// MPU is an inertial sensor: three accelerations, three angular rates and its
// temperature.
type MPU struct {
	cfg    MPUConfig
	filter lowPass
	link   Link
	data   [mpuBytes]byte
	buf    [2*mpuBytes + 2]byte
}

// NewMPU checks cfg.
func NewMPU(cfg MPUConfig) (*MPU, error) {
	if cfg.AccelG == 0 {
		cfg.AccelG = 16
	}
	if cfg.GyroDPS == 0 {
		cfg.GyroDPS = 2000
	}
	if cfg.LowPassHz == 0 {
		cfg.LowPassHz = 184
	}
	if cfg.Sleep == nil {
		cfg.Sleep = time.Sleep
	}
	m := &MPU{cfg: cfg}
	var errs []error
	if !slices.Contains([]int{2, 4, 8, 16}, cfg.AccelG) {
		errs = append(errs, fmt.Errorf("chip: full scale of %d g (want 2, 4, 8 or 16)", cfg.AccelG))
	}
	if !slices.Contains([]int{250, 500, 1000, 2000}, cfg.GyroDPS) {
		errs = append(errs, fmt.Errorf("chip: full scale of %d degrees a second (want 250, 500, 1000 or 2000)", cfg.GyroDPS))
	}
	i := slices.IndexFunc(lowPasses[:], func(l lowPass) bool { return l.hz == cfg.LowPassHz })
	if i < 0 {
		errs = append(errs, fmt.Errorf("chip: low pass of %d Hz (want one of %v)", cfg.LowPassHz, MPULowPass()))
	} else {
		m.filter = lowPasses[i]
	}
	if cfg.Open == nil {
		errs = append(errs, errors.New("chip: no connection"))
	}
	return m, errors.Join(errs...)
}

// Group describes a row.
func (m *MPU) Group() wire.Group {
	g := wire.Group{Name: m.cfg.Name, Lane: wire.LaneFull}
	phase := fmt.Sprintf("; low pass %d Hz of the chip, %.2f ms late", m.filter.hz, m.filter.delay.Seconds()*1e3)
	add := func(name, unit, text string, scale, offset, most float64) {
		g.Channels = append(g.Channels, wire.Channel{
			Name: m.cfg.Name + "_" + name, Unit: unit, Description: text, Type: wire.TypeInt, Bits: 16, Scale: scale, Offset: offset, Min: -most, Max: most,
		})
	}
	accel, gyro := float64(m.cfg.AccelG), float64(m.cfg.GyroDPS)
	for _, axis := range []string{"x", "y", "z"} {
		add("accel_"+axis, "g", "acceleration"+phase+" and a ms", accel/32768, 0, accel)
	}
	add("temp", "degC", "temperature of the chip", 1/333.87, 21, 0)
	for _, axis := range []string{"x", "y", "z"} {
		add("gyro_"+axis, "deg/s", "angular rate"+phase, gyro/32768, 0, gyro)
	}
	return g
}

// Open resets the chip and sets it up.
func (m *MPU) Open() (err error) {
	if m.link, err = m.cfg.Open(); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("chip: set up inertial sensor: %w", err), m.Close())
		}
	}()
	who := m.data[:1]
	if err := m.link.read(mpuWho, who, m.buf[:]); err != nil {
		return fmt.Errorf("%w: is it wired, is its address right?", err)
	}
	if mpuNames[who[0]] == "" {
		return fmt.Errorf("it says that it is %#02x (want one of the MPU-6500 family)", who[0])
	}
	if err := m.link.write(mpuPower, mpuReset); err != nil {
		return err
	}
	m.cfg.Sleep(resetWait)
	level := func(v, least int) (bits byte) {
		for v > least {
			v /= 2
			bits++
		}
		return bits << 3
	}
	type setting struct{ reg, v byte }
	settings := []setting{
		{mpuPower, 1}, // the gyroscope's clock
		{mpuSampleDiv, 0},
		{mpuConfig, m.filter.bits},
		{mpuGyro, level(m.cfg.GyroDPS, 250)},
		{mpuAccel, level(m.cfg.AccelG, 2)},
		{mpuAccel2, m.filter.bits},
	}
	if m.link.SPI {
		settings = append(settings, setting{mpuUser, mpuNoI2C})
	}
	for _, s := range settings {
		if err := m.link.write(s.reg, s.v); err != nil {
			return err
		}
	}
	return nil
}

// Read reads all seven values of one moment.
func (m *MPU) Read(row []int64) error {
	if err := m.link.read(mpuData, m.data[:], m.buf[:]); err != nil {
		return fmt.Errorf("chip: read inertial sensor: %w", err)
	}
	for i := range row {
		row[i] = int64(int16(uint16(m.data[2*i])<<8 | uint16(m.data[2*i+1])))
	}
	return nil
}

// Close gives the bus back.
func (m *MPU) Close() error { return m.link.close() }
