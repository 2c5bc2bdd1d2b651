package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/klauspost/compress/zstd"
)

// Limits of catalogues: about four times the 50,000 channels of the largest car.
const (
	MaxCatalogueBytes = 16 << 20
	MaxGroups         = 65536
	MaxChannels       = 200_000
	maxText           = 1024 // of a name, a unit, a description
	maxEnum           = 4096
	// MaxPartBytes bounds the data of one catalogue part.
	MaxPartBytes = 256 << 10
)

const catalogueVersion = 1

// String returns the hash as 16 hexadecimal digits.
func (h CatalogueHash) String() string { return hex.EncodeToString(h[:]) }

// ParseCatalogueHash is the inverse of [CatalogueHash.String].
func ParseCatalogueHash(s string) (CatalogueHash, error) {
	var h CatalogueHash
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, fmt.Errorf("wire: %q is no catalogue hash (want 16 hexadecimal digits)", s)
	}
	copy(h[:], b)
	return h, nil
}

// HashCatalogue returns the name of a catalogue with these canonical bytes.
func HashCatalogue(canonical []byte) CatalogueHash {
	sum := sha256.Sum256(canonical)
	return CatalogueHash(sum[:8])
}

// Hash returns the catalogue's name.
func (c *Catalogue) Hash() CatalogueHash { return HashCatalogue(c.Append(nil)) }

// MaxKeptBytes is how much of parsed catalogues, by [Catalogue.Size], whoever keeps
// several should keep: two of the largest, or as many as are usual.
const MaxKeptBytes = 64 << 20

// Size estimates the bytes of memory that the catalogue takes.
func (c *Catalogue) Size() int {
	const perGroup, perChannel, perEnum = 80, 136, 24 // without texts
	n := 0
	for i := range c.Groups {
		g := &c.Groups[i]
		n += perGroup + len(g.Name) + len(g.Source)
		for k := range g.Channels {
			ch := &g.Channels[k]
			n += perChannel + len(ch.Name) + len(ch.Unit) + len(ch.Description)
			for e := range ch.Enum {
				n += perEnum + len(ch.Enum[e].Name)
			}
		}
	}
	return n
}

// Append appends the catalogue's canonical bytes: equal catalogues give equal
// bytes. Texts longer than their limit are cut.
func (c *Catalogue) Append(dst []byte) []byte {
	dst = append(dst, catalogueVersion)
	dst = appendString(dst, c.Car, MaxCarLen)
	dst = appendUvarint(dst, uint64(len(c.Groups)))
	for i := range c.Groups {
		g := &c.Groups[i]
		dst = appendString(dst, g.Name, maxText)
		dst = appendString(dst, g.Source, maxText)
		dst = append(dst, byte(g.Lane))
		dst = appendUvarint(dst, g.RateMilliHz)
		dst = appendUvarint(dst, uint64(len(g.Channels)))
		for j := range g.Channels {
			dst = g.Channels[j].append(dst)
		}
	}
	return dst
}

func (c *Channel) append(dst []byte) []byte {
	dst = appendString(dst, c.Name, maxText)
	dst = appendString(dst, c.Unit, maxText)
	dst = appendString(dst, c.Description, maxText)
	dst = append(dst, byte(c.Type), c.Bits, byte(c.Stat))
	for _, f := range [...]float64{c.Scale, c.Offset, c.Min, c.Max} {
		dst = appendU64(dst, math.Float64bits(f))
	}
	dst = appendUvarint(dst, uint64(len(c.Enum)))
	for _, e := range c.Enum {
		dst = appendVarint(dst, e.Raw)
		dst = appendString(dst, e.Name, maxText)
	}
	return dst
}

// ParseCatalogue reads canonical bytes.
func ParseCatalogue(b []byte) (*Catalogue, error) {
	if len(b) > MaxCatalogueBytes {
		return nil, fmt.Errorf("wire: catalogue of %d bytes (limit %d)", len(b), MaxCatalogueBytes)
	}
	r := &reader{b: b}
	if v := r.byte("version"); r.err == nil && v != catalogueVersion {
		return nil, fmt.Errorf("wire: catalogue of version %d: %w", v, ErrVersion)
	}
	c := &Catalogue{Car: r.string(MaxCarLen, "car")}
	channels := 0
	for range r.uvarint(MaxGroups, "groups") {
		g := Group{Name: r.string(maxText, "group"), Source: r.string(maxText, "source"), Lane: r.lane()}
		g.RateMilliHz = r.uvarint(1<<64-1, "rate")
		n := int(r.uvarint(MaxChannels, "channels"))
		if channels += n; channels > MaxChannels {
			r.fail("channels", errRange)
		}
		for range n {
			g.Channels = append(g.Channels, r.channel())
			if r.err != nil {
				return nil, r.err
			}
		}
		if r.err != nil {
			return nil, r.err
		}
		c.Groups = append(c.Groups, g)
	}
	if r.err != nil {
		return nil, r.err
	}
	return c, nil
}

func (r *reader) channel() Channel {
	c := Channel{Name: r.string(maxText, "channel"), Unit: r.string(maxText, "unit"), Description: r.string(maxText, "description")}
	c.Type = ValueType(r.byte("type"))
	c.Bits = r.byte("bits")
	c.Stat = Stat(r.byte("statistic"))
	if r.err == nil && (c.Type < TypeInt || c.Type > TypeF64 || c.Bits > 64 || c.Stat > StatMax) {
		r.fail("channel", errRange)
	}
	for _, f := range [...]*float64{&c.Scale, &c.Offset, &c.Min, &c.Max} {
		*f = math.Float64frombits(r.u64("number"))
	}
	for range r.uvarint(maxEnum, "enum") {
		c.Enum = append(c.Enum, EnumValue{Raw: r.varint("enum value"), Name: r.string(maxText, "enum name")})
		if r.err != nil {
			break
		}
	}
	return c
}

