package at

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"telemetry/modem/keeper"
)

//go:embed profiles/*.json
var profiles embed.FS

// Profile is what differs between modules, as data: commands, where their
// replies keep which value, and how long the lines of the board are held.
type Profile struct {
	Name    string              `json:"name"`
	Match   []string            `json:"match"`   // of the reply to AT+CGMI or AT+CGMM, without case; empty = only by name
	Setup   []string            `json:"setup"`   // sent once the port answers; errors are noted, not fatal
	Reads   []Read              `json:"reads"`   // sent at each poll, in this order
	Rungs   map[string][]string `json:"rungs"`   // by the ladder's names; "{cid}" stands for the context
	Timings Timings             `json:"timings"` // of the board's lines
}

// Read is one command and where its values stand.
type Read struct {
	Command   string       `json:"command"`
	Prefix    string       `json:"prefix"`
	Plain     bool         `json:"plain"`      // lines without a prefix
	TimeoutMS int          `json:"timeout_ms"` // 0 = Quick
	Every     int          `json:"every"`      // polls between two sendings; 0 = each
	Lines     []LineValues `json:"lines"`
}

// LineValues says what a line of a reply holds.
type LineValues struct {
	When   map[int]string   `json:"when"` // fields that must have these values
	Values map[string]Place `json:"values"`
}

// Place is where a number or text stands in a line, and what it means.
type Place struct {
	Field  int     `json:"field"`
	Kind   string  `json:"kind"`  // "int" (default), "hex", "text", "number" (decimals)
	Scale  float64 `json:"scale"` // value = field × scale + offset; 0 = 1
	Offset float64 `json:"offset"`
	None   []int   `json:"none"` // field values that mean unknown
	Strip  string  `json:"strip"`
}

// Timings of the module's lines; from its hardware manual.
type Timings struct {
	PowerOnMS  int `json:"power_on_ms"`  // PWRKEY held to switch on
	PowerOffMS int `json:"power_off_ms"` // PWRKEY held to switch off
	OffWaitMS  int `json:"off_wait_ms"`  // until it has logged out and may lose its supply
	ResetMS    int `json:"reset_ms"`     // RESET_N held low
	BootMS     int `json:"boot_ms"`      // until it is back on its bus
}

// Keeper returns the timings as the keeper takes them.
func (t Timings) Keeper() keeper.Timings {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	return keeper.Timings{PowerOn: ms(t.PowerOnMS), PowerOff: ms(t.PowerOffMS), OffWait: ms(t.OffWaitMS), Reset: ms(t.ResetMS), Boot: ms(t.BootMS)}
}

// names that a Place may fill.
var known = []string{
	"rssi_dbm", "rsrp_dbm", "rsrq_db", "sinr_db", "cell", "tac", "band", "arfcn", "pci", "operator", "plmn", "tech",
	"temp_c", "rx_bytes", "tx_bytes", "imei", "iccid", "model", "revision",
}

// rungsKnown are the rungs that commands can do.
var rungsKnown = []string{"redial", "reattach", "radio", "reset"}

// Profiles returns the built-in profiles, sorted by name.
func Profiles() ([]Profile, error) {
	files, err := fs.Glob(profiles, "profiles/*.json")
	if err != nil {
		return nil, fmt.Errorf("at: list profiles: %w", err)
	}
	var ps []Profile
	for _, f := range files {
		b, err := fs.ReadFile(profiles, f)
		if err != nil {
			return nil, fmt.Errorf("at: read profile: %w", err)
		}
		p, err := ParseProfile(b)
		if err != nil {
			return nil, fmt.Errorf("at: profile %s: %w", path.Base(f), err)
		}
		ps = append(ps, p)
	}
	slices.SortFunc(ps, func(a, b Profile) int { return strings.Compare(a.Name, b.Name) })
	return ps, nil
}

// ParseProfile reads a profile and checks it; unknown keys and names are errors.
func ParseProfile(b []byte) (Profile, error) {
	var p Profile
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		return Profile{}, fmt.Errorf("at: %w", err)
	}
	return p, p.check()
}

func (p Profile) check() error {
	if p.Name == "" {
		return errors.New("at: profile has no name")
	}
	for r, cmds := range p.Rungs {
		if !slices.Contains(rungsKnown, r) || len(cmds) == 0 {
			return fmt.Errorf("at: rung %q (want one of %s, with commands)", r, strings.Join(rungsKnown, ", "))
		}
	}
	for _, r := range p.Reads {
		if r.Command == "" || (r.Prefix == "" && !r.Plain) {
			return fmt.Errorf("at: read %q has neither prefix nor plain", r.Command)
		}
		for _, l := range r.Lines {
			for name, v := range l.Values {
				if !slices.Contains(known, name) {
					return fmt.Errorf("at: %s: no value is called %q (want one of %s)", r.Command, name, strings.Join(known, ", "))
				}
				if !slices.Contains([]string{"", "int", "hex", "text", "number"}, v.Kind) {
					return fmt.Errorf("at: %s: kind %q (want int, hex, text or number)", r.Command, v.Kind)
				}
			}
		}
	}
	return nil
}

// FindProfile returns the profile called name.
func FindProfile(name string) (Profile, error) {
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
	return Profile{}, fmt.Errorf("at: no profile %q (want one of %s)", name, strings.Join(names, ", "))
}

// MatchProfile returns the profile for what a module says of itself, or the
// generic one.
func MatchProfile(identity string) (Profile, error) {
	ps, err := Profiles()
	if err != nil {
		return Profile{}, err
	}
	id := strings.ToLower(identity)
	for _, p := range ps {
		for _, m := range p.Match {
			if strings.Contains(id, strings.ToLower(m)) {
				return p, nil
			}
		}
	}
	return FindProfile("generic")
}

// command returns the read as the engine takes it.
func (r Read) command() Command {
	return Command{Text: r.Command, Prefix: r.Prefix, Plain: r.Plain, Timeout: time.Duration(r.TimeoutMS) * time.Millisecond}
}
