package guard

import (
	"io/fs"
	"os"
	"time"
)

// Times of files that are read again.
const (
	lookEvery = time.Second // at most so often
	saidEvery = time.Minute // is the same trouble logged
)

// follower tells when files have changed since it looked last; the caller locks.
type follower struct {
	paths  []string
	seen   []fs.FileInfo // nil entries: not there
	looked time.Time
}

// changed looks at the files, at most once every lookEvery, and reports whether
// one of them is another than the last time. Renamed files count as others.
func (f *follower) changed(now time.Time) bool {
	if f.seen != nil && now.Sub(f.looked) < lookEvery {
		return false
	}
	f.looked = now
	seen := make([]fs.FileInfo, len(f.paths))
	same := f.seen != nil
	for i, p := range f.paths {
		if st, err := os.Stat(p); err == nil {
			seen[i] = st
		}
		same = same && sameFile(seen[i], f.seen[i])
	}
	f.seen = seen
	return !same
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size() && a.Mode() == b.Mode()
}
