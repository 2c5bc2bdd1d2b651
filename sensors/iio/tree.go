// Package iio captures the kernel's industrial I/O devices: inertial sensors and
// converters that a driver samples by itself into a buffer.
//
// The entry point is [New], which reads what a device offers from sysfs, and a
// source that sets the buffer up and reads it in runs, with the driver's own time
// stamps. It never makes triggers and never touches a device before Run.
package iio

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"telemetry/wire"
)

// element is one value of a sample in the buffer.
type element struct {
	name    string // as in_accel_x
	index   int
	bits    int
	storage int // bits
	shift   int
	signed  bool
	big     bool
	at      int // byte in the sample
}

// maxFile bounds an attribute of sysfs: a page.
const maxFile = 4096

func read(dir, name string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(b[:min(len(b), maxFile)])), nil
}

// find returns the folder of a device, which is named as its folder or by its
// driver.
func find(sys, device string) (string, error) {
	dir := filepath.Join(sys, device)
	if _, err := os.Stat(filepath.Join(dir, "name")); err == nil && device != "" {
		return dir, nil
	}
	dirs, err := filepath.Glob(filepath.Join(sys, "iio:device*"))
	if err != nil {
		return "", fmt.Errorf("iio: %w", err)
	}
	var there []string
	for _, d := range dirs {
		name, err := read(d, "name")
		if err == nil && name == device {
			return d, nil
		}
		there = append(there, filepath.Base(d)+" ("+name+")")
	}
	return "", fmt.Errorf("iio: no device %q: there are %v", device, there)
}

var errType = errors.New("iio: description of a value is not understood")

// parseType reads "le:s16/16>>0".
func parseType(s string) (e element, err error) {
	order, rest, ok1 := strings.Cut(s, ":")
	size, shift, ok2 := strings.Cut(rest, ">>")
	bits, storage, ok3 := strings.Cut(size, "/")
	if !ok1 || !ok2 || !ok3 || len(bits) < 2 || order != "le" && order != "be" || bits[0] != 's' && bits[0] != 'u' {
		return e, fmt.Errorf("%w: %q", errType, s)
	}
	e.big, e.signed = order == "be", bits[0] == 's'
	var errs [3]error
	e.bits, errs[0] = strconv.Atoi(bits[1:])
	e.storage, errs[1] = strconv.Atoi(storage)
	e.shift, errs[2] = strconv.Atoi(shift)
	if errors.Join(errs[:]...) != nil || !slices.Contains([]int{8, 16, 32, 64}, e.storage) || e.bits < 1 || e.shift < 0 || e.bits+e.shift > e.storage {
		return e, fmt.Errorf("%w: %q", errType, s)
	}
	return e, nil
}

// elements lists what a device can put into its buffer, in the order in which it
// does.
func elements(dir string) ([]element, error) {
	files, err := filepath.Glob(filepath.Join(dir, "scan_elements", "*_en"))
	if err != nil {
		return nil, fmt.Errorf("iio: %w", err)
	}
	var out []element
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), "_en")
		kind, err1 := read(filepath.Dir(f), name+"_type")
		index, err2 := read(filepath.Dir(f), name+"_index")
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("iio: channel %s: %w", name, err)
		}
		e, err := parseType(kind)
		if err != nil {
			return nil, fmt.Errorf("channel %s: %w", name, err)
		}
		e.name = name
		if e.index, err = strconv.Atoi(index); err != nil {
			return nil, fmt.Errorf("iio: channel %s: index %q: %w", name, index, err)
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("iio: %s has no buffer: its driver wants a trigger, or cannot", dir)
	}
	slices.SortFunc(out, func(a, b element) int { return a.index - b.index })
	return out, nil
}

// place gives each element its byte and returns the length of a sample: values
// stand at multiples of their own size.
func place(es []element) int {
	at, most := 0, 1
	for i := range es {
		size := es[i].storage / 8
		at = (at + size - 1) / size * size
		es[i].at = at
		at += size
		most = max(most, size)
	}
	return (at + most - 1) / most * most
}

// word reads an element of a sample.
func (e *element) word(sample []byte) int64 {
	var u uint64
	b := sample[e.at : e.at+e.storage/8]
	for i := range b {
		if e.big {
			u = u<<8 | uint64(b[i])
		} else {
			u |= uint64(b[i]) << (8 * i)
		}
	}
	u = u >> e.shift << (64 - e.bits)
	if e.signed {
		return int64(u) >> (64 - e.bits)
	}
	return int64(u >> (64 - e.bits))
}

// kinds of measurement in the kernel's units, and what they are here: the factor
// is applied to the kernel's own scale.
var kinds = []struct {
	prefix, unit string
	factor       float64
}{
	{"in_accel", "m/s2", 1},
	{"in_anglvel", "rad/s", 1},
	{"in_magn", "G", 1},
	{"in_temp", "degC", 1e-3},
	{"in_voltage", "V", 1e-3},
	{"in_current", "A", 1e-3},
	{"in_pressure", "kPa", 1},
	{"in_humidityrelative", "%", 1e-3},
}

// channel describes an element: value = (raw + offset) * scale in the kernel's
// words.
func channel(dir, group string, e *element) (wire.Channel, error) {
	c := wire.Channel{Name: group + "_" + strings.TrimPrefix(e.name, "in_"), Type: wire.TypeUint, Bits: uint8(e.bits), Scale: 1}
	if e.signed {
		c.Type = wire.TypeInt
	}
	scale, err1 := attribute(dir, e.name, "scale", 1)
	offset, err2 := attribute(dir, e.name, "offset", 0)
	if err := errors.Join(err1, err2); err != nil {
		return c, err
	}
	for _, k := range kinds {
		if strings.HasPrefix(e.name, k.prefix) {
			c.Unit = k.unit
			scale *= k.factor
		}
	}
	c.Scale, c.Offset = scale, offset*scale
	return c, nil
}

// attribute reads a number of a channel, or of all channels of its kind.
func attribute(dir, name, what string, absent float64) (float64, error) {
	for {
		s, err := read(dir, name+"_"+what)
		if err == nil {
			v, err := strconv.ParseFloat(s, 64)
			if err != nil {
				return 0, fmt.Errorf("iio: %s_%s: %w", name, what, err)
			}
			return v, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("iio: %w", err)
		}
		cut := strings.LastIndexAny(name, "_")
		if digits := strings.TrimRight(name, "0123456789"); digits != name {
			name = digits
			continue
		}
		if cut <= len("in") {
			return absent, nil
		}
		name = name[:cut]
	}
}
