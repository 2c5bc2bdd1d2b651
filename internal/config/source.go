package config

import (
	"fmt"
	"reflect"
	"strings"
)

// Source is one named source; exactly one kind is set. A kind is a field that
// points to a struct with the methods of sourceKind, in a file of its own.
type Source struct {
	Name      string     `yaml:"name"`
	Candump   *Candump   `yaml:"candump"`
	Slcan     *Slcan     `yaml:"slcan"`
	Socketcan *Socketcan `yaml:"socketcan"`
	Gnss      *Gnss      `yaml:"gnss"`
	Serial    *Serial    `yaml:"serial"`
	UDP       *UDP       `yaml:"udp"`
	IMU       *IMU       `yaml:"imu"`
	ADC       *ADC       `yaml:"adc"`
	IIO       *IIO       `yaml:"iio"`
	Sim       *Sim       `yaml:"sim"`

	Shape `yaml:",inline"`
}

// reporter takes a fault of the value at path.
type reporter = func(path, format string, args ...any)

// sourceKind is the configuration of one kind of source. at is its path in the
// file, as "sources[0].candump".
type sourceKind interface {
	validate(at string, report reporter)
	resolve(dir string) // relative paths count from dir
}

// kinds returns the kinds that are set, by their keys, and the keys of all.
func (s *Source) kinds() (set map[string]sourceKind, all []string) {
	set = map[string]sourceKind{}
	v := reflect.ValueOf(s).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		if f.Kind() != reflect.Pointer {
			continue
		}
		k, ok := f.Interface().(sourceKind)
		if !ok {
			continue
		}
		key := keyOf(v.Type().Field(i))
		all = append(all, key)
		if !f.IsNil() {
			set[key] = k
		}
	}
	return set, all
}

func (c *Agent) validateSources(report reporter) {
	if len(c.Sources) == 0 || len(c.Sources) > MaxSources {
		report("sources", "has %d entries (want 1 to %d)", len(c.Sources), MaxSources)
	}
	seen := map[string]bool{}
	for i := range c.Sources {
		s := &c.Sources[i]
		at := fmt.Sprintf("sources[%d]", i)
		checkName(at+".name", s.Name, seen, report)
		set, all := s.kinds()
		if len(set) != 1 {
			report(at, "has no kind or two kinds (want one of %s)", strings.Join(all, ", "))
		}
		for _, key := range all {
			if k := set[key]; k != nil {
				k.validate(at+"."+key, report)
			}
		}
		s.Shape.validate(at, report)
	}
}

// Files is one file or a list of files.
type Files []string

func (Files) loneScalar() {}

func (f Files) resolve(dir string) {
	for i := range f {
		abs(dir, &f[i])
	}
}

func (f Files) validate(at string, report reporter) {
	seen := map[string]bool{}
	for i, name := range f {
		path := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case name == "":
			report(path, "is empty (want the name of a file)")
		case seen[name]:
			report(path, "%q is named twice", name)
		}
		seen[name] = true
	}
}
