package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// Serial reads a sensor board that sends binary packets over a serial port.
type Serial struct {
	Port      string   `yaml:"port"`      // best one below /dev/serial/by-id
	Baud      int      `yaml:"baud"`      // default 115200; boards on USB ignore it
	Framing   string   `yaml:"framing"`   // cobs or slip; default cobs
	CRC       string   `yaml:"crc"`       // ccitt-false, xmodem, x25, kermit, modbus, arc or none; default ccitt-false
	CRCOrder  string   `yaml:"crc_order"` // little or big; default big
	Numbering string   `yaml:"numbering"` // packet: each kind counts alone; device: all count together; default packet
	Packets   []Packet `yaml:"packets"`
}

// Packet is one kind of packet of a board.
type Packet struct {
	Name      string        `yaml:"name"` // of the group
	Head      []HeadField   `yaml:"head"` // before the rows
	Rate      Rate          `yaml:"rate"` // of rows; absent: one row a packet, on arrival
	Tick      Tick          `yaml:"tick"` // length of one count of the board's time, as 1us
	ByteOrder string        `yaml:"byte_order"`
	Row       []PackedField `yaml:"row"`
}

// HeadField is one number before the rows.
type HeadField struct {
	Type string `yaml:"type"`
	Is   string `yaml:"is"` // equal (to value), sequence, tick, count or ignored; default ignored
	// Value must stand here, or the packet is of another kind.
	Value int64 `yaml:"value"`
}

// PackedField is one channel, or count alike.
type PackedField struct {
	Name        string  `yaml:"name"`
	Type        string  `yaml:"type"` // u8, i8, u16, i16, u24, i24, u32, i32, u64, i64, f32, f64 or pad
	Count       int     `yaml:"count"`
	Unit        string  `yaml:"unit"`
	Description string  `yaml:"description"`
	Scale       float64 `yaml:"scale"` // default 1
	Offset      float64 `yaml:"offset"`
	Min         float64 `yaml:"min"`
	Max         float64 `yaml:"max"`
}

// UDP takes the stream of an engine control unit: see docs/ecu-udp.md.
type UDP struct {
	Listen        Listen      `yaml:"listen"`         // as 0.0.0.0:5600
	Group         IP          `yaml:"group"`          // multicast group to join
	Interface     string      `yaml:"interface"`      // where it is joined
	From          IP          `yaml:"from"`           // the only sender that is taken; absent: any
	ReceiveBuffer Size        `yaml:"receive_buffer"` // of the kernel; default 8MiB
	Gather        Duration    `yaml:"gather"`         // how long datagrams may gather before they are read; default 2ms
	Streams       []UDPStream `yaml:"streams"`
}

// UDPStream is one stream of datagrams.
type UDPStream struct {
	ID        int           `yaml:"id"`
	Name      string        `yaml:"name"` // of the group
	Rate      Rate          `yaml:"rate"` // of rows; absent: one row a datagram
	Tick      Tick          `yaml:"tick"` // length of one count of the sender's time; default 1ns
	ByteOrder string        `yaml:"byte_order"`
	Row       []PackedField `yaml:"row"`
}

func (s *Serial) preset() {
	*s = Serial{Baud: 115_200, Framing: "cobs", CRC: "ccitt-false", CRCOrder: "big", Numbering: "packet"}
}

func (p *Packet) preset() { p.ByteOrder = "little" }

func (u *UDP) preset() { *u = UDP{ReceiveBuffer: 8 << 20, Gather: Duration(2 * time.Millisecond)} }

func (s *UDPStream) preset() { s.ByteOrder, s.Tick = "little", 1 }

func (s *Serial) resolve(dir string) { abs(dir, &s.Port) }

func (u *UDP) resolve(string) {}

func (s *Serial) validate(at string, report reporter) {
	if s.Port == "" {
		report(at+".port", "is missing (want a serial port, best one below /dev/serial/by-id)")
	}
	if s.Baud < minBaud || s.Baud > maxBaud {
		report(at+".baud", "is %d (want %d to %d)", s.Baud, minBaud, maxBaud)
	}
	oneOf(at+".framing", s.Framing, report, "cobs", "slip")
	oneOf(at+".crc", s.CRC, report, "ccitt-false", "xmodem", "x25", "kermit", "modbus", "arc", "none")
	oneOf(at+".crc_order", s.CRCOrder, report, "big", "little")
	oneOf(at+".numbering", s.Numbering, report, "packet", "device")
	if len(s.Packets) == 0 {
		report(at+".packets", "is missing (want what the board sends)")
	}
	seen := map[string]bool{}
	for i := range s.Packets {
		p := &s.Packets[i]
		place := fmt.Sprintf("%s.packets[%d]", at, i)
		checkName(place+".name", p.Name, seen, report)
		oneOf(place+".byte_order", p.ByteOrder, report, "little", "big")
		checkRows(place, p.Row, report)
		ticks := false
		for k, h := range p.Head {
			oneOf(fmt.Sprintf("%s.head[%d].is", place, k), h.Is, report, "", "equal", "sequence", "tick", "count", "ignored")
			ticks = ticks || h.Is == "tick"
		}
		if ticks != (p.Tick > 0) {
			report(place+".tick", "and a number of the head that is tick: both are wanted, or none")
		}
	}
}

