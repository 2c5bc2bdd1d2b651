package ubx

import "encoding/binary"

// Key names one setting of receivers from generation 9 on. Its top digit says how
// long a value is.
type Key uint32

// Keys of what a source sets.
const (
	KeyRateMeas   Key = 0x30210001 // U2, ms between measurements
	KeyRateNav    Key = 0x30210002 // U2, measurements for one solution
	KeyPVTUART1   Key = 0x20910007 // U1, solutions for one NAV-PVT
	KeyPVTUSB     Key = 0x20910009
	KeyOutUBX1    Key = 0x10740001 // L, UBX on UART 1
	KeyOutNMEA1   Key = 0x10740002
	KeyOutUBXUSB  Key = 0x10780001
	KeyOutNMEAUSB Key = 0x10780002
)

// Setting is one value.
type Setting struct {
	Key   Key
	Value uint64
}

// layerRAM is the working memory alone: a source leaves nothing behind.
const layerRAM = 1

// AppendValset appends a CFG-VALSET command for at most 64 settings.
func AppendValset(dst []byte, settings ...Setting) []byte {
	p := []byte{0, layerRAM, 0, 0}
	for _, s := range settings {
		p = binary.LittleEndian.AppendUint32(p, uint32(s.Key))
		switch s.Key >> 28 {
		case 1, 2: // a bit takes a byte
			p = append(p, byte(s.Value))
		case 3:
			p = binary.LittleEndian.AppendUint16(p, uint16(s.Value))
		case 4:
			p = binary.LittleEndian.AppendUint32(p, uint32(s.Value))
		case 5:
			p = binary.LittleEndian.AppendUint64(p, s.Value)
		}
	}
	return Append(dst, CfgValset, p)
}

// AppendRate appends a CFG-RATE command, which receivers before generation 9
// understand: ms between measurements, one solution for each, in GPS time.
func AppendRate(dst []byte, ms uint16) []byte {
	return Append(dst, CfgRate, []byte{byte(ms), byte(ms >> 8), 1, 0, 1, 0})
}

// AppendMessage appends a CFG-MSG command: every how many solutions the port that
// it comes by sends a message; 0 is never.
func AppendMessage(dst []byte, id ID, every byte) []byte {
	return Append(dst, CfgMsg, []byte{byte(id >> 8), byte(id), every})
}