// SplitCatalogue compresses canonical bytes and cuts them into parts of at most
// partBytes (1 to MaxPartBytes) of data.
func SplitCatalogue(canonical []byte, partBytes int) ([]CataloguePart, error) {
	if len(canonical) == 0 || len(canonical) > MaxCatalogueBytes || partBytes < 1 || partBytes > MaxPartBytes {
		return nil, fmt.Errorf("wire: split catalogue of %d bytes into parts of %d: %w", len(canonical), partBytes, errRange)
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(1<<20), zstd.WithLowerEncoderMem(true))
	if err != nil {
		return nil, fmt.Errorf("wire: split catalogue: %w", err)
	}
	data := enc.EncodeAll(canonical, nil)
	n := (len(data) + partBytes - 1) / partBytes
	if n > math.MaxUint16 {
		return nil, fmt.Errorf("wire: split catalogue: %d parts of %d bytes: %w", n, partBytes, errRange)
	}
	hash := HashCatalogue(canonical)
	parts := make([]CataloguePart, n)
	for i := range parts {
		end := min((i+1)*partBytes, len(data))
		parts[i] = CataloguePart{Hash: hash, Index: uint16(i), Count: uint16(n), Data: data[i*partBytes : end]}
	}
	return parts, nil
}

// AppendCataloguePart appends a part as it travels on tele/<car>/catalogue.
func AppendCataloguePart(dst []byte, p *CataloguePart) []byte {
	start := len(dst)
	dst = append(dst, ctlVersion)
	dst = append(dst, p.Hash[:]...)
	dst = appendUvarint(dst, uint64(p.Index))
	dst = appendUvarint(dst, uint64(p.Count))
	dst = appendUvarint(dst, uint64(len(p.Data)))
	dst = append(dst, p.Data...)
	return appendChecksum(dst, start)
}

// ParseCataloguePart is the inverse of [AppendCataloguePart]; Data aliases b.
func ParseCataloguePart(b []byte) (*CataloguePart, error) {
	if len(b) > 0 && b[0] != ctlVersion {
		return nil, fmt.Errorf("wire: catalogue part of version %d: %w", b[0], ErrVersion)
	}
	body, err := cutChecksum(b, "catalogue part")
	if err != nil {
		return nil, err
	}
	r := &reader{b: body}
	r.take(1, "version")
	p := &CataloguePart{}
	copy(p.Hash[:], r.take(len(p.Hash), "hash"))
	p.Index = uint16(r.uvarint(math.MaxUint16, "index"))
	p.Count = uint16(r.uvarint(math.MaxUint16, "count"))
	if r.err == nil && p.Index >= p.Count {
		r.fail("index", errRange)
	}
	p.Data = r.bytes(MaxPartBytes, "data")
	if r.err != nil {
		return nil, r.err
	}
	return p, nil
}

// CatalogueJoiner puts the parts of one catalogue together again. The zero
// value is ready; it is not safe for concurrent use.
type CatalogueJoiner struct {
	hash  CatalogueHash
	parts [][]byte
	have  int
	bytes int
}

// Add takes a part, in any order and any number of times; it copies. done is
// true with the canonical bytes once all are there. Parts of another catalogue
// or another cut start it afresh; an error forgets all parts.
func (j *CatalogueJoiner) Add(p *CataloguePart) (canonical []byte, done bool, err error) {
	if p.Hash != j.hash || len(j.parts) != int(p.Count) {
		*j = CatalogueJoiner{hash: p.Hash, parts: make([][]byte, p.Count)}
	}
	if p.Index >= p.Count {
		return nil, false, fmt.Errorf("wire: catalogue %s: part %d of %d", p.Hash, p.Index, p.Count)
	}
	if j.parts[p.Index] == nil {
		j.parts[p.Index] = append(make([]byte, 0, len(p.Data)), p.Data...)
		j.have++
		if j.bytes += len(p.Data); j.bytes > MaxCatalogueBytes {
			*j = CatalogueJoiner{}
			return nil, false, fmt.Errorf("wire: catalogue %s: parts of more than %d bytes", p.Hash, MaxCatalogueBytes)
		}
	}
	if j.have < len(j.parts) {
		return nil, false, nil
	}
	return j.join()
}

func (j *CatalogueJoiner) join() ([]byte, bool, error) {
	data := make([]byte, 0, j.bytes)
	for _, p := range j.parts {
		data = append(data, p...)
	}
	hash := j.hash
	*j = CatalogueJoiner{}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxCatalogueBytes))
	if err != nil {
		return nil, false, fmt.Errorf("wire: catalogue %s: %w", hash, err)
	}
	defer dec.Close()
	canonical, err := dec.DecodeAll(data, nil)
	if err != nil {
		return nil, false, fmt.Errorf("wire: catalogue %s: decompress: %w", hash, err)
	}
	if HashCatalogue(canonical) != hash {
		return nil, false, fmt.Errorf("wire: catalogue %s: its bytes hash to %s: %w", hash, HashCatalogue(canonical), ErrChecksum)
	}
	return canonical, true, nil
}
