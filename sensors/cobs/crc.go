package cobs

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

// CRC is one of the 16-bit checksums in use, by its common name.
type CRC struct {
	name             string
	poly, init, last uint16
	reflected        bool
	table            [256]uint16
}

// crcs are the parameters: polynomial, start value, final exclusive or.
var crcs = []CRC{
	{name: "ccitt-false", poly: 0x1021, init: 0xffff},
	{name: "xmodem", poly: 0x1021},
	{name: "x25", poly: 0x1021, init: 0xffff, last: 0xffff, reflected: true},
	{name: "kermit", poly: 0x1021, reflected: true},
	{name: "modbus", poly: 0x8005, init: 0xffff, reflected: true},
	{name: "arc", poly: 0x8005, reflected: true},
}

// CRCNames lists what [NewCRC] knows.
func CRCNames() []string {
	var out []string
	for i := range crcs {
		out = append(out, crcs[i].name)
	}
	return out
}

var errUnknownCRC = errors.New("cobs: unknown checksum")

// NewCRC returns a checksum by its name. It is safe for concurrent use.
func NewCRC(name string) (*CRC, error) {
	i := slices.IndexFunc(crcs, func(c CRC) bool { return c.name == name })
	if i < 0 {
		return nil, fmt.Errorf("%w %q (want one of %v)", errUnknownCRC, name, CRCNames())
	}
	c := crcs[i]
	for v := range 256 {
		x := uint16(v) << 8
		for range 8 {
			carry := x&0x8000 != 0
			x <<= 1
			if carry {
				x ^= c.poly
			}
		}
		if c.reflected {
			c.table[bits.Reverse8(uint8(v))] = bits.Reverse16(x)
		} else {
			c.table[v] = x
		}
	}
	return &c, nil
}

// Sum returns the checksum of b.
func (c *CRC) Sum(b []byte) uint16 {
	x := c.init
	for _, v := range b {
		if c.reflected {
			x = x>>8 ^ c.table[byte(x)^v]
		} else {
			x = x<<8 ^ c.table[byte(x>>8)^v]
		}
	}
	return x ^ c.last
}
