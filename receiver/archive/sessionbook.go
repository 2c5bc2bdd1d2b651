package archive

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"telemetry/wire"
)

// sessionRecord is the value of a record in telemetry.sessions.
type sessionRecord struct {
	Car      string `json:"car"`
	Session  string `json:"session"`
	Event    string `json:"event"`
	State    string `json:"state"`
	Name     string `json:"name"`
	Track    string `json:"track"`
	Lap      int    `json:"lap"`
	Sector   int    `json:"sector"`
	TimeNS   int64  `json:"time_ns"`
	Complete *bool  `json:"complete"`
	Mark     int    `json:"mark"`
	Text     string `json:"text"`
	BestNS   int64  `json:"best_ns"`
	TSNS     int64  `json:"ts_ns"`
	Epoch    uint32 `json:"epoch"`
	Nonce    string `json:"nonce"`
}

// maxSessions bounds the sessions of all cars that are put together, maxLaps the laps
// of one.
const (
	maxSessions = 100_000
	maxLaps     = 10_000
)

// sessionBook puts sessions together from their records, in any order.
type sessionBook struct {
	car string // others are passed; empty: none is
	of  map[[2]string]*Session
}

// add takes a record. What is none is passed.
func (b *sessionBook) add(r *sessionRecord) {
	if b.car != "" && r.Car != b.car || r.Session == "" {
		return
	}
	key := [2]string{r.Car, r.Session}
	s := b.of[key]
	if s == nil {
		if len(b.of) >= maxSessions {
			return
		}
		s = &Session{ID: r.Session, Car: r.Car, State: "running"}
		b.of[key] = s
	}
	s.Name, s.Track = cmp.Or(s.Name, r.Name), cmp.Or(s.Track, r.Track)
	if nonce, err := strconv.ParseUint(r.Nonce, 16, 64); err == nil {
		if e := (wire.Epoch{Counter: r.Epoch, Nonce: nonce}); !slices.Contains(s.Epochs, e) {
			s.Epochs = append(s.Epochs, e)
		}
	}
	s.UntilNS = max(s.UntilNS, r.TSNS)
	if s.StartNS == 0 || r.TSNS < s.StartNS {
		s.StartNS = r.TSNS
	}
	switch r.Event {
	case "session_stop":
		s.State, s.EndNS, s.BestNS = "stopped", r.TSNS, cmp.Or(r.BestNS, s.BestNS)
	case "session_mark":
		if i := slices.IndexFunc(s.Marks, func(m Mark) bool { return m.N == r.Mark }); i >= 0 {
			s.Marks[i] = Mark{r.Mark, r.TSNS, r.Text}
		} else if len(s.Marks) < maxLaps {
			s.Marks = append(s.Marks, Mark{r.Mark, r.TSNS, r.Text})
		}
	case "lap":
		if l := s.lap(r.Lap); l != nil {
			l.EndNS, l.TimeNS, l.Complete = r.TSNS, r.TimeNS, r.Complete != nil && *r.Complete
			if l.Complete && l.TimeNS > 0 && (s.BestNS == 0 || l.TimeNS < s.BestNS) {
				s.BestNS = l.TimeNS
			}
		}
	case "sector":
		if l := s.lap(r.Lap); l != nil {
			l.sector(Sector{r.Sector, r.TimeNS, r.TSNS})
		}
	}
}

// lap returns a lap, made on first sight; nil when there are too many.
func (s *Session) lap(n int) *Lap {
	i, ok := slices.BinarySearchFunc(s.Laps, n, func(l Lap, n int) int { return cmp.Compare(l.N, n) })
	if !ok {
		if len(s.Laps) >= maxLaps {
			return nil
		}
		s.Laps = slices.Insert(s.Laps, i, Lap{N: n})
	}
	return &s.Laps[i]
}

func (l *Lap) sector(x Sector) {
	i, ok := slices.BinarySearchFunc(l.Sectors, x.N, func(s Sector, n int) int { return cmp.Compare(s.N, n) })
	switch {
	case ok:
		l.Sectors[i] = x
	case len(l.Sectors) < 1000:
		l.Sectors = slices.Insert(l.Sectors, i, x)
	}
}

// list returns the sessions, newest first, with the begins of their laps.
func (b *sessionBook) list() []Session {
	out := make([]Session, 0, len(b.of))
	for _, s := range b.of {
		slices.SortFunc(s.Epochs, func(x, y wire.Epoch) int { return cmp.Compare(x.Counter, y.Counter) })
		slices.SortFunc(s.Marks, func(x, y Mark) int { return cmp.Compare(x.N, y.N) })
		for i := range s.Laps {
			s.Laps[i].begin(s, i)
		}
		out = append(out, *s)
	}
	slices.SortFunc(out, func(x, y Session) int { return cmp.Or(cmp.Compare(y.StartNS, x.StartNS), cmp.Compare(x.ID, y.ID)) })
	return out
}

// begin finds when a lap began: its time before its end, else when the one before
// ended, else a sector's time before that sector's end.
func (l *Lap) begin(s *Session, i int) {
	switch {
	case l.EndNS > 0 && l.TimeNS > 0:
		l.StartNS = l.EndNS - l.TimeNS
	case i > 0 && s.Laps[i-1].N == l.N-1 && s.Laps[i-1].EndNS > 0:
		l.StartNS = s.Laps[i-1].EndNS
	case len(l.Sectors) > 0 && l.Sectors[0].TimeNS > 0:
		l.StartNS = l.Sectors[0].AtNS - l.Sectors[0].TimeNS
	default:
		l.StartNS = s.StartNS
	}
}

// find finds a session or a lap.
func find(list []Session, car, what string) (fromNS, toNS int64, err error) {
	for i := range list {
		if s := &list[i]; what == s.ID || what == s.Name {
			return s.StartNS, s.EndNS, nil
		}
	}
	if name, lap, ok := cutLast(what); ok {
		for i := range list {
			s := &list[i]
			if name != s.ID && name != s.Name {
				continue
			}
			for _, l := range s.Laps {
				if strconv.Itoa(l.N) == lap {
					return l.StartNS, cmp.Or(l.EndNS, s.EndNS), nil
				}
			}
			return 0, 0, fmt.Errorf("%w lap %s of session %s of car %s (there are %s)", ErrUnknown, lap, name, car, lapNames(s.Laps))
		}
	}
	return 0, 0, fmt.Errorf("%w session %s of car %s (there are %s)", ErrUnknown, what, car, sessionNames(list))
}

// cutLast cuts at the last slash: names of sessions may have some.
func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// maxNames bounds the names in an error.
const maxNames = 20

func sessionNames(list []Session) string {
	names := make([]string, 0, maxNames)
	for i := range list[:min(len(list), maxNames)] {
		n := list[i].ID
		if list[i].Name != "" && list[i].Name != n {
			n += " (" + list[i].Name + ")"
		}
		names = append(names, n)
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

func lapNames(laps []Lap) string {
	names := make([]string, 0, maxNames)
	for _, l := range laps[:min(len(laps), maxNames)] {
		names = append(names, strconv.Itoa(l.N))
	}
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
