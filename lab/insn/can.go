package main

import (
	"fmt"
	"strings"

	"telemetry/sensors"
	"telemetry/sensors/can"
	"telemetry/sensors/can/socketcan"
	"telemetry/sensors/dbc"
	"telemetry/wire"
)

// The bus: as many messages of five signals as a database of 500 has, frames one
// after the other in bursts as a source reads them.
const (
	canMessages = 100
	canFrames   = 1000
	canBurst    = 80
)

// discard takes rows and forgets them.
type discard struct{}

func (discard) Append(sensors.Rows) error { return nil }
func (discard) Event(wire.Event) error    { return nil }

// blocks takes raw rows and encodes them.
type blocks struct {
	types []wire.ValueType
	build *wire.Builder
	enc   wire.KeyedEncoder
	buf   []byte
}

func (b *blocks) Append(r sensors.Rows) error {
	b.build.Reset()
	width := len(b.types)
	for i, tick := range r.Ticks {
		b.build.Append(tick, r.Values[i*width:(i+1)*width], r.Present, i*width)
	}
	var err error
	b.buf, err = b.enc.Append(b.buf[:0], b.build.Block(), 3)
	return err
}

func (*blocks) Event(wire.Event) error { return nil }

// prepareCAN returns one round of canFrames frames of a case; nil if it is none
// of CAN.
func prepareCAN(name string) (func() error, error) {
	var text strings.Builder
	for i := range canMessages {
		fmt.Fprintf(&text, "BO_ %d M%d: 8 A\n SG_ a%d : 0|12@1+ (0.1,0) [0|0] \"\" A\n SG_ b%d : 12|4@1+ (1,0) [0|0] \"\" A\n", 0x100+7*i, i, i, i)
		fmt.Fprintf(&text, " SG_ c%d : 23|16@0- (0.01,-40) [0|0] \"\" A\n SG_ d%d : 39|10@0+ (0.5,0) [0|0] \"\" A\n SG_ e%d : 48|16@1- (1,0) [0|0] \"\" A\n", i, i, i)
	}
	file, _, err := dbc.Parse(strings.NewReader(text.String()))
	if err != nil {
		return nil, err
	}
	db, _ := dbc.Compile(file)
	dec, err := can.NewDecoder([]can.Bus{{Name: "can0", Databases: []*dbc.Database{db}}})
	if err != nil {
		return nil, err
	}
	raw := can.NewRaw(0)
	group := can.RawGroup("can0")
	encode := &blocks{}
	for _, c := range group.Channels {
		encode.types = append(encode.types, c.Type)
	}
	encode.build = wire.NewBuilder(0, encode.types)
	kernel, lines := busFrames()
	f := can.Frame{Bus: "can0"}
	tick := int64(0)
	one := map[string]func(i int) error{
		"can-kernel": func(i int) error {
			err := socketcan.ParseFrame(kernel[i], &f)
			dec.Add(&f, tick)
			return err
		},
		"can-text": func(i int) error {
			err := can.ParseLine(lines[i], &f)
			dec.Add(&f, tick)
			return err
		},
		"can-raw": func(i int) error {
			err := socketcan.ParseFrame(kernel[i], &f)
			raw.Add(&f, tick)
			return err
		},
	}[name]
	if one == nil {
		return nil, nil
	}
	return func() error {
		for i := range canFrames {
			tick += 125_000
			if err := one(i); err != nil {
				return err
			}
			if i%canBurst == canBurst-1 {
				if err := dec.Flush(discard{}); err != nil {
					return err
				}
			}
		}
		return raw.Flush(encode)
	}, nil
}

// busFrames returns the same frames as the kernel hands them over and as text:
// counters, slow values and noise.
func busFrames() (kernel, lines [][]byte) {
	for i := range canFrames {
		f := can.Frame{Bus: "can0", StampNS: int64(i) * 125_000, ID: uint32(0x100 + 7*(i%canMessages)), Len: 8}
		f.Bytes = [64]byte{byte(i / canMessages), 0x10, byte(i % 7), 0, 0x55, byte(triangle(i, 60, 200)), byte(noise(1, i)) & 3, byte(noise(2, i))}
		kernel = append(kernel, socketcan.AppendFrame(nil, &f))
		lines = append(lines, can.AppendLine(nil, &f))
	}
	return kernel, lines
}
