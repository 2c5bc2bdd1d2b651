package live

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"telemetry/receiver/topic"
)

// Session is one session of a car, as the car's own events tell it. Times are UTC in
// ms; what nobody has said is null or 0.
type Session struct {
	ID      string  `json:"id"`
	Name    string  `json:"name"`
	Track   string  `json:"track"`
	State   string  `json:"state"` // "running", "stopped", "" when only parts of it are known
	StartMS *int64  `json:"start_ms"`
	EndMS   *int64  `json:"end_ms"`  // null: it runs
	Lap     int     `json:"lap"`     // under way; 0: none
	BestMS  float64 `json:"best_ms"` // of complete laps; 0: none
	Laps    []Lap   `json:"laps"`
	Marks   []Mark  `json:"marks"`
}

// Lap is one lap. The one that is under way has no end.
type Lap struct {
	N        int      `json:"n"`
	StartMS  *int64   `json:"start_ms"`
	EndMS    *int64   `json:"end_ms"`
	TimeMS   *float64 `json:"time_ms"` // null: not known
	Complete bool     `json:"complete"`
	Sectors  []Sector `json:"sectors"`
}

// Sector is one sector of a lap.
type Sector struct {
	N      int      `json:"n"`
	TimeMS *float64 `json:"time_ms"`
	AtMS   int64    `json:"at_ms"` // its end
}

// Mark is something that somebody noted.
type Mark struct {
	N    int    `json:"n"`
	AtMS int64  `json:"at_ms"`
	Text string `json:"text"`
}

// Sessions is the answer to /api/v1/cars/{car}/laps.
type Sessions struct {
	Sessions []Session `json:"sessions"` // newest first
}

// Limits of what is kept; the oldest make room.
const (
	maxSessionCars  = 4 * MaxCars
	keptSessions    = 4 // of a car
	shownSessions   = 3
	maxSessionLaps  = 500
	maxLapSectors   = 32
	maxSessionMarks = 100
)

// carSessions are the sessions of one car.
type carSessions struct {
	version int64
	list    []*Session       // by their beginning, oldest first
	firstMS map[string]int64 // of each, for the order
}

// sessionRow is a record of the sessions topic.
type sessionRow struct {
	Car      string `json:"car"`
	Session  string `json:"session"`
	Event    string `json:"event"`
	State    string `json:"state"`
	Name     string `json:"name"`
	Track    string `json:"track"`
	Lap      int    `json:"lap"`
	Sector   int    `json:"sector"`
	TimeNS   int64  `json:"time_ns"`
	Complete bool   `json:"complete"`
	Mark     int    `json:"mark"`
	Text     string `json:"text"`
	TSNS     int64  `json:"ts_ns"`
}

// session takes a record of the sessions topic, which holds the latest word on each
// session, lap, sector and mark. One without a value deletes another.
func (f *follower) session(rec *topic.Record) {
	if len(rec.Value) == 0 {
		car, id, _ := strings.Cut(string(rec.Key), "/")
		f.s.store.dropSession(car, id)
		return
	}
	var r sessionRow
	if json.Unmarshal(rec.Value, &r) != nil || r.Car == "" || r.Session == "" {
		f.s.store.malformed()
		return
	}
	f.s.store.session(&r)
}

func (s *store) session(r *sessionRow) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.sessions[r.Car]
	if k == nil {
		if len(s.sessions) >= maxSessionCars {
			s.dropSessions()
		}
		k = &carSessions{firstMS: map[string]int64{}}
		s.sessions[r.Car] = k
	}
	k.take(r)
}

// dropSessions forgets those of a car that nothing else is known of.
func (s *store) dropSessions() {
	for name := range s.sessions {
		if s.cars[name] == nil {
			delete(s.sessions, name)
			return
		}
	}
}

func (s *store) dropSession(car, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := s.sessions[car]; k != nil && !strings.Contains(id, "/") {
		k.list = slices.DeleteFunc(k.list, func(x *Session) bool { return x.ID == id })
		delete(k.firstMS, id)
		k.version++
	}
}

// take notes what a record says.
func (k *carSessions) take(r *sessionRow) {
	ms := r.TSNS / 1e6
	x := k.session(r.Session, ms)
	if x == nil {
		return
	}
	k.version++
	switch r.Event {
	case "session_start", "session_continue", "session_stop":
		if r.Event == "session_start" {
			x.StartMS = &ms
		}
		x.Name, x.Track = cmp.Or(r.Name, x.Name), cmp.Or(r.Track, x.Track)
		if r.State == "" {
			return // the record of the start
		}
		x.State, x.EndMS = r.State, nil
		if r.Event == "session_stop" {
			x.EndMS = &ms
		}
	case "session_mark":
		i, found := slices.BinarySearchFunc(x.Marks, r.Mark, func(m Mark, n int) int { return m.N - n })
		if !found && len(x.Marks) < maxSessionMarks {
			x.Marks = slices.Insert(x.Marks, i, Mark{N: r.Mark})
			found = true
		}
		if found {
			x.Marks[i] = Mark{r.Mark, ms, r.Text}
		}
	case "lap":
		if l := x.lap(r.Lap); l != nil {
			l.EndMS, l.TimeMS, l.Complete, l.StartMS = &ms, milliseconds(r.TimeNS), r.Complete, nil
			if r.TimeNS > 0 {
				start := (r.TSNS - r.TimeNS) / 1e6
				l.StartMS = &start
			}
		}
	case "sector":
		if l := x.lap(r.Lap); l != nil {
			l.sector(Sector{r.Sector, milliseconds(r.TimeNS), ms})
		}
	}
}

