package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"telemetry/lab/link"
)

// View is what is shown of one moment.
type View struct {
	Elapsed, For time.Duration // For 0: until it is interrupted
	Phase        string        // what the demo does, as "driving"
	Car          string        // what is simulated, in words
	LiveURL      string
	Kafka        string
	Links        []LinkView
	Made         uint64 // samples of critical and full
	Delivered    uint64
	MadeRate     float64 // per second
	OutRate      float64
	Lag          time.Duration // age of the newest sample in Kafka
	Pending      int           // batches that are not yet in Kafka
	Gaps         int64
	Duplicates   uint64
	Wrong        uint64 // values that are not what the car measured
	FirstData    time.Duration
	Now          string // what is being done to the links
}

// LinkView is one link: what is done to it, and what the agent makes of it.
type LinkView struct {
	Name     string
	Relay    link.State
	Agent    string
	RTTMS    float64
	BitRate  int64
	InFlight int64
	Sent     uint64
	Resent   uint64
}

// maxStories bounds the latest events on the screen.
const maxStories = 5

// Screen shows views: redrawn in place on a terminal, a line now and then
// elsewhere. It is safe for concurrent use.
type Screen struct {
	out  io.Writer
	size func() (width, height int) // nil: no terminal, and no control codes
	bold bool                       // colours are welcome

	mu      sync.Mutex
	drawn   int      // guarded by mu: lines on the terminal that are ours
	stories []string // guarded by mu
	last    time.Time
}

// lineEvery is the pause between two lines off a terminal.
const lineEvery = 2 * time.Second

// NewScreen returns a screen; size is nil when out is no terminal.
func NewScreen(out io.Writer, size func() (width, height int), colours bool) *Screen {
	return &Screen{out: out, size: size, bold: colours && size != nil}
}

// Say tells one event.
func (s *Screen) Say(at time.Duration, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	line := fmt.Sprintf("%6.1fs  %s", at.Seconds(), text)
	if s.size == nil {
		fmt.Fprintln(s.out, line)
		return
	}
	s.stories = append(s.stories, line)
	s.stories = s.stories[max(0, len(s.stories)-maxStories):]
}

// Draw shows v; off a terminal only when the last line is old enough.
func (s *Screen) Draw(v *View, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size == nil {
		if now.Sub(s.last) >= lineEvery {
			s.last = now
			fmt.Fprintln(s.out, v.line())
		}
		return
	}
	width, height := s.size()
	lines := append(v.lines(), "")
	lines = append(lines, s.stories...)
	if len(lines) > height-1 {
		lines = lines[:max(1, height-1)]
	}
	var b strings.Builder
	if s.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", s.drawn)
	}
	b.WriteString("\r")
	for _, l := range lines {
		b.WriteString(s.paint(cut(l, width)) + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	s.drawn = len(lines)
	_, _ = io.WriteString(s.out, b.String()) // a terminal that is gone ends us by a signal
}

// paint makes what is wrong stand out.
func (s *Screen) paint(l string) string {
	if !s.bold {
		return l
	}
	for word, code := range map[string]string{"SILENT": "33", "CUT OFF": "31"} {
		l = strings.ReplaceAll(l, word, "\x1b["+code+";1m"+word+"\x1b[0m")
	}
	return l
}

// cut keeps a line from wrapping.
func cut(l string, width int) string {
	r := []rune(l)
	if width > 1 && len(r) > width-1 {
		return string(r[:width-1])
	}
	return l
}

// lines returns the whole summary.
func (v *View) lines() []string {
	clock := seconds(v.Elapsed)
	if v.For > 0 {
		clock += " of " + seconds(v.For)
	}
	l := []string{
		fmt.Sprintf("TELEMETRY DEMO  %s  %s   (Ctrl-C ends it with a tally)", clock, v.Phase),
	}
	if v.LiveURL != "" {
		l = append(l, "live page       "+v.LiveURL)
	}
	l = append(l, "kafka           "+v.Kafka, "simulated car   "+v.Car, "",
		fmt.Sprintf("%-8s %-8s %-8s %8s %11s %9s %9s %9s", "LINK", "IS", "AGENT", "RTT", "RATE", "IN FLIGHT", "SENT", "RESENT"))
	for _, k := range v.Links {
		l = append(l, fmt.Sprintf("%-8s %-8s %-8s %5.0f ms %6.2f Mb/s %9s %9s %9s",
			k.Name, relayWord(k.Relay), k.Agent, k.RTTMS, float64(k.BitRate)/1e6, size(uint64(max(0, k.InFlight))), size(k.Sent), size(k.Resent)))
	}
	l = append(l, "",
		fmt.Sprintf("made in the car  %13s samples  %9s/s", thousands(v.Made), thousands(uint64(v.MadeRate))),
		fmt.Sprintf("in Kafka         %13s samples  %9s/s   newest is %.2f s old", thousands(v.Delivered), thousands(uint64(v.OutRate)), v.Lag.Seconds()),
		fmt.Sprintf("on the way       %13s samples   in %d batches kept in the car", thousands(v.behind()), v.Pending),
		fmt.Sprintf("lost %d   double %d   wrong values %d   first sample in Kafka after %s", v.Gaps, v.Duplicates, v.Wrong, first(v.FirstData)),
		"", "now: "+v.now())
	return l
}

// line returns the summary in one line.
func (v *View) line() string {
	var links []string
	for _, k := range v.Links {
		links = append(links, fmt.Sprintf("%s %s %.0f ms", k.Name, relayWord(k.Relay), k.RTTMS))
	}
	return fmt.Sprintf("%6.1fs  made %s  in Kafka %s  on the way %s  lag %.2f s  lost %d  double %d  | %s",
		v.Elapsed.Seconds(), thousands(v.Made), thousands(v.Delivered), thousands(v.behind()), v.Lag.Seconds(), v.Gaps, v.Duplicates, strings.Join(links, ", "))
}

func (v *View) behind() uint64 {
	if v.Made < v.Delivered {
		return 0
	}
	return v.Made - v.Delivered
}

func (v *View) now() string {
	if v.Now == "" {
		return "all three links are up, with stalls now and then"
	}
	return v.Now
}

func relayWord(s link.State) string {
	switch s {
	case link.Silent:
		return "SILENT"
	case link.Down:
		return "CUT OFF"
	}
	return "up"
}

func first(d time.Duration) string {
	if d == 0 {
		return "…"
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%02d:%02d", int(d.Minutes()), int(d.Seconds())%60)
}

// size writes bytes with a unit.
func size(n uint64) string {
	switch {
	case n >= 10e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 10e3:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d B", n)
}

// thousands groups the digits of a number.
func thousands(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Table returns the tally by lane.
func Table(critical, full Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-10s %14s %14s %10s %12s\n", "LANE", "MADE", "DELIVERED", "MISSING", "DUPLICATES")
	for _, l := range []struct {
		name string
		r    Result
	}{{"critical", critical}, {"full", full}, {"together", critical.add(full)}} {
		fmt.Fprintf(&b, "%-10s %14s %14s %10s %12s\n", l.name, thousands(l.r.Made), thousands(l.r.Delivered), thousands(l.r.Missing), thousands(l.r.Duplicates))
	}
	return b.String()
}
