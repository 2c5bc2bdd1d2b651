package agent

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"telemetry/internal/config"
	"telemetry/sensors/lap"
	"telemetry/wire"
)

// Session is a run of the car that somebody has named: practice, a stint, a test.
// It is kept on disk while it lasts, so that it goes on after a restart.
type Session struct {
	ID     string    `json:"id"`
	Name   string    `json:"name"`
	Track  string    `json:"track,omitempty"`
	BootID string    `json:"boot_id"` // of the machine's start that the times below count in
	BootNS int64     `json:"boot_ns"` // begin; 0: in another start of the machine
	Marks  int       `json:"marks"`
	Laps   int       `json:"laps"`    // with a time
	BestNS int64     `json:"best_ns"` // of complete laps; 0: none yet
	LastNS int64     `json:"last_ns"`
	Timer  lap.State `json:"timer"`
	SeenNS int64     `json:"seen_ns"`           // latest position or value of the lap channel; 0: none
	LapRaw *int64    `json:"lap_raw,omitempty"` // latest value of the lap channel; absent: none yet
	Unkept string    `json:"unkept,omitempty"`  // why the disk does not have it; a restart would lose what is new
}

// Events of sessions, all on the critical lane. Their details are JSON objects
// with the session's id.
const (
	eventSessionStart    = "session_start"
	eventSessionContinue = "session_continue"
	eventSessionStop     = "session_stop"
	eventSessionMark     = "session_mark"
	eventLap             = "lap"
	eventSector          = "sector"
)

// Limits of what people write: events have 128 bytes.
const (
	maxSessionName = 24
	maxMarkText    = 64
	sessionFile    = "session.json"
	maxSessionFile = 64 << 10
)

// sessions follows the car's session. It is safe for concurrent use. Sources never
// wait for its file: Run writes that. Events are sent while nothing is locked, as
// the queue that takes them may be full.
type sessions struct {
	cfg    config.Session
	path   string
	bootID string
	epoch  uint32
	boot   func() int64
	put    func(wire.Event) error
	log    *slog.Logger
	wanted sought
	write  func(path string, b []byte) error // replaces a file durably
	remove func(path string) error           // takes it away durably

	order sync.Mutex    // held by commands: one after the other
	file  sync.Mutex    // held while the file is written
	dark  bool          // guarded by file: power is going, see last
	dirty chan struct{} // of one: there is something to write

	mu      sync.Mutex
	current *Session   // guarded by mu, as all below; nil: none is under way
	changes uint64     // of what the file should have
	kept    uint64     // changes that it has
	unkept  error      // of the latest write; nil: it succeeded
	gates   *lap.Gates // nil: no lines
	timer   lap.Timer
	seen    int64  // boot time of the latest position or lap value; 0: none
	resumed bool   // seen is from before this process
	lapRaw  *int64 // latest value of the lap channel; nil: none yet
	cross   []lap.Crossing
	marks   []lap.Mark
}

// told is an event that is to be sent.
type told struct {
	at     int64 // boot time
	name   string
	detail map[string]any
}

var (
	errNoSession = errors.New("no session is under way (edgeagent session start begins one)")
	errSessionOn = errors.New("a session is under way (edgeagent session stop ends it)")
	errText      = errors.New("is no text for it")
)

// newSessions reads what was under way when the agent ended.
func newSessions(cfg config.Session, dir string, boot [16]byte, epoch uint32, now func() int64, put func(wire.Event) error, log *slog.Logger) (*sessions, error) {
	s := &sessions{
		cfg: cfg, path: filepath.Join(dir, sessionFile), bootID: hex.EncodeToString(boot[:]), epoch: epoch, boot: now, put: put, log: log,
		write: writeDurably, remove: remover(syncDir), dirty: make(chan struct{}, 1),
	}
	s.timer = lap.Timer{Sectors: len(cfg.Sectors), ShortestNS: int64(cfg.ShortestLap)}
	var err error
	if s.gates, err = gatesOf(cfg); err != nil {
		return nil, err
	}
	s.load()
	return s, nil
}

// gatesOf plans the lines of a track; nil without any.
func gatesOf(cfg config.Session) (*lap.Gates, error) {
	if cfg.Start == nil {
		return nil, nil
	}
	var lines []lap.Line
	for _, g := range append([]config.Gate{*cfg.Start}, cfg.Sectors...) {
		d := map[string]lap.Direction{"left": lap.Left, "right": lap.Right}[g.Direction]
		lines = append(lines, lap.Line{ALat: g.A.Lat, ALon: g.A.Lon, BLat: g.B.Lat, BLon: g.B.Lon, Direction: d})
	}
	return lap.NewGates(lines)
}

