// Package chip reads chips on the board's I²C and SPI buses through periph.io:
// inertial sensors of the MPU-6500 family, and the converters ADS1115 and
// MCP3208.
//
// The entry points are [NewMPU], [NewADS1115] and [NewMCP3208], devices for
// package poll. A chip that is not the one that was asked for is an error, and no
// wait is without an end.
package chip

import (
	"errors"
	"fmt"
	"io"

	"periph.io/x/conn/v3"
	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"
	"periph.io/x/conn/v3/spi"
	"periph.io/x/host/v3/sysfs"
)

// Link is a connection to one chip.
type Link struct {
	Conn   conn.Conn
	SPI    bool      // registers are read with the top bit set
	Closer io.Closer // of the bus; nil: it stays open
}

// Opener connects to a chip. It is called at each opening of the device.
type Opener func() (Link, error)

// I2C opens /dev/i2c-<bus>. speedHz 0 leaves the bus as it is.
func I2C(bus int, addr uint16, speedHz int64) Opener {
	return func() (Link, error) {
		b, err := sysfs.NewI2C(bus)
		if err != nil {
			return Link{}, fmt.Errorf("chip: open /dev/i2c-%d: %w: is the bus enabled, may this user open it? (on Debian: group i2c)", bus, err)
		}
		if speedHz > 0 {
			// Most drivers of the kernel know one speed, that of the device tree.
			_ = b.SetSpeed(physic.Frequency(speedHz) * physic.Hertz)
		}
		return Link{Conn: &i2c.Dev{Bus: b, Addr: addr}, Closer: b}, nil
	}
}

// SPI opens /dev/spidev<bus>.<cs>.
func SPI(bus, cs int, speedHz int64, mode spi.Mode) Opener {
	return func() (Link, error) {
		p, err := sysfs.NewSPI(bus, cs)
		if err != nil {
			return Link{}, fmt.Errorf("chip: open /dev/spidev%d.%d: %w: is the bus enabled, may this user open it? (on Debian: group spi)", bus, cs, err)
		}
		c, err := p.Connect(physic.Frequency(speedHz)*physic.Hertz, mode, 8)
		if err != nil {
			return Link{}, errors.Join(fmt.Errorf("chip: set up /dev/spidev%d.%d: %w", bus, cs, err), p.Close())
		}
		return Link{Conn: c, SPI: true, Closer: p}, nil
	}
}

// close gives the bus back.
func (l *Link) close() error {
	c := l.Closer
	*l = Link{}
	if c == nil {
		return nil
	}
	return c.Close()
}

// read fills b with registers from reg on. buf has room for one byte more.
func (l *Link) read(reg byte, b, buf []byte) error {
	if !l.SPI {
		buf[0] = reg
		return l.Conn.Tx(buf[:1], b)
	}
	w, r := buf[:len(b)+1], buf[len(b)+1:2*len(b)+2]
	clear(w)
	w[0] = reg | 0x80
	if err := l.Conn.Tx(w, r); err != nil {
		return err
	}
	copy(b, r[1:])
	return nil
}

// write sets one register.
func (l *Link) write(reg, v byte) error {
	if l.SPI {
		return l.Conn.Tx([]byte{reg, v}, make([]byte, 2))
	}
	return l.Conn.Tx([]byte{reg, v}, nil)
}
