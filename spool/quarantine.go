package spool

import (
	"fmt"
	"path/filepath"
)

// maxQuarantineBytes bounds what is kept for people to look at; the quota bounds
// it too. The oldest goes first.
const maxQuarantineBytes = 64 << 20

func (s *Spool) quarantineDir() string { return filepath.Join(s.cfg.Dir, quarantineName) }

// quarantine moves a file or a directory out of the way.
func (s *Spool) quarantine(name, label string) error {
	s.quarNo++
	to := filepath.Join(s.quarantineDir(), fmt.Sprintf("%08d-%s", s.quarNo, label))
	err := s.disk.Rename(name, to)
	if err == nil {
		err = s.disk.SyncDir(s.quarantineDir())
	}
	if err != nil {
		s.log.Warn("not moved to quarantine", "name", name, "err", err)
		return fmt.Errorf("quarantine %s: %w", name, err)
	}
	s.report.Quarantined++
	s.log.Warn("moved to quarantine", "name", name, "to", to)
	return nil
}

// countQuarantine finds the number of the last thing that was put there.
func (s *Spool) countQuarantine() {
	es, _ := s.disk.ReadDir(s.quarantineDir()) // an unreadable one counts as empty
	for _, e := range es {
		var no uint64
		if _, err := fmt.Sscanf(e.Name, "%08d-", &no); err == nil {
			s.quarNo = max(s.quarNo, no)
		}
	}
}

// boundQuarantine deletes the oldest of it until the rest fits.
func (s *Spool) boundQuarantine() {
	es, err := s.disk.ReadDir(s.quarantineDir())
	if err != nil {
		return
	}
	sizes := make([]int64, len(es))
	total := int64(0)
	for i, e := range es {
		sizes[i] = s.treeSize(filepath.Join(s.quarantineDir(), e.Name), e)
		total += sizes[i]
	}
	for i := 0; i < len(es) && total > min(maxQuarantineBytes, s.cfg.QuotaBytes/8); i++ {
		s.remove(filepath.Join(s.quarantineDir(), es[i].Name))
		total -= sizes[i]
	}
	s.quarBytes = total
}

// treeSize counts the bytes of a file, or of a directory's files two levels deep.
func (s *Spool) treeSize(name string, e DirEntry) int64 {
	if !e.IsDir {
		return e.Size
	}
	total := int64(0)
	es, _ := s.disk.ReadDir(name)
	for _, f := range es {
		if !f.IsDir {
			total += f.Size
			continue
		}
		sub, _ := s.disk.ReadDir(filepath.Join(name, f.Name))
		for _, g := range sub {
			total += g.Size
		}
	}
	return total
}
