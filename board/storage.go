package board

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// Storage is the health of one disk or card as the kernel tells it.
type Storage struct {
	Device       string `json:"device"`            // "mmcblk0"
	WrittenBytes uint64 `json:"written_bytes"`     // since boot
	WearPercent  int    `json:"wear_percent"`      // used life of an eMMC, upper bound, in steps of 10; −1 = unknown
	Reserve      string `json:"reserve,omitempty"` // eMMC's pre_eol: "normal", "80% used", "urgent"
	ReadOnly     bool   `json:"read_only"`         // the kernel has made the device read-only
}

// Storages reads the health of all disks, cards and NVMe devices.
func (b *Board) Storages() ([]Storage, error) {
	dirs, err := fs.Glob(b.root, "sys/block/*")
	if err != nil {
		return nil, fmt.Errorf("board: list disks: %w", err)
	}
	var out []Storage
	for _, d := range dirs {
		name := path.Base(d)
		if strings.HasPrefix(name, "loop") || strings.HasPrefix(name, "ram") || strings.HasPrefix(name, "zram") || strings.HasPrefix(name, "dm-") || strings.Contains(name, "boot") {
			continue
		}
		s := Storage{Device: name, WearPercent: -1}
		if st, err := readTrim(b.root, d+"/stat"); err == nil { // Documentation/block/stat.rst: sectors of 512 bytes
			if f := strings.Fields(st); len(f) > 6 {
				n, err := strconv.ParseUint(f[6], 10, 64)
				if err == nil {
					s.WrittenBytes = n * 512
				}
			}
		}
		if ro, err := readTrim(b.root, d+"/ro"); err == nil {
			s.ReadOnly = ro == "1"
		}
		b.emmc(d, &s)
		out = append(out, s)
	}
	return out, nil
}

// emmc reads life_time and pre_eol_info (JEDEC 84-B51, EXT_CSD 267–269): each
// step of life_time is ten per cent, of two kinds of memory the worse counts.
func (b *Board) emmc(dir string, s *Storage) {
	if life, err := readTrim(b.root, dir+"/device/life_time"); err == nil {
		for _, f := range strings.Fields(life) {
			if v, err := strconv.ParseUint(strings.TrimPrefix(f, "0x"), 16, 8); err == nil && v >= 1 && v <= 11 {
				s.WearPercent = max(s.WearPercent, int(v)*10)
			}
		}
	}
	if eol, err := readTrim(b.root, dir+"/device/pre_eol_info"); err == nil {
		if v, err := strconv.ParseUint(strings.TrimPrefix(eol, "0x"), 16, 8); err == nil {
			s.Reserve = map[uint64]string{1: "normal", 2: "80% used", 3: "urgent"}[v]
		}
	}
}
