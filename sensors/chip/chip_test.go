package chip

import (
	"errors"
	"strings"
	"testing"
	"time"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/conntest"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/conn/v3/spi/spitest"

	"telemetry/sensors/poll"
)

// onI2C plays a bus; done reports exchanges that did not come.
func onI2C(addr uint16, ops ...conntest.IO) (open Opener, done func() error) {
	bus := &i2ctest.Playback{DontPanic: true}
	for _, o := range ops {
		bus.Ops = append(bus.Ops, i2ctest.IO{Addr: addr, W: o.W, R: o.R})
	}
	return func() (Link, error) { return Link{Conn: &i2c.Dev{Bus: bus, Addr: addr}}, nil }, bus.Close
}

func onSPI(t *testing.T, ops ...conntest.IO) (open Opener, done func() error) {
	t.Helper()
	port := &spitest.Playback{Playback: conntest.Playback{Ops: ops, D: conn.Full, DontPanic: true}}
	return func() (Link, error) {
		c, err := port.Connect(physic.MegaHertz, spi.Mode0, 8)
		return Link{Conn: c, SPI: true}, err
	}, port.Close
}

// xfer is an exchange: what is written, what comes back.
func xfer(w, r []byte) conntest.IO { return conntest.IO{W: w, R: r} }

var mpuSample = []byte{0x40, 0x00, 0xC0, 0x00, 0x00, 0x01, 0x0D, 0x0B, 0x7F, 0xFF, 0x80, 0x00, 0xFF, 0xFE}

var mpuWords = []int64{16384, -16384, 1, 3339, 32767, -32768, -2}

func TestMPUOverI2C(t *testing.T) {
	open, done := onI2C(0x68,
		xfer([]byte{mpuWho}, []byte{0x70}),
		xfer([]byte{mpuPower, 0x80}, nil), xfer([]byte{mpuPower, 1}, nil), xfer([]byte{mpuSampleDiv, 0}, nil), xfer([]byte{mpuConfig, 2}, nil),
		xfer([]byte{mpuGyro, 0x10}, nil), xfer([]byte{mpuAccel, 0x18}, nil), xfer([]byte{mpuAccel2, 2}, nil),
		xfer([]byte{mpuData}, mpuSample),
	)
	slept := time.Duration(0)
	m, err := NewMPU(MPUConfig{Name: "imu", GyroDPS: 1000, LowPassHz: 92, Open: open, Sleep: func(d time.Duration) { slept += d }})
	if err != nil {
		t.Fatal(err)
	}
	row := make([]int64, 7)
	if err := errors.Join(m.Open(), m.Read(row), m.Close(), done()); err != nil {
		t.Fatal(err)
	}
	g := m.Group()
	for i, want := range mpuWords {
		if row[i] != want {
			t.Errorf("%s: %d, want %d", g.Channels[i].Name, row[i], want)
		}
	}
	if slept != resetWait {
		t.Errorf("waited %v after the reset", slept)
	}
	if c := g.Channels[0]; c.Name != "imu_accel_x" || float64(row[0])*c.Scale != 8 || !strings.Contains(c.Description, "3.90 ms late") {
		t.Errorf("%+v", c)
	}
	if c := g.Channels[3]; float64(row[3])*c.Scale+c.Offset < 30.9 || float64(row[3])*c.Scale+c.Offset > 31.1 {
		t.Errorf("temperature %v", float64(row[3])*c.Scale+c.Offset)
	}
}

