package agent

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
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
	BestNS int64     `json:"best_ns"` // 0: none yet
	LastNS int64     `json:"last_ns"`
	Timer  lap.State `json:"timer"`
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

// sessions follows the car's session. It is safe for concurrent use.
type sessions struct {
	cfg    config.Session
	path   string
	bootID string
	epoch  uint32
	boot   func() int64
	put    func(wire.Event) error
	log    *slog.Logger

	mu      sync.Mutex
	current *Session   // guarded by mu, as all below; nil: none is under way
	gates   *lap.Gates // nil: no lines
	timer   lap.Timer
	lapRaw  int64 // latest value of the lap channel
	lapSeen bool
	cross   []lap.Crossing
	marks   []lap.Mark
}

var (
	errNoSession = errors.New("no session is under way (edgeagent session start begins one)")
	errSessionOn = errors.New("a session is under way (edgeagent session stop ends it)")
	errText      = errors.New("is no text for it")
)

// newSessions reads what was under way when the agent ended.
func newSessions(cfg config.Session, dir string, boot [16]byte, epoch uint32, now func() int64, put func(wire.Event) error, log *slog.Logger) (*sessions, error) {
	s := &sessions{cfg: cfg, path: filepath.Join(dir, sessionFile), bootID: hex.EncodeToString(boot[:]), epoch: epoch, boot: now, put: put, log: log}
	s.timer = lap.Timer{Sectors: len(cfg.Sectors), ShortestNS: int64(cfg.ShortestLap)}
	var err error
	if s.gates, err = gatesOf(cfg); err != nil {
		return nil, err
	}
	return s, s.load()
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

// load continues the session that is on disk.
func (s *sessions) load() error {
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("agent: read session: %w", err)
	}
	var on Session
	if len(b) > maxSessionFile || json.Unmarshal(b, &on) != nil || on.ID == "" {
		// A session that cannot be read must not keep the car from running.
		s.log.Error("session file is damaged, the session is over", "file", s.path)
		return s.save()
	}
	s.timer.State = on.Timer
	if on.BootID != s.bootID {
		on.BootID, on.BootNS = s.bootID, 0
		s.timer.Unknown()
		on.Timer = s.timer.State
	}
	s.current = &on
	return s.save()
}

// save writes the session under way, or removes the file. The caller holds mu or
// owns s alone.
func (s *sessions) save() error {
	if s.current == nil {
		if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("agent: forget session: %w", err)
		}
		return nil
	}
	s.current.Timer = s.timer.State
	b, err := json.Marshal(s.current)
	if err != nil {
		return fmt.Errorf("agent: keep session: %w", err)
	}
	if err := writeDurably(s.path, b); err != nil {
		return fmt.Errorf("agent: keep session: %w", err)
	}
	return nil
}

// writeDurably replaces a file: after a power cut it is the old one or the new.
func writeDurably(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
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
	defer s.mu.Unlock()
	if s.current == nil {
		return nil
	}
	s.log.Info("session continues", "session", s.current.ID, "lap", s.timer.State.Lap)
	return s.event(s.boot(), eventSessionContinue, s.describe())
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

// start begins a session.
func (s *sessions) start(name string) (*Session, error) {
	if !plainText(name, maxSessionName) {
		return nil, fmt.Errorf("%q %w (want up to %d bytes without quotes and control characters)", name, errText, maxSessionName)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil {
		return nil, fmt.Errorf("%s: %w", s.current.ID, errSessionOn)
	}
	return s.begin(name, s.boot())
}

// begin begins a session at a moment. The caller holds mu.
func (s *sessions) begin(name string, at int64) (*Session, error) {
	var r [2]byte
	if _, err := rand.Read(r[:]); err != nil {
		return nil, fmt.Errorf("agent: session: %w", err)
	}
	s.timer.State = lap.State{}
	s.current = &Session{ID: fmt.Sprintf("%d-%x", s.epoch, r), Name: name, Track: s.cfg.Track, BootID: s.bootID, BootNS: at}
	if err := s.save(); err != nil {
		s.current = nil
		return nil, err
	}
	c := *s.current
	s.log.Info("session begins", "session", c.ID, "name", name)
	return &c, s.event(at, eventSessionStart, s.describe())
}

// stop ends the session.
func (s *sessions) stop() (*Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil, errNoSession
	}
	d := s.describe()
	d["laps"] = s.current.Laps
	if s.current.BestNS > 0 {
		d["best_ns"] = s.current.BestNS
	}
	// The event first: a session that ended twice is better than one that never
	// did.
	if err := s.event(s.boot(), eventSessionStop, d); err != nil {
		return nil, err
	}
	c := *s.current
	s.current = nil
	s.timer.State = lap.State{}
	s.log.Info("session ends", "session", c.ID, "laps", c.Laps)
	return &c, s.save()
}

// mark notes a moment of the session.
func (s *sessions) mark(text string) (*Session, error) {
	if !plainText(text, maxMarkText) {
		return nil, fmt.Errorf("%q %w (want up to %d bytes without quotes and control characters)", text, errText, maxMarkText)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil, errNoSession
	}
	s.current.Marks++
	c := *s.current
	if err := s.save(); err != nil {
		return nil, err
	}
	return &c, s.event(s.boot(), eventSessionMark, map[string]any{"id": c.ID, "n": c.Marks, "text": text})
}

// now returns the session under way, or nil.
func (s *sessions) now() *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return nil
	}
	c := *s.current
	c.Timer = s.timer.State
	return &c
}

// plainText reports a text that needs no escapes.
func plainText(t string, most int) bool {
	return len(t) <= most && utf8.ValidString(t) && !strings.ContainsFunc(t, func(r rune) bool {
		return r < ' ' || r == 0x7f || r == '"' || r == '\\' || r == '<' || r == '>' || r == '&'
	})
}