func (u *UDP) validate(at string, report reporter) {
	if !u.Listen.IsValid() {
		report(at+".listen", "is missing (want an address and a port, as 0.0.0.0:5600)")
	}
	if u.Group.IsValid() && !u.Group.IsMulticast() {
		report(at+".group", "%s is no multicast address", u.Group)
	}
	if len(u.Interface) > maxInterface {
		report(at+".interface", "%q is no network interface (want at most %d bytes, as eth0)", u.Interface, maxInterface)
	}
	if u.ReceiveBuffer < 64<<10 || u.ReceiveBuffer > 1<<30 {
		report(at+".receive_buffer", "is %d bytes (want 64KiB to 1GiB)", u.ReceiveBuffer)
	}
	if u.Gather.D() < 0 || u.Gather.D() > 100*time.Millisecond {
		report(at+".gather", "is %v (want 0s to 100ms)", u.Gather.D())
	}
	if len(u.Streams) == 0 {
		report(at+".streams", "is missing (want what the unit sends)")
	}
	seen, ids := map[string]bool{}, map[int]bool{}
	for i := range u.Streams {
		s := &u.Streams[i]
		place := fmt.Sprintf("%s.streams[%d]", at, i)
		checkName(place+".name", s.Name, seen, report)
		oneOf(place+".byte_order", s.ByteOrder, report, "little", "big")
		if s.ID < 0 || s.ID > 65535 || ids[s.ID] {
			report(place+".id", "is %d (want 0 to 65535, and each once)", s.ID)
		}
		ids[s.ID] = true
		checkRows(place, s.Row, report)
	}
}

func checkRows(at string, row []PackedField, report reporter) {
	if len(row) == 0 {
		report(at+".row", "is missing (want the channels, in their order)")
	}
	for i, f := range row {
		place := fmt.Sprintf("%s.row[%d]", at, i)
		oneOf(place+".type", f.Type, report, "u8", "i8", "u16", "i16", "u24", "i24", "u32", "i32", "u64", "i64", "f32", "f64", "pad")
		if f.Name == "" && f.Type != "pad" {
			report(place+".name", "is missing")
		}
		if f.Count < 0 || f.Count > MaxChannel {
			report(place+".count", "is %d (want 1 to %d)", f.Count, int(MaxChannel))
		}
	}
}

// oneOf reports a word that is none of those wanted.
func oneOf(at, word string, report reporter, words ...string) {
	for _, w := range words {
		if w == word {
			return
		}
	}
	if words[0] == "" {
		words = words[1:]
	}
	report(at, "%q is none of %s", word, strings.Join(words, ", "))
}

// Tick is the length of one count of a device's time in ns, as "1us" or
// "20.8333ns".
type Tick float64

func (*Tick) want() string { return `the length of one count, as "1us" or "20.833ns"` }

// UnmarshalYAML reads a length; a bare number is refused.
func (t *Tick) UnmarshalYAML(n ast.Node) error {
	s := text(n)
	for _, u := range []unit{{"ns", 1}, {"us", 1e3}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}} {
		if num, ok := strings.CutSuffix(s, u.name); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
			if err != nil || !(v*u.factor > 0 && v*u.factor <= 1e9) {
				break
			}
			*t = Tick(v * u.factor)
			return nil
		}
	}
	return badValue(n, t, "is no length of more than 0, up to 1s")
}

// Listen is an address with its port.
type Listen struct{ netip.AddrPort }

func (*Listen) want() string { return `an address and a port, as "0.0.0.0:5600"` }

// UnmarshalYAML reads an address.
func (l *Listen) UnmarshalYAML(n ast.Node) (err error) {
	if l.AddrPort, err = netip.ParseAddrPort(text(n)); err != nil || l.Port() == 0 {
		return badValue(n, l, "is none")
	}
	return nil
}

// IP is an address without a port.
type IP struct{ netip.Addr }

func (*IP) want() string { return `an IP address, as "239.1.2.3"` }

// UnmarshalYAML reads an address.
func (a *IP) UnmarshalYAML(n ast.Node) (err error) {
	if a.Addr, err = netip.ParseAddr(text(n)); err != nil {
		return badValue(n, a, "is none")
	}
	return nil
}