func TestMPUOverSPI(t *testing.T) {
	pad := func(n int) []byte { return make([]byte, n) }
	open, done := onSPI(t,
		xfer([]byte{mpuWho | 0x80, 0}, []byte{0xff, 0xAF}),
		xfer([]byte{mpuPower, 0x80}, pad(2)), xfer([]byte{mpuPower, 1}, pad(2)), xfer([]byte{mpuSampleDiv, 0}, pad(2)), xfer([]byte{mpuConfig, 1}, pad(2)),
		xfer([]byte{mpuGyro, 0x18}, pad(2)), xfer([]byte{mpuAccel, 0x08}, pad(2)), xfer([]byte{mpuAccel2, 1}, pad(2)), xfer([]byte{mpuUser, mpuNoI2C}, pad(2)),
		xfer(append([]byte{mpuData | 0x80}, pad(14)...), append([]byte{0xff}, mpuSample...)),
	)
	m, err := NewMPU(MPUConfig{Name: "imu", AccelG: 4, Open: open, Sleep: func(time.Duration) {}})
	if err != nil {
		t.Fatal(err)
	}
	row := make([]int64, 7)
	if err := errors.Join(m.Open(), m.Read(row), m.Close(), done()); err != nil {
		t.Fatal(err)
	}
	for i, want := range mpuWords {
		if row[i] != want {
			t.Errorf("value %d: %d, want %d", i, row[i], want)
		}
	}
}

