// Package board knows what a car's computer is made of: which pins, buses,
// sensors and files belong to what. Profiles are data, not code.
//
// The entry points are [Profiles], [Detect] and [Open]. The package imports
// nothing of the module, never toggles a pin on its own and never sleeps
// without watching its context.
package board

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

//go:embed profiles/*.json
var profiles embed.FS

// Profile describes one kind of board.
type Profile struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Compatible  []string `json:"compatible"` // device-tree strings; empty = never detected
	GOARM       int      `json:"goarm"`      // 0 = not a 32-bit ARM board
	CAN         []string `json:"can"`        // kernel interfaces, in the order of the connectors
	Modems      []Slot   `json:"modems"`
	PowerFail   *Pin     `json:"power_fail"` // goes active when the supply is lost
	Ignition    *Pin     `json:"ignition"`
	LEDs        []LED    `json:"leds"`
	Thermal     []string `json:"thermal"`  // names of thermal zones; empty = all
	Watchdog    string   `json:"watchdog"` // device file; empty = none
}

// Slot is a place for a modem.
type Slot struct {
	Name     string `json:"name"`
	USBPath  string `json:"usb_path"` // as "1-1.2" in sysfs
	PowerKey *Pin   `json:"power_key"`
	Reset    *Pin   `json:"reset"`
}

// Pin is a GPIO line by its device-tree line name or its number.
type Pin struct {
	Line      string `json:"line"`
	ActiveLow bool   `json:"active_low"`
}

// LED is a light with a meaning.
type LED struct {
	Name string `json:"name"`
	Pin  Pin    `json:"pin"`
}

// Slot returns the modem's place called name; the error names all there are.
func (p Profile) Slot(name string) (Slot, error) {
	var names []string
	for _, s := range p.Modems {
		if s.Name == name {
			return s, nil
		}
		names = append(names, s.Name)
	}
	return Slot{}, fmt.Errorf("board %s has no modem slot %q (want one of %s)", p.Name, name, strings.Join(names, ", "))
}

// Profiles returns all built-in profiles, sorted by name.
func Profiles() ([]Profile, error) {
	files, err := fs.Glob(profiles, "profiles/*.json")
	if err != nil {
		return nil, fmt.Errorf("board: list profiles: %w", err)
	}
	var ps []Profile
	for _, f := range files {
		b, err := fs.ReadFile(profiles, f)
		if err != nil {
			return nil, fmt.Errorf("board: read profile: %w", err)
		}
		p, err := ParseProfile(b)
		if err != nil {
			return nil, fmt.Errorf("board: profile %s: %w", path.Base(f), err)
		}
		ps = append(ps, p)
	}
	slices.SortFunc(ps, func(a, b Profile) int { return strings.Compare(a.Name, b.Name) })
	return ps, nil
}

// ParseProfile reads a profile; an unknown key is an error.
func ParseProfile(b []byte) (Profile, error) {
	var p Profile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Profile{}, fmt.Errorf("board: %w", err)
	}
	if p.Name == "" {
		return Profile{}, fmt.Errorf("board: profile has no name")
	}
	return p, nil
}

// Find returns the profile called name; the error names all there are.
func Find(name string) (Profile, error) {
	ps, err := Profiles()
	if err != nil {
		return Profile{}, err
	}
	var names []string
	for _, p := range ps {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("board: no profile %q (want one of %s)", name, strings.Join(names, ", "))
}

// Detect returns the profile whose device-tree string is in
// proc/device-tree/compatible of root, the root file system, or the generic one.
func Detect(root fs.FS) (Profile, error) {
	ps, err := Profiles()
	if err != nil {
		return Profile{}, err
	}
	have, err := fs.ReadFile(root, "proc/device-tree/compatible")
	if err == nil {
		for _, c := range strings.Split(string(have), "\x00") {
			for _, p := range ps {
				if c != "" && slices.Contains(p.Compatible, c) {
					return p, nil
				}
			}
		}
	}
	return Find("generic")
}
