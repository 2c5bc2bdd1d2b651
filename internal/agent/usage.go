package agent

import (
	"encoding/json"
	"errors"
	"sync"
	"time"

	"telemetry/modem"
)

// usageName is the file beside the spool that keeps what the links' interfaces
// carried in the present month.
const usageName = "usage.json"

// usageEvery is how often it is written: a power cut costs at most this much.
const usageEvery = time.Minute

// firstYear is the earliest that a clock which is right can show.
const firstYear = 2024

// DataUse is what a link's interface carried in a calendar month (UTC), as the
// kernel counts it.
type DataUse struct {
	Month    string `json:"month"` // "2026-05"; empty: no clock has said
	Received uint64 `json:"received_bytes"`
	Sent     uint64 `json:"sent_bytes"`
}

// usage adds up what the kernel counts, over resets of modems, which begin its
// counters anew, and over restarts. It is safe for concurrent use.
type usage struct {
	path  string
	warn  func(msg string, args ...any)
	wall  func() time.Time
	write func(path string, b []byte) error // replaces a file durably

	mu    sync.Mutex
	links map[string]*followed // guarded by mu
	saved time.Duration
}

// followed is one link's interface.
type followed struct {
	status func() (modem.Status, error)
	index  int    // of the interface when it was last read
	rx, tx uint64 // of the kernel then
	known  bool
	use    DataUse
}

// newUsage takes over what an earlier process kept at path.
func newUsage(path string, warn func(msg string, args ...any)) *usage {
	return &usage{path: path, warn: warn, wall: time.Now, write: writeDurably, links: map[string]*followed{}}
}

// watch adds a link, whose interface status reads.
func (u *usage) watch(link string, status func() (modem.Status, error)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f := &followed{status: status}
	var kept map[string]DataUse
	if b, err := readIfThere(u.path); err == nil && len(b) > 0 && json.Unmarshal(b, &kept) == nil {
		f.use = kept[link]
	}
	u.links[link] = f
}

func (u *usage) empty() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.links) == 0
}

// step reads the counters, and writes the sums when that is due.
func (u *usage) step(now time.Duration) {
	month := ""
	if t := u.wall().UTC(); t.Year() >= firstYear {
		month = t.Format("2006-01")
	}
	u.mu.Lock()
	for _, f := range u.links {
		f.step(month)
	}
	due := now-u.saved >= usageEvery
	if due {
		u.saved = now
	}
	u.mu.Unlock()
	if due {
		u.save()
	}
}

func (f *followed) step(month string) {
	if month > f.use.Month { // an older one is a clock that was set back, or is not set yet
		if f.use.Month != "" {
			f.use = DataUse{}
		}
		f.use.Month = month
	}
	st, err := f.status()
	if err != nil || !st.Present {
		return
	}
	if f.known {
		f.use.Received += grown(f.rx, st.RxBytes, st.Index == f.index)
		f.use.Sent += grown(f.tx, st.TxBytes, st.Index == f.index)
	}
	f.known, f.index, f.rx, f.tx = true, st.Index, st.RxBytes, st.TxBytes
}

// grown is how much a counter has grown; one that went back, or that belongs to
// an interface made anew, began at nought.
func grown(was, is uint64, same bool) uint64 {
	if !same || is < was {
		return is
	}
	return is - was
}

// of returns what a link carried; false if it is not followed.
func (u *usage) of(link string) (DataUse, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if f := u.links[link]; f != nil {
		return f.use, true
	}
	return DataUse{}, false
}

func (u *usage) save() {
	u.mu.Lock()
	kept := map[string]DataUse{}
	for name, f := range u.links {
		kept[name] = f.use
	}
	u.mu.Unlock()
	if len(kept) == 0 {
		return
	}
	b, err := json.Marshal(kept)
	if err == nil {
		err = u.write(u.path, b)
	}
	if err != nil && !errors.Is(err, errDark) {
		u.warn("data use not kept", "error", err)
	}
}