func milliseconds(ns int64) *float64 {
	if ns <= 0 {
		return nil
	}
	ms := float64(ns) / 1e6
	return &ms
}

// session returns a session, new when it is not known; nil when it is older than
// all that are kept.
func (k *carSessions) session(id string, ms int64) *Session {
	for _, x := range k.list {
		if x.ID == id {
			if ms < k.firstMS[id] {
				k.firstMS[id] = ms
				k.sort()
			}
			return x
		}
	}
	if len(k.list) >= keptSessions {
		if old := k.list[0]; k.firstMS[old.ID] < ms {
			delete(k.firstMS, old.ID)
			k.list = slices.Delete(k.list, 0, 1)
		} else {
			return nil
		}
	}
	x := &Session{ID: id}
	k.list, k.firstMS[id] = append(k.list, x), ms
	k.sort()
	return x
}

func (k *carSessions) sort() {
	slices.SortStableFunc(k.list, func(a, b *Session) int { return cmp.Compare(k.firstMS[a.ID], k.firstMS[b.ID]) })
}

// lap returns a lap, new when it is not known; nil at the limit.
func (x *Session) lap(n int) *Lap {
	i, found := slices.BinarySearchFunc(x.Laps, n, func(l Lap, n int) int { return l.N - n })
	if !found {
		if len(x.Laps) >= maxSessionLaps {
			if i == 0 {
				return nil
			}
			x.Laps = slices.Delete(x.Laps, 0, 1)
			i--
		}
		x.Laps = slices.Insert(x.Laps, i, Lap{N: n, Sectors: []Sector{}})
	}
	return &x.Laps[i]
}

func (l *Lap) sector(s Sector) {
	i, found := slices.BinarySearchFunc(l.Sectors, s.N, func(o Sector, n int) int { return o.N - n })
	if !found && len(l.Sectors) >= maxLapSectors {
		return
	}
	if !found {
		l.Sectors = slices.Insert(l.Sectors, i, s)
	}
	l.Sectors[i] = s
}

// laps returns the newest sessions of a car and their version; no list when it is the
// version that is known.
func (s *store) laps(name string, known int64) (Sessions, int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.sessions[name]
	if k == nil {
		return Sessions{Sessions: []Session{}}, 0
	}
	if k.version == known {
		return Sessions{}, known
	}
	out := Sessions{Sessions: []Session{}}
	for _, x := range slices.Backward(k.list) {
		if len(out.Sessions) < shownSessions {
			out.Sessions = append(out.Sessions, x.view())
		}
	}
	return out, k.version
}

// view returns a copy with what follows from the rest.
func (x *Session) view() Session {
	v := *x
	v.Laps, v.Marks = slices.Clone(x.Laps), slices.Clone(x.Marks)
	if v.Marks == nil {
		v.Marks = []Mark{}
	}
	if v.Laps == nil {
		v.Laps = []Lap{}
	}
	for i := range v.Laps {
		l := &v.Laps[i]
		l.Sectors = slices.Clone(l.Sectors)
		if l.Complete && l.TimeMS != nil && (v.BestMS == 0 || *l.TimeMS < v.BestMS) {
			v.BestMS = *l.TimeMS
		}
		if i > 0 && l.EndMS == nil && v.Laps[i-1].N == l.N-1 {
			l.StartMS = v.Laps[i-1].EndMS
		}
	}
	v.Lap = x.running()
	return v
}

// running returns the number of the lap under way; 0 when there is none.
func (x *Session) running() int {
	if x.State == "stopped" || len(x.Laps) == 0 {
		return 0
	}
	last := &x.Laps[len(x.Laps)-1]
	if last.EndMS != nil {
		return last.N + 1
	}
	return last.N
}

// lap returns the number of the lap that the car is in; 0 when nobody knows.
func (k *carSessions) lap() int {
	if k == nil || len(k.list) == 0 {
		return 0
	}
	return k.list[len(k.list)-1].running()
}

// lapAt returns the number of the lap that an instant lies in; 0 when it lies in none.
func (k *carSessions) lapAt(ms int64) int {
	if k == nil {
		return 0
	}
	for _, x := range slices.Backward(k.list) {
		for i := range x.Laps {
			if l := &x.Laps[i]; l.StartMS != nil && *l.StartMS <= ms && (l.EndMS == nil || ms < *l.EndMS) {
				return l.N
			}
		}
	}
	return 0
}

// lapWithin returns the newest complete lap that lies between two instants; nil without
// any. A recording knows of later ones.
func (k *carSessions) lapWithin(fromMS, toMS int64) *Lap {
	if k == nil {
		return nil
	}
	for _, x := range slices.Backward(k.list) {
		for i := len(x.Laps) - 1; i >= 0; i-- {
			if l := &x.Laps[i]; l.Complete && l.StartMS != nil && l.EndMS != nil && *l.StartMS >= fromMS && *l.EndMS <= toMS {
				return l
			}
		}
	}
	return nil
}
