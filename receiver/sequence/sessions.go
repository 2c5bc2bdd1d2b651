package sequence

import (
	"encoding/json"
	"fmt"
	"strconv"

	"telemetry/receiver/topic"
	"telemetry/reorder"
)

// sessionRecord is the value of a record in telemetry.sessions. What an event did
// not say is absent.
type sessionRecord struct {
	Car      string `json:"car"`
	Session  string `json:"session"`
	Event    string `json:"event"`           // as in telemetry.events
	State    string `json:"state,omitempty"` // of a whole session: "running" or "stopped"
	Name     string `json:"name,omitempty"`
	Track    string `json:"track,omitempty"`
	Lap      int    `json:"lap,omitempty"`
	Sector   int    `json:"sector,omitempty"`
	TimeNS   int64  `json:"time_ns,omitempty"`  // of the lap or sector
	Complete *bool  `json:"complete,omitempty"` // of a lap: every sector was passed
	Mark     int    `json:"mark,omitempty"`
	Text     string `json:"text,omitempty"`
	Laps     int    `json:"laps,omitempty"`
	BestNS   int64  `json:"best_ns,omitempty"`
	TSNS     int64  `json:"ts_ns"` // of the event, since 1970
	BootNS   int64  `json:"boot_ns"`
	Epoch    uint32 `json:"epoch"`
	Nonce    string `json:"nonce"`
	Clock    string `json:"clock"` // "synced", or "unsynced": ts_ns is when the log took it
}

// sessionDetail is what a car's event about a session says.
type sessionDetail struct {
	ID       string `json:"id"`
	Name     string `json:"name"`
	Track    string `json:"track"`
	Text     string `json:"text"`
	N        int    `json:"n"`
	Lap      int    `json:"lap"`
	Sector   int    `json:"sector"`
	TimeNS   int64  `json:"time_ns"`
	Complete *bool  `json:"complete"`
	Laps     int    `json:"laps"`
	BestNS   int64  `json:"best_ns"`
}

// sessions writes what the batch's events say of sessions, each under a key of its
// own: the topic is compacted, so that what it holds is the latest word on every
// session, lap, sector and mark. Writing one again changes nothing.
func (p *Partition) sessions(b *Batch, kind reorder.Kind) {
	if p.cfg.Topics.Sessions == "" || kind != reorder.KindRelease && kind != reorder.KindLate {
		return
	}
	for i := range b.Events {
		e := &b.Events[i]
		var d sessionDetail
		if !sessionEvent(e.Name) || json.Unmarshal([]byte(e.Detail), &d) != nil || d.ID == "" {
			continue // an event of another source that has the same name
		}
		r := sessionRecord{
			Car: b.ID.Stream.Car, Session: d.ID, Event: e.Name, Name: d.Name, Track: d.Track, Lap: d.Lap, Sector: d.Sector,
			TimeNS: d.TimeNS, Complete: d.Complete, Mark: d.N, Text: d.Text, Laps: d.Laps, BestNS: d.BestNS,
			BootNS: e.BootNS, Epoch: b.ID.Stream.Epoch.Counter, Nonce: nonce(b.ID.Stream.Epoch), Clock: "unsynced",
		}
		st := b.Stamp(e.BootNS)
		if r.TSNS = st.UTCNS; st.Synced {
			r.Clock = "synced"
		}
		key := r.Car + "/" + r.Session
		switch e.Name {
		case "session_start", "session_continue":
			if e.Name == "session_start" {
				p.session(b, key+"/start", r)
			}
			if kind == reorder.KindLate {
				continue // what came after it may have ended the session
			}
			r.State = "running"
		case "session_stop":
			r.State = "stopped"
		case "session_mark":
			key += "/mark/" + strconv.Itoa(d.N)
		case "lap":
			key += "/lap/" + strconv.Itoa(d.Lap)
		case "sector":
			key += fmt.Sprintf("/lap/%d/sector/%d", d.Lap, d.Sector)
		}
		p.session(b, key, r)
	}
}

// sessionEvent reports the names of events about sessions.
func sessionEvent(name string) bool {
	switch name {
	case "session_start", "session_continue", "session_stop", "session_mark", "lap", "sector":
		return true
	}
	return false
}

func (p *Partition) session(b *Batch, key string, r sessionRecord) {
	ms, _ := b.RecordMS(r.TSNS)
	p.out.Add(topic.Record{
		Topic: p.cfg.Topics.Sessions, Partition: -1, Key: []byte(key), Value: encode(r), TimestampMS: ms,
		Headers: []topic.Header{
			{Key: topic.HeaderCar, Value: []byte(r.Car)},
			{Key: topic.HeaderEpoch, Value: strconv.AppendUint(nil, uint64(r.Epoch), 10)},
			{Key: topic.HeaderNonce, Value: []byte(r.Nonce)},
			{Key: topic.HeaderContentType, Value: []byte("application/json")},
		},
	})
}
