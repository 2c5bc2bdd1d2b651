package receivercmd

import (
	"fmt"
	"io"
	"os"
	"time"

	"telemetry/internal/cli"
	"telemetry/receiver/archive"
	"telemetry/receiver/replay"
)

// replayReport is what `replay --json` prints.
type replayReport struct {
	From     string   `json:"from"` // "kafka" or "files"
	Files    []string `json:"files,omitempty"`
	Topics   []string `json:"topics"`
	Format   string   `json:"format"`
	Speed    string   `json:"speed"`
	Car      string   `json:"car,omitempty"`
	Complete bool     `json:"complete"`
	Error    string   `json:"error,omitempty"`
	Resume   string   `json:"resume,omitempty"` // where to go on; absent when complete
	// Times of the first and the last record on the recording's clock.
	FirstTime  string  `json:"first_time,omitempty"`
	LastTime   string  `json:"last_time,omitempty"`
	Records    uint64  `json:"records"`
	Bytes      int64   `json:"bytes"`
	Catalogues uint64  `json:"catalogues"`
	TookS      float64 `json:"took_s"`
	// How far behind their moments records were handed to Kafka; absent at full speed.
	LateP50MS *float64 `json:"late_p50_ms,omitempty"`
	LateP99MS *float64 `json:"late_p99_ms,omitempty"`
	LateMaxMS *float64 `json:"late_max_ms,omitempty"`
	// What was met in the recording.
	Batches    uint64   `json:"batches"`
	Duplicates uint64   `json:"duplicates"`
	Conflicts  uint64   `json:"conflicts"`
	Missing    uint64   `json:"missing"`
	Unreadable uint64   `json:"unreadable"`
	Reasons    []string `json:"reasons,omitempty"`
}

func (r *replayRun) report(st *replay.Stats, t *replay.Target, a archive.Report, complete bool) *replayReport {
	o, w := r.o, t.Written()
	rep := &replayReport{
		From: "kafka", Topics: t.Topics(), Format: o.format, Speed: o.speed, Car: r.query.Car, Complete: complete,
		Records: w.Records, Bytes: w.Bytes, Catalogues: w.Catalogues, TookS: st.Took.Seconds(),
		Batches: a.Batches, Duplicates: a.Duplicates, Conflicts: a.Conflicts, Missing: a.Missing, Unreadable: a.Unreadable, Reasons: a.Reasons,
	}
	if r.files != nil {
		rep.From, rep.Files = "files", r.files.Paths()
	}
	if st.Same > 0 {
		rep.FirstTime, rep.LastTime = recordedAt(st.FirstNS), recordedAt(st.LastNS)
	}
	if !complete {
		if rep.Resume = o.resume; st.Same > 0 {
			rep.Resume = resumePlace(st.LastNS, st.Same)
		}
	}
	if st.Late.Count() > 0 {
		ms := func(d time.Duration) *float64 { v := float64(d.Microseconds()) / 1000; return &v }
		rep.LateP50MS, rep.LateP99MS, rep.LateMaxMS = ms(st.Late.Quantile(0.5)), ms(st.Late.Quantile(0.99)), ms(st.Late.Max())
	}
	return rep
}

func recordedAt(ns int64) string { return time.Unix(0, ns).UTC().Format("2006-01-02T15:04:05.000Z") }

// print prints the report.
func (r *replayRun) print(rep *replayReport) error {
	if r.o.asJSON {
		return cli.WriteJSON(r.stdout, rep)
	}
	out := r.stdout
	if rep.Records == 0 {
		fmt.Fprintln(out, "nothing to play: no batch lies in that window")
	} else {
		fmt.Fprintf(out, "%d records, %.1f MB, in %.1f s into %v; recorded %s to %s\n", rep.Records, float64(rep.Bytes)/1e6, rep.TookS, rep.Topics, rep.FirstTime, rep.LastTime)
	}
	if rep.LateP99MS != nil {
		fmt.Fprintf(out, "handed over %.2f ms late in the middle, %.2f ms at p99, %.1f ms at most\n", *rep.LateP50MS, *rep.LateP99MS, *rep.LateMaxMS)
	}
	if rep.Duplicates+rep.Missing+rep.Unreadable > 0 {
		fmt.Fprintf(out, "of the recording: %d copies (%d in conflict), %d numbers missing, %d unreadable\n", rep.Duplicates, rep.Conflicts, rep.Missing, rep.Unreadable)
	}
	for _, why := range rep.Reasons {
		fmt.Fprintf(out, "  %s\n", why)
	}
	return nil
}

// progress shows on a terminal how far a replay is.
type progress struct {
	out      io.Writer // nil: nobody looks
	at       time.Time // of the last line
	done, of int64
	line     bool
}

// progressEvery is how often the line changes.
const progressEvery = 250 * time.Millisecond

func newProgress(stderr io.Writer) *progress {
	p := &progress{}
	if terminal(stderr) {
		p.out = stderr
	}
	return p
}

func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}

// onLineOfItsOwn puts a text in the place of a progress that may be shown.
func onLineOfItsOwn(out io.Writer, text string) string {
	if terminal(out) {
		return clearLine + text
	}
	return text
}

// clearLine goes to the begin of a terminal's line and empties it.
const clearLine = "\r\x1b[K"

// read notes how far the reading is.
func (p *progress) read(done, of int64) {
	p.done, p.of = done, of
	if p.due() {
		p.show("reading")
	}
}

// item notes an item on its way.
func (p *progress) item(it *replay.Item, t *replay.Target) {
	if p.due() {
		w := t.Written()
		p.show(fmt.Sprintf("%s  %d records, %.1f MB", recordedAt(it.AtNS), w.Records, float64(w.Bytes)/1e6))
	}
}

func (p *progress) due() bool { return p.out != nil && time.Since(p.at) >= progressEvery }

func (p *progress) show(s string) {
	p.at, p.line = time.Now(), true
	share := 0.0
	if p.of > 0 {
		share = 100 * float64(p.done) / float64(p.of)
	}
	fmt.Fprintf(p.out, clearLine+"%3.0f %%  %s", share, s)
}

// end takes the line away.
func (p *progress) end() {
	if p.line {
		fmt.Fprint(p.out, clearLine)
	}
}
