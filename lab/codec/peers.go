package codec

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
)

// Where the foreign peers come from, below the repository's root.
const (
	pythonScript = "scripts/python.sh"
	requirements = "lab/codec/requirements.txt"
	peersScript  = "lab/codec/peers.py"
)

// foreign measures libzstd and Pco, which run in Python; by n.
func foreign(ctx context.Context, set *Set, cfg Config) (map[int][]Result, error) {
	cmd := exec.CommandContext(ctx, pythonScript, requirements)
	cmd.Stderr = cfg.Log
	python, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s (run lab in the repository's root): %w", pythonScript, err)
	}
	args := []string{peersScript, set.Path, strconv.FormatFloat(set.MinRate, 'g', -1, 64)}
	for _, n := range cfg.N {
		args = append(args, strconv.Itoa(n))
	}
	cmd = exec.CommandContext(ctx, strings.TrimSpace(string(python)), args...)
	cmd.Stderr = cfg.Log
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", peersScript, err)
	}
	out := map[int][]Result{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		var line struct {
			N        int     `json:"n"`
			Subject  string  `json:"subject"`
			Bytes    int     `json:"bytes"`
			Samples  int     `json:"samples"`
			EncodeS  float64 `json:"encode_s"`
			DecodeS  float64 `json:"decode_s"`
			Lossless bool    `json:"lossless"`
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("%s: %w", peersScript, err)
		}
		c := count{result: Result{File: set.File, N: line.N, Subject: line.Subject}, samples: line.Samples, columns: line.Bytes}
		r := c.finish()
		if line.Samples > 0 {
			encode, decode := rate(line.Samples, line.EncodeS), rate(line.Samples, line.DecodeS)
			r.EncodeMSps, r.DecodeMSps, r.Lossless = &encode, &decode, &line.Lossless
		}
		out[line.N] = append(out[line.N], r)
	}
	return out, nil
}

func rate(samples int, seconds float64) float64 {
	return float64(samples) / 1e6 / max(seconds, 1e-6)
}

// goPeer is a compressor that takes a cut as a whole, channel after channel, in
// the width of each channel.
type goPeer struct {
	name   string
	encode func(dst, src []byte) ([]byte, error)
	decode func(dst, src []byte) ([]byte, error)
}

func goPeers() []goPeer {
	return []goPeer{
		{
			"s2",
			func(dst, src []byte) ([]byte, error) { return s2.Encode(dst[:cap(dst)], src), nil },
			func(dst, src []byte) ([]byte, error) { return s2.Decode(dst[:cap(dst)], src) },
		},
		{"gzip", gzipEncode(), gzipDecode},
	}
}

func gzipEncode() func(dst, src []byte) ([]byte, error) {
	w := gzip.NewWriter(io.Discard)
	return func(dst, src []byte) ([]byte, error) {
		b := bytes.NewBuffer(dst[:0])
		w.Reset(b)
		_, err := w.Write(src)
		err = errors.Join(err, w.Close())
		return b.Bytes(), err
	}
}

func gzipDecode(dst, src []byte) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(src))
	if err != nil {
		return nil, err
	}
	b := bytes.NewBuffer(dst[:0])
	_, err = b.ReadFrom(r)
	return b.Bytes(), err
}

// measure encodes and decodes all cuts of n samples.
func (p *goPeer) measure(set *Set, n int) (Result, error) {
	c := count{result: Result{File: set.File, N: n, Subject: p.name}}
	widths := map[*Channel]int{}
	for i := range set.Channels {
		widths[&set.Channels[i]] = set.Channels[i].bytes()
	}
	var raw, packed, got []byte
	var encodeTook, decodeTook time.Duration
	lossless := true
	err := set.cuts(n, func(chs []*Channel, s int) error {
		raw = raw[:0]
		for _, ch := range chs {
			raw = appendRaw(raw, ch.Values[s:s+n], widths[ch])
		}
		took, err := cpuTime(func() (err error) { packed, err = p.encode(packed, raw); return err })
		if err != nil {
			return err
		}
		encodeTook += took
		took, err = cpuTime(func() (err error) { got, err = p.decode(got, packed); return err })
		if err != nil {
			return err
		}
		decodeTook += took
		lossless = lossless && bytes.Equal(got, raw)
		c.cuts++
		c.samples += n * len(chs)
		c.columns += len(packed)
		return nil
	})
	r := c.finish()
	if c.samples > 0 {
		encode, decode := rate(c.samples, encodeTook.Seconds()), rate(c.samples, decodeTook.Seconds())
		r.EncodeMSps, r.DecodeMSps, r.Lossless = &encode, &decode, &lossless
	}
	return r, err
}

// bytes returns the width that all of the channel's values fit.
func (c *Channel) bytes() int {
	if c.Type == "f32" {
		return 4
	}
	lo, hi := int64(0), int64(0)
	for _, v := range c.Values {
		lo, hi = min(lo, v), max(hi, v)
	}
	switch {
	case lo >= math.MinInt8 && hi <= math.MaxInt8 || lo >= 0 && hi <= math.MaxUint8:
		return 1
	case lo >= math.MinInt16 && hi <= math.MaxInt16 || lo >= 0 && hi <= math.MaxUint16:
		return 2
	}
	return 4
}

func appendRaw(dst []byte, vals []int64, width int) []byte {
	for _, v := range vals {
		switch width {
		case 1:
			dst = append(dst, byte(v))
		case 2:
			dst = binary.LittleEndian.AppendUint16(dst, uint16(v))
		default:
			dst = binary.LittleEndian.AppendUint32(dst, uint32(v))
		}
	}
	return dst
}
