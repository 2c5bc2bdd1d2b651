package clock

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"strings"
)

// BootID returns the kernel's random id of this boot from proc, the /proc file
// system: boot times of two epochs compare only when it is equal.
func BootID(proc fs.FS) ([16]byte, error) {
	var id [16]byte
	b, err := fs.ReadFile(proc, "sys/kernel/random/boot_id")
	if err != nil {
		return id, fmt.Errorf("clock: read boot id: %w", err)
	}
	raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(b)), "-", ""))
	if err != nil || len(raw) != len(id) {
		return id, fmt.Errorf("clock: boot id %q has not 16 bytes", strings.TrimSpace(string(b)))
	}
	copy(id[:], raw)
	return id, nil
}
