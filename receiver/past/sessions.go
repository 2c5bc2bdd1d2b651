package past

import (
	"net/http"

	"telemetry/receiver/archive"
)

// Session is a session as it stands in JSON; times are UTC, ms, null where unknown.
type Session struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Track   string   `json:"track"`
	State   string   `json:"state"`
	StartMS *float64 `json:"start_ms"`
	EndMS   *float64 `json:"end_ms"` // null: it runs
	UntilMS *float64 `json:"until_ms"`
	BestMS  float64  `json:"best_ms"` // 0: none
	Laps    []Lap    `json:"laps"`
	Marks   []Mark   `json:"marks"`
}

// Lap is one lap.
type Lap struct {
	N        int      `json:"n"`
	StartMS  *float64 `json:"start_ms"`
	EndMS    *float64 `json:"end_ms"`
	TimeMS   *float64 `json:"time_ms"`
	Complete bool     `json:"complete"`
	Sectors  []Sector `json:"sectors"`
}

// Sector is a sector that was passed.
type Sector struct {
	N      int      `json:"n"`
	TimeMS float64  `json:"time_ms"`
	AtMS   *float64 `json:"at_ms"`
}

// Mark is a word of the crew.
type Mark struct {
	AtMS *float64 `json:"at_ms"`
	Text string   `json:"text"`
}

// ms converts ns; 0 is unknown.
func ms(ns int64) *float64 {
	if ns == 0 {
		return nil
	}
	v := float64(ns) / 1e6
	return &v
}

// sessionsOf converts an archive's sessions.
func sessionsOf(list []archive.Session) []Session {
	out := make([]Session, 0, len(list))
	for i := range list {
		s := &list[i]
		o := Session{
			ID: s.ID, Name: s.Name, Track: s.Track, State: s.State, StartMS: ms(s.StartNS), EndMS: ms(s.EndNS), UntilMS: ms(s.UntilNS),
			BestMS: float64(s.BestNS) / 1e6, Laps: []Lap{}, Marks: []Mark{},
		}
		for _, l := range s.Laps {
			lap := Lap{N: l.N, StartMS: ms(l.StartNS), EndMS: ms(l.EndNS), TimeMS: ms(l.TimeNS), Complete: l.Complete, Sectors: []Sector{}}
			for _, c := range l.Sectors {
				lap.Sectors = append(lap.Sectors, Sector{c.N, float64(c.TimeNS) / 1e6, ms(c.AtNS)})
			}
			o.Laps = append(o.Laps, lap)
		}
		for _, m := range s.Marks {
			o.Marks = append(o.Marks, Mark{ms(m.AtNS), m.Text})
		}
		out = append(out, o)
	}
	return out
}

func (s *server) sessions(w http.ResponseWriter, r *http.Request) error {
	free, err := s.slot(r.Context())
	if err != nil {
		return err
	}
	defer free()
	list, err := s.opt.Archive.Sessions(r.Context(), r.PathValue("car"))
	if err != nil {
		return err
	}
	return writeJSON(w, map[string]any{"sessions": sessionsOf(list)})
}
