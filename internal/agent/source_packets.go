package agent

import (
	"fmt"
	"log/slog"

	"telemetry/internal/config"
	"telemetry/sensors"
	"telemetry/sensors/cobs"
	"telemetry/sensors/framed"
	"telemetry/sensors/packed"
	"telemetry/sensors/udp"
)

// rowLayout plans a row as the configuration has it.
func rowLayout(row []config.PackedField, order string) (*packed.Layout, error) {
	fields := make([]packed.Field, len(row))
	for i, f := range row {
		fields[i] = packed.Field{
			Name: f.Name, Unit: f.Unit, Description: f.Description, Kind: packed.Kind(f.Type), Big: order == "big", Count: f.Count,
			Scale: f.Scale, Offset: f.Offset, Min: f.Min, Max: f.Max,
		}
	}
	return packed.NewLayout(fields)
}

// serial makes the source of a board that sends packets.
func (b *builder) serial(at string, c *config.Serial, log *slog.Logger) (sensors.Source, error) {
	cfg := framed.Config{
		Port: c.Port, Baud: c.Baud, Framing: map[string]cobs.Framing{"cobs": cobs.COBS, "slip": cobs.SLIP}[c.Framing],
		CRCBig: c.CRCOrder == "big", Clock: b.clock, Log: log,
	}
	var err error
	if c.CRC != "none" {
		if cfg.CRC, err = cobs.NewCRC(c.CRC); err != nil {
			return nil, b.fault(at+".crc", err)
		}
	}
	for i := range c.Packets {
		st, err := packetStream(&c.Packets[i], i)
		if err != nil {
			return nil, b.fault(fmt.Sprintf("%s.packets[%d]", at, i), err)
		}
		cfg.Streams = append(cfg.Streams, st)
	}
	if c.Numbering == "device" {
		packed.Share(cfg.Streams)
	}
	s, err := framed.New(cfg)
	if err != nil {
		return nil, b.fault(at, err)
	}
	return s, nil
}

// packetStream plans one kind of packet.
func packetStream(p *config.Packet, group int) (*packed.Stream, error) {
	rows, err := rowLayout(p.Row, p.ByteOrder)
	if err != nil {
		return nil, err
	}
	var head []packed.Head
	for _, h := range p.Head {
		role := map[string]packed.Role{"equal": packed.Match, "sequence": packed.Sequence, "tick": packed.Tick, "count": packed.Count}[h.Is]
		head = append(head, packed.Head{Kind: packed.Kind(h.Type), Big: p.ByteOrder == "big", Role: role, Value: h.Value})
	}
	packet, err := packed.NewPacket(head, rows)
	if err != nil {
		return nil, err
	}
	return packed.NewStream(packed.StreamConfig{Name: p.Name, Packet: packet, Group: group, RateMilliHz: uint64(p.Rate), TickNS: float64(p.Tick)})
}

// udp makes the source of an engine control unit's datagrams.
func (b *builder) udp(at string, c *config.UDP, log *slog.Logger) (sensors.Source, error) {
	cfg := udp.Config{
		Listen: c.Listen.AddrPort, Group: c.Group.Addr, Interface: c.Interface, From: c.From.Addr,
		ReceiveBuffer: int(c.ReceiveBuffer), Gather: c.Gather.D(), Clock: b.clock, Log: log,
	}
	if cfg.Gather == 0 {
		cfg.Gather = -1
	}
	for i := range c.Streams {
		st, err := udpStream(&c.Streams[i], i)
		if err != nil {
			return nil, b.fault(fmt.Sprintf("%s.streams[%d]", at, i), err)
		}
		cfg.Streams = append(cfg.Streams, udp.Stream{ID: uint16(c.Streams[i].ID), Rows: st})
	}
	s, err := udp.New(cfg)
	if err != nil {
		return nil, b.fault(at, err)
	}
	return s, nil
}

func udpStream(c *config.UDPStream, group int) (*packed.Stream, error) {
	rows, err := rowLayout(c.Row, c.ByteOrder)
	if err != nil {
		return nil, err
	}
	packet, err := udp.NewPacket(uint16(c.ID), rows)
	if err != nil {
		return nil, err
	}
	return packed.NewStream(packed.StreamConfig{Name: c.Name, Packet: packet, Group: group, RateMilliHz: uint64(c.Rate), TickNS: float64(c.Tick)})
}
