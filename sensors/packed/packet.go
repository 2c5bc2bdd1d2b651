package packed

import (
	"errors"
	"fmt"
)

// Role says what a number of a packet's head is for.
type Role string

// Roles.
const (
	None     Role = ""         // passed over
	Match    Role = "match"    // must equal Value, or the packet is another one
	Sequence Role = "sequence" // counts packets
	Tick     Role = "tick"     // the device's time of the first row
	Count    Role = "count"    // rows in the packet
)

// Head is one number before the rows.
type Head struct {
	Kind  Kind
	Big   bool
	Role  Role
	Value int64 // of Match
}

// Packet is the plan of one kind of packet. It is safe for concurrent use.
type Packet struct {
	Rows *Layout

	head      []Head
	headBytes int
	matches   []Head
	matchAt   []int
	at        map[Role]int
	kind      map[Role]Head
}

// maxRows bounds the rows of one packet.
const maxRows = 4096

var errTwice = errors.New("stands twice")

// NewPacket plans a packet: its head, then rows to its end, or as many as the
// head counts.
func NewPacket(head []Head, rows *Layout) (*Packet, error) {
	p := &Packet{Rows: rows, head: head, at: map[Role]int{}, kind: map[Role]Head{}}
	for i, h := range head {
		size := h.Kind.Size()
		if size == 0 || h.Role != None && (h.Kind == F32 || h.Kind == F64 || h.Kind == Pad) {
			return nil, fmt.Errorf("packed: head %d: kind %q cannot be %q", i, h.Kind, h.Role)
		}
		switch h.Role {
		case None:
		case Match:
			p.matches = append(p.matches, h)
			p.matchAt = append(p.matchAt, p.headBytes)
		case Sequence, Tick, Count:
			if _, twice := p.at[h.Role]; twice {
				return nil, fmt.Errorf("packed: head %d: %q %w", i, h.Role, errTwice)
			}
			p.at[h.Role], p.kind[h.Role] = p.headBytes, h
		default:
			return nil, fmt.Errorf("packed: head %d: role %q is unknown", i, h.Role)
		}
		p.headBytes += size
	}
	if p.headBytes+rows.Bytes() > MaxRowBytes {
		return nil, fmt.Errorf("packed: a packet of more than %d bytes", MaxRowBytes)
	}
	return p, nil
}

// Info is what a packet's head says.
type Info struct {
	Sequence uint64
	Tick     uint64
	Rows     int
	Body     []byte // the rows
}

// Has reports whether the head has a number of that role.
func (p *Packet) Has(r Role) bool { _, ok := p.at[r]; return ok }

// Bits returns how wide the number of a role is, or 0.
func (p *Packet) Bits(r Role) int { return 8 * p.kind[r].Kind.Size() }

// Read reads a packet's head. ok is false when the packet is not of this kind or
// its length does not fit its rows.
func (p *Packet) Read(b []byte) (info Info, ok bool) {
	if len(b) < p.headBytes+p.Rows.Bytes() {
		return Info{}, false
	}
	for i, m := range p.matches {
		if Word(b[p.matchAt[i]:], m.Kind, m.Big) != m.Value {
			return Info{}, false
		}
	}
	get := func(r Role) (uint64, bool) {
		at, ok := p.at[r]
		if !ok {
			return 0, false
		}
		h := p.kind[r]
		w := uint64(Word(b[at:], h.Kind, h.Big))
		if bits := 8 * h.Kind.Size(); bits < 64 {
			w &= 1<<bits - 1
		}
		return w, true
	}
	info.Sequence, _ = get(Sequence)
	info.Tick, _ = get(Tick)
	info.Body = b[p.headBytes:]
	size := p.Rows.Bytes()
	info.Rows = len(info.Body) / size
	if n, counted := get(Count); counted && n != uint64(info.Rows) || len(info.Body)%size != 0 || info.Rows > maxRows {
		return Info{}, false
	}
	return info, true
}

// Append appends a packet of rows, one after the other in words.
func (p *Packet) Append(dst []byte, sequence, tick uint64, words []int64) []byte {
	width := len(p.Rows.Channels())
	for _, h := range p.head {
		w := h.Value
		switch h.Role {
		case Sequence:
			w = int64(sequence)
		case Tick:
			w = int64(tick)
		case Count:
			w = int64(len(words) / width)
		}
		dst = AppendWord(dst, w, h.Kind, h.Big)
	}
	for i := 0; i+width <= len(words); i += width {
		dst = p.Rows.AppendRow(dst, words[i:i+width])
	}
	return dst
}
