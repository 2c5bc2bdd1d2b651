package can

// Frame is one CAN or CAN FD frame as it was seen on a bus. It holds its own
// bytes and may be copied.
type Frame struct {
	StampNS  int64  // when it was seen, in the log's own time
	Bus      string // name of the interface
	ID       uint32 // 11 or 29 bits; for an error frame the error class
	Extended bool   // 29-bit id
	FD       bool   // CAN FD frame
	BRS      bool   // FD: bit rate switch
	ESI      bool   // FD: the sender was error passive
	RTR      bool   // remote request; Len is the requested length
	Err      bool   // error frame made by the controller
	TX       bool   // sent by the machine that logged it
	Cut      bool   // from the log's last line, which had no end: maybe not whole
	DLC      uint8  // raw DLC 9..15 of a classic frame of 8 bytes; else 0
	Len      uint8  // bytes of payload, 0..64
	Bytes    [64]byte
}

// Data returns the payload, which is empty for a remote request. It aliases f.
func (f *Frame) Data() []byte {
	if f.RTR {
		return nil
	}
	return f.Bytes[:f.Len]
}

// Bits of a SocketCAN id and the widest ids.
const (
	flagError    = 1 << 29
	flagRemote   = 1 << 30
	flagExtended = 1 << 31
	maskExtended = 1<<29 - 1
	maskStandard = 1<<11 - 1
)

// Payload limits in bytes.
const (
	maxClassic = 8
	maxFD      = 64
)
