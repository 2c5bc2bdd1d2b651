package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// scalar is a value with a unit: it is written as one word.
type scalar interface{ want() string }

// valueError is a wrong value: what it is and what was expected.
type valueError struct{ message string }

func (e *valueError) Error() string { return e.message }

func badValue(n ast.Node, s scalar, why string) error {
	return &valueError{message: fmt.Sprintf("%q %s (want %s)", text(n), why, s.want())}
}

// text returns a scalar as it stands in the file, without its quotes.
func text(n ast.Node) string {
	n = unwrap(n)
	if l, ok := n.(*ast.LiteralNode); ok {
		return l.Value.Value
	}
	if tk := n.GetToken(); tk != nil {
		return tk.Value
	}
	return strings.TrimSpace(n.String())
}

// Duration is a length of time with its unit, as "250ms" or "1m30s".
type Duration time.Duration

func (*Duration) want() string { return `a duration with its unit, as "250ms" or "1m"` }

// UnmarshalYAML reads a duration; a bare number is refused.
func (d *Duration) UnmarshalYAML(n ast.Node) error {
	v, err := time.ParseDuration(text(n))
	switch {
	case err != nil && isNumber(text(n)):
		return badValue(n, d, "has no unit")
	case err != nil:
		return badValue(n, d, "is no duration")
	case v < 0:
		return badValue(n, d, "is negative")
	}
	*d = Duration(v)
	return nil
}

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// Window is a reorder window: a duration, or "none" for no skipping at all.
type Window time.Duration

// WindowNone never skips a hole.
const WindowNone Window = -1

func (*Window) want() string { return `a duration with its unit, as "10ms" or "1m", or none` }

// UnmarshalYAML reads a duration or the word none.
func (w *Window) UnmarshalYAML(n ast.Node) error {
	if text(n) == "none" {
		*w = WindowNone
		return nil
	}
	var d Duration
	if err := d.UnmarshalYAML(n); err != nil {
		return badValue(n, w, "is neither a duration with a unit nor none")
	}
	*w = Window(d)
	return nil
}

// Size is a number of bytes with its unit, as "512MiB" or "4GB".
type Size int64

func (*Size) want() string { return `a size with its unit, as "64KiB", "512MiB" or "4GB"` }

var sizeUnits = []unit{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"TiB", 1 << 40},
	{"kB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"TB", 1e12},
	{"B", 1},
}

// UnmarshalYAML reads a size; a bare number is refused.
func (s *Size) UnmarshalYAML(n ast.Node) error {
	v, why := withUnit(text(n), sizeUnits)
	if why != "" {
		return badValue(n, s, why)
	}
	*s = Size(v)
	return nil
}

// Rate is a frequency in thousandths of a hertz, written as "10Hz" or "1.5kHz".
type Rate uint64

func (*Rate) want() string { return `a rate with its unit, as "10Hz" or "1.5kHz"` }

var rateUnits = []unit{{"mHz", 1}, {"kHz", 1e6}, {"Hz", 1e3}}

// UnmarshalYAML reads a rate; a bare number is refused.
func (r *Rate) UnmarshalYAML(n ast.Node) error {
	v, why := withUnit(text(n), rateUnits)
	if why != "" {
		return badValue(n, r, why)
	}
	*r = Rate(v)
	return nil
}

// Speed is a replay factor: "x1", "x2.5" or "max".
type Speed float64

// SpeedMax replays as fast as the log can be read.
const SpeedMax Speed = -1

// Bounds of a factor: slower than a thousandth nobody waits for, and faster than
// a million is SpeedMax.
const (
	minSpeed = 1e-3
	maxSpeed = 1e6
)

func (*Speed) want() string { return `a factor from x0.001 to x1000000, as x1 or x2.5, or max` }

// UnmarshalYAML reads a factor or the word max.
func (s *Speed) UnmarshalYAML(n ast.Node) error {
	t := text(n)
	if t == "max" {
		*s = SpeedMax
		return nil
	}
	if isNumber(t) {
		return badValue(n, s, fmt.Sprintf("lacks its x: write x%s", t))
	}
	v, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimPrefix(t, "×"), "x"), 64)
	if err != nil || !(v >= minSpeed && v <= maxSpeed) {
		return badValue(n, s, "is no factor")
	}
	*s = Speed(v)
	return nil
}

type unit struct {
	name   string
	factor float64
}

// withUnit reads a decimal number with one of the units; why is "" when it fits.
func withUnit(t string, units []unit) (v float64, why string) {
	if isNumber(t) {
		return 0, "has no unit"
	}
	for _, u := range units {
		num, ok := strings.CutSuffix(t, u.name)
		if !ok {
			continue
		}
		f, err := strconv.ParseFloat(strings.TrimSpace(num), 64)
		if err != nil {
			continue
		}
		f *= u.factor
		switch {
		case f < 0:
			return 0, "is negative"
		case f > math.MaxInt64/2:
			return 0, "is too large"
		}
		return math.Round(f), ""
	}
	return 0, "has no known unit"
}

func isNumber(t string) bool {
	_, err := strconv.ParseFloat(t, 64)
	return err == nil
}
