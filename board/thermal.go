package board

import (
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// Temperature is one reading of one sensor of the board.
type Temperature struct {
	Zone   string // as the kernel names it, "cpu-thermal"
	MilliC int64  // thousandths of a degree Celsius
}

// Board is one computer: its profile and where its kernel files are. It is safe
// for concurrent use.
type Board struct {
	profile Profile
	root    fs.FS
}

// Open returns the board with profile p whose root file system is root.
func Open(p Profile, root fs.FS) *Board { return &Board{profile: p, root: root} }

// Profile returns the board's profile.
func (b *Board) Profile() Profile { return b.profile }

// Temperatures reads the thermal zones of the profile. Zones that cannot be
// read are left out; a board without any gives none and no error.
func (b *Board) Temperatures() ([]Temperature, error) {
	zones, err := fs.Glob(b.root, "sys/class/thermal/thermal_zone*/type")
	if err != nil {
		return nil, fmt.Errorf("board: list thermal zones: %w", err)
	}
	var ts []Temperature
	for _, z := range zones {
		name, err := readTrim(b.root, z)
		if err != nil || (len(b.profile.Thermal) > 0 && !slices.Contains(b.profile.Thermal, name)) {
			continue
		}
		s, err := readTrim(b.root, strings.TrimSuffix(z, "type")+"temp")
		if err != nil {
			continue // a sensor that is switched off reads as an I/O error
		}
		if v, err := strconv.ParseInt(s, 10, 64); err == nil {
			ts = append(ts, Temperature{Zone: name, MilliC: v})
		}
	}
	return ts, nil
}

func readTrim(f fs.FS, name string) (string, error) {
	b, err := fs.ReadFile(f, name)
	return strings.TrimSpace(string(b)), err
}