func TestAnotherChipIsRefused(t *testing.T) {
	open, done := onI2C(0x68, xfer([]byte{mpuWho}, []byte{0x6A}))
	m, err := NewMPU(MPUConfig{Name: "imu", Open: open})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Open(); err == nil || !strings.Contains(err.Error(), "0x6a") {
		t.Errorf("got %v", err)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
	nobody, _ := onI2C(0x68)
	if m, err = NewMPU(MPUConfig{Name: "imu", Open: nobody}); err != nil {
		t.Fatal(err)
	}
	if err := m.Open(); err == nil || !strings.Contains(err.Error(), "is it wired") {
		t.Errorf("got %v", err)
	}
}

// adsConfigOf is the configuration of pin p at 860 a second and 4.096 V.
func adsConfigOf(p byte) (hi, lo byte) { return 0xC0 | p<<4 | 0x02 | 0x01, 0xE3 }

func TestADS1115(t *testing.T) {
	hi0, lo := adsConfigOf(0)
	hi2, _ := adsConfigOf(2)
	open, done := onI2C(0x48,
		xfer([]byte{adsConfig, hi0 &^ 0x80, lo}, nil), xfer([]byte{adsConfig}, []byte{hi0, lo}),
		xfer([]byte{adsConfig, hi2, lo}, nil), xfer([]byte{adsConfig}, []byte{hi2 &^ 0x80, lo}), xfer([]byte{adsConfig}, []byte{hi2, lo}), xfer([]byte{adsConversion}, []byte{0x7F, 0xF0}),
		xfer([]byte{adsConfig, hi0, lo}, nil), xfer([]byte{adsConfig}, []byte{hi0, lo}), xfer([]byte{adsConversion}, []byte{0xFF, 0xFF}),
	)
	a, err := NewADS1115(ADS1115Config{
		Name: "adc", Inputs: []Input{{Pin: 2, Name: "pressure", Unit: "bar", Scale: 25, Offset: -12.5}, {Pin: 0, Name: "pot"}}, Open: open, Sleep: func(time.Duration) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	row := make([]int64, 2)
	if err := errors.Join(a.Open(), a.Read(row), a.Close(), done()); err != nil {
		t.Fatal(err)
	}
	c := a.Group().Channels
	if row[0] != 0x7FF0 || row[1] != -1 || c[0].Unit != "bar" || c[1].Unit != "V" || c[1].Scale != 4.096/32768 || c[0].Max < 89.8 || c[0].Max > 90 {
		t.Errorf("%v %+v", row, c)
	}
	var d poll.Device = a
	if f, ok := d.(poll.Fastest); !ok || f.FastestMilliHz() != 430_000 { // 860 conversions a second for two inputs
		t.Error("it does not say how fast it is")
	}
}

func TestADS1115ThatNeverEnds(t *testing.T) {
	hi, lo := adsConfigOf(0)
	ops := []conntest.IO{xfer([]byte{adsConfig, hi &^ 0x80, lo}, nil), xfer([]byte{adsConfig}, []byte{hi, lo}), xfer([]byte{adsConfig, hi, lo}, nil)}
	for range adsTries {
		ops = append(ops, xfer([]byte{adsConfig}, []byte{hi &^ 0x80, lo}))
	}
	open, done := onI2C(0x48, ops...)
	a, err := NewADS1115(ADS1115Config{Name: "adc", Inputs: []Input{{Name: "pot"}}, Open: open, Sleep: func(time.Duration) {}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(a.Open(), a.Read(make([]int64, 1))); !errors.Is(err, errNotReady) {
		t.Errorf("got %v", err)
	}
	if err := done(); err != nil {
		t.Error(err)
	}
	other, _ := onI2C(0x48, xfer([]byte{adsConfig, hi &^ 0x80, lo}, nil), xfer([]byte{adsConfig}, []byte{0, 0}))
	if a, err = NewADS1115(ADS1115Config{Name: "adc", Inputs: []Input{{Name: "pot"}}, Open: other}); err != nil {
		t.Fatal(err)
	}
	if err := a.Open(); err == nil {
		t.Error("a chip that does not keep its configuration was taken")
	}
}

func TestMCP3208(t *testing.T) {
	open, done := onSPI(t,
		xfer([]byte{0x06, 0x00, 0}, []byte{0xff, 0xEF, 0xFF}), // the bits before the null bit float
		xfer([]byte{0x07, 0xC0, 0}, []byte{0xff, 0x01, 0x23}),
		xfer([]byte{0x06, 0x00, 0}, []byte{0xff, 0xff, 0xff}),
	)
	a, err := NewMCP3208(MCP3208Config{Name: "adc", Inputs: []Input{{Pin: 0, Name: "a"}, {Pin: 7, Name: "b"}}, VoltRef: 3.3, Open: open})
	if err != nil {
		t.Fatal(err)
	}
	row := make([]int64, 2)
	if err := errors.Join(a.Open(), a.Read(row)); err != nil {
		t.Fatal(err)
	}
	if row[0] != 0xFFF || row[1] != 0x123 || a.Group().Channels[1].Scale != 3.3/4096 {
		t.Errorf("%x %+v", row, a.Group().Channels)
	}
	if err := a.Read(row); !errors.Is(err, errNoNull) {
		t.Errorf("a converter without power: %v", err)
	}
	if err := errors.Join(a.Close(), done()); err != nil {
		t.Error(err)
	}
}

func TestReadsDoNotAllocate(t *testing.T) {
	m := &MPU{link: Link{Conn: fixedConn{}, SPI: true}}
	row := make([]int64, 7)
	if n := testing.AllocsPerRun(100, func() {
		if err := m.Read(row); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a read", n)
	}
}

// fixedConn answers zeros.
type fixedConn struct{}

func (fixedConn) String() string       { return "fixed" }
func (fixedConn) Duplex() conn.Duplex  { return conn.Full }
func (fixedConn) Tx(_, r []byte) error { clear(r); return nil }

func TestConfigFaults(t *testing.T) {
	open := func() (Link, error) { return Link{}, nil }
	for name, err := range map[string]error{
		"accel":     second(NewMPU(MPUConfig{AccelG: 3, Open: open})),
		"gyro":      second(NewMPU(MPUConfig{GyroDPS: 1, Open: open})),
		"low pass":  second(NewMPU(MPUConfig{LowPassHz: 1, Open: open})),
		"no bus":    second(NewMPU(MPUConfig{})),
		"scale":     second(NewADS1115(ADS1115Config{FullScale: 5, Inputs: []Input{{Name: "a"}}, Open: open})),
		"rate":      second(NewADS1115(ADS1115Config{Rate: 1000, Inputs: []Input{{Name: "a"}}, Open: open})),
		"no input":  second(NewADS1115(ADS1115Config{Open: open})),
		"pin":       second(NewADS1115(ADS1115Config{Inputs: []Input{{Name: "a", Pin: 4}}, Open: open})),
		"reference": second(NewMCP3208(MCP3208Config{Inputs: []Input{{Name: "a"}}, Open: open})),
		"no name":   second(NewMCP3208(MCP3208Config{Inputs: []Input{{}}, VoltRef: 3, Open: open})),
	} {
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	if _, err := I2C(250, 0x48, 0)(); err == nil {
		t.Error("a bus that is not there was opened")
	}
	if _, err := SPI(250, 0, 1e6, spi.Mode0)(); err == nil {
		t.Error("a bus that is not there was opened")
	}
}

func second[T any](_ T, err error) error { return err }
