package codec

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"

	"telemetry/wire"
)

// Channel is one recorded channel.
type Channel struct {
	Name       string  `json:"name"`
	RateHz     float64 `json:"rate_hz"`
	Type       string  `json:"type"` // i32 or f32
	Samples    int     `json:"samples"`
	ByteOffset int64   `json:"byte_offset"`

	Values []int64 `json:"-"` // as in [wire.Column]
}

// Set is one recording.
type Set struct {
	File     string // base name without .json
	Path     string
	MinRate  float64 // Hz
	Channels []Channel
}

// maxFile bounds what is unpacked: 1 GiB.
const maxFile = 1 << 30

// Load reads FILE.json and, beside it, FILE.bin.gz or FILE.bin, with the channels
// of at least minRate Hz; 0 = an eighth of the highest rate in the file.
func Load(path string, minRate float64) (*Set, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var file struct {
		Channels []Channel `json:"channels"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, fmt.Errorf("%s is not a list of channels: %w", path, err)
	}
	if len(file.Channels) == 0 {
		return nil, fmt.Errorf("%s: no channels", path)
	}
	raw, err := unpack(strings.TrimSuffix(path, ".json"))
	if err != nil {
		return nil, err
	}
	if minRate == 0 {
		for _, c := range file.Channels {
			minRate = max(minRate, c.RateHz/8)
		}
	}
	set := &Set{File: strings.TrimSuffix(filepath.Base(path), ".json"), Path: path, MinRate: minRate}
	for i, c := range file.Channels {
		if c.RateHz < minRate {
			continue
		}
		if err := c.read(raw); err != nil {
			return nil, fmt.Errorf("%s: channel %d, %q: %w", path, i, c.Name, err)
		}
		set.Channels = append(set.Channels, c)
	}
	if len(set.Channels) == 0 {
		return nil, fmt.Errorf("%s: no channel of at least %g Hz", path, minRate)
	}
	return set, nil
}

func unpack(base string) ([]byte, error) {
	if b, err := os.ReadFile(base + ".bin"); !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	f, err := os.Open(base + ".bin.gz")
	if err != nil {
		return nil, fmt.Errorf("values of the channels: %w", err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, fmt.Errorf("%s.bin.gz: %w", base, err)
	}
	b, err := io.ReadAll(io.LimitReader(z, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("%s.bin.gz: %w", base, err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%s.bin.gz: more than %d bytes", base, maxFile)
	}
	return b, nil
}

// read takes the channel's values out of raw.
func (c *Channel) read(raw []byte) error {
	switch {
	case c.Type != "i32" && c.Type != "f32":
		return fmt.Errorf("type %q (want i32 or f32)", c.Type)
	case c.ByteOffset < 0 || c.Samples < 0 || c.ByteOffset > int64(len(raw)) || int64(c.Samples) > (int64(len(raw))-c.ByteOffset)/4:
		return fmt.Errorf("%d samples at byte %d, but there are %d bytes", c.Samples, c.ByteOffset, len(raw))
	}
	c.Values = make([]int64, c.Samples)
	for i := range c.Values {
		w := binary.LittleEndian.Uint32(raw[c.ByteOffset+4*int64(i):])
		c.Values[i] = int64(w)
		if c.Type == "i32" {
			c.Values[i] = int64(int32(w))
		}
	}
	return nil
}

func (c *Channel) valueType() wire.ValueType {
	if c.Type == "f32" {
		return wire.TypeF32
	}
	return wire.TypeInt
}

// cut returns the channels that have samples s to s+n-1.
func (set *Set) cut(s, n int, out []*Channel) []*Channel {
	out = out[:0]
	for i := range set.Channels {
		if c := &set.Channels[i]; s+n <= len(c.Values) {
			out = append(out, c)
		}
	}
	return out
}

// cuts calls fn with the channels of each cut and its first sample.
func (set *Set) cuts(n int, fn func(chs []*Channel, s int) error) error {
	longest := 0
	for i := range set.Channels {
		longest = max(longest, len(set.Channels[i].Values))
	}
	var chs []*Channel
	for s := 0; s+n <= longest; s += n {
		chs = set.cut(s, n, chs)
		if err := fn(chs, s); err != nil {
			return err
		}
	}
	return nil
}