// event sends one, cut to what fits.
func (s *sessions) event(at int64, name string, detail map[string]any) error {
	for {
		b, err := json.Marshal(detail)
		if err != nil {
			return fmt.Errorf("agent: session event: %w", err)
		}
		if len(b) <= wire.MaxEventDetail {
			return s.put(wire.Event{BootNS: at, Name: name, Detail: string(b)})
		}
		// What is there for reading alone goes first.
		i := slices.IndexFunc(forReading, func(k string) bool { _, there := detail[k]; return there })
		if i < 0 {
			return fmt.Errorf("agent: session event of %d bytes", len(b))
		}
		delete(detail, forReading[i])
	}
}

// forReading are the parts of an event that nothing is counted by.
var forReading = []string{"track", "name", "text", "best_ns"}

// continued tells that the session under way goes on. It is called once, before
// the sources run.
func (s *sessions) continued() error {
	s.mu.Lock()
	on := s.current
	var d map[string]any
	if on != nil {
		d = s.describe()
		s.log.Info("session continues", "session", on.ID, "lap", s.timer.State.Lap)
	}
	s.mu.Unlock()
	if on == nil {
		return nil
	}
	return s.event(s.boot(), eventSessionContinue, d)
}

// describe returns what every event about a whole session says. The caller holds
// mu.
func (s *sessions) describe() map[string]any {
	d := map[string]any{"id": s.current.ID, "name": s.current.Name}
	if s.current.Track != "" {
		d["track"] = s.current.Track
	}
	return d
}

// start begins a session. What the disk refuses does not keep it from being one.
func (s *sessions) start(name string) (*Session, error) {
	if !plainText(name, maxSessionName) {
		return nil, fmt.Errorf("%q %w (want up to %d bytes without quotes and control characters)", name, errText, maxSessionName)
	}
	s.order.Lock()
	defer s.order.Unlock()
	s.mu.Lock()
	if s.current != nil {
		defer s.mu.Unlock()
		return nil, fmt.Errorf("%s: %w", s.current.ID, errSessionOn)
	}
	e := s.begin(name, s.boot())
	s.mu.Unlock()
	_ = s.keep() // it is in the log and in the answer
	return s.now(), s.event(e.at, e.name, e.detail)
}

// begin begins a session at a moment. The caller holds mu, and sends the event.
func (s *sessions) begin(name string, at int64) told {
	var r [2]byte
	_, _ = rand.Read(r[:]) // never fails
	s.timer.State = lap.State{}
	s.current = &Session{ID: fmt.Sprintf("%d-%x", s.epoch, r), Name: name, Track: s.cfg.Track, BootID: s.bootID, BootNS: at}
	s.changed()
	s.log.Info("session begins", "session", s.current.ID, "name", name)
	return told{at, eventSessionStart, s.describe()}
}

// stop ends the session.
func (s *sessions) stop() (*Session, error) {
	s.order.Lock()
	defer s.order.Unlock()
	s.mu.Lock()
	if s.current == nil {
		s.mu.Unlock()
		return nil, errNoSession
	}
	d := s.describe()
	d["laps"] = s.current.Laps
	if s.current.BestNS > 0 {
		d["best_ns"] = s.current.BestNS
	}
	s.mu.Unlock()
	// The event first: a session that ended twice is better than one that never
	// did.
	if err := s.event(s.boot(), eventSessionStop, d); err != nil {
		return nil, err
	}
	s.mu.Lock()
	c := *s.current
	s.current = nil
	s.timer.State = lap.State{}
	s.changed()
	s.mu.Unlock()
	s.log.Info("session ends", "session", c.ID, "laps", c.Laps)
	if err := s.keep(); err != nil {
		c.Unkept = err.Error()
	}
	return &c, nil
}

// mark notes a moment of the session.
func (s *sessions) mark(text string) (*Session, error) {
	if !plainText(text, maxMarkText) {
		return nil, fmt.Errorf("%q %w (want up to %d bytes without quotes and control characters)", text, errText, maxMarkText)
	}
	s.order.Lock()
	defer s.order.Unlock()
	s.mu.Lock()
	if s.current == nil {
		s.mu.Unlock()
		return nil, errNoSession
	}
	s.current.Marks++
	d := map[string]any{"id": s.current.ID, "n": s.current.Marks, "text": text}
	s.changed()
	s.mu.Unlock()
	_ = s.keep() // it is in the log and in the answer
	return s.now(), s.event(s.boot(), eventSessionMark, d)
}

// now returns the session under way, or nil.
func (s *sessions) now() *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil
	}
	c := s.state()
	if s.unkept != nil {
		c.Unkept = s.unkept.Error()
	}
	return &c
}

// plainText reports a text that needs no escapes.
func plainText(t string, most int) bool {
	return len(t) <= most && utf8.ValidString(t) && !strings.ContainsFunc(t, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == '"' || r == '\\' || r == '<' || r == '>' || r == '&'
	})
}
