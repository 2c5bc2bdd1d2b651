package past

import (
	"errors"
	"fmt"
	"mime"
	"net/http"
	"time"

	"telemetry/receiver/archive"
	"telemetry/receiver/export"
	"telemetry/wire"
)

// Put gives what an archive reads to a writer of files.
func Put(w *export.Writer, r *archive.Rows) error {
	if e := r.Event; e != nil {
		return w.AddEvent(r.ID, e.BootNS, e.UTCNS, e.Synced, e.Name, e.Detail)
	}
	return w.Add(r.ID, r.Table)
}

// FileQuery returns what a file of these channels is read with. Events are in it when
// everything is.
func FileQuery(car string, from, to int64, sel *Selection) archive.Query {
	q := archive.Query{Car: car, FromNS: from, ToNS: to, Take: sel.Take()}
	return q
}

// WantsEvents reports whether a file of these channels has events.
func (s *Selection) WantsEvents() bool { return s.All() || s.Takes("", export.EventsName) }

// BaseName names the files of a car's time: "gt3-7-20260501T120000Z"; without a
// beginning (0 and less) "gt3-7".
func BaseName(car string, from int64) string {
	if from <= 0 {
		return export.FileName(car)
	}
	return export.FileName(car) + "-" + time.Unix(0, from).UTC().Format("20060102T150405Z")
}

// steady is a writer to an asker: each write has its time, and its errors say that the
// answer has begun.
type steady struct {
	w http.ResponseWriter
}

func (s steady) Write(b []byte) (int, error) {
	extend(s.w)
	n, err := s.w.Write(b)
	if err != nil {
		err = errors.Join(errBegun, err)
	}
	return n, err
}

func (s *server) export(w http.ResponseWriter, r *http.Request) error {
	q, car := r.URL.Query(), r.PathValue("car")
	format, err := export.ParseFormat(q.Get("format"))
	if err != nil {
		return bad("%v", err)
	}
	sel := selection(q)
	from, to, free, err := s.begin(r.Context(), car, q, MaxExport)
	if err != nil {
		return err
	}
	defer free()
	begun := false
	name := BaseName(car, from)
	out := export.NewStream(steady{w}, name, time.Unix(0, from).UTC(), func(name, contentType string) {
		begun = true
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	})
	fw, err := export.New(format, out, export.Options{Car: car, Name: name, Units: q.Get("units") == "1"})
	if err != nil {
		return err
	}
	_, err = s.opt.Archive.Read(r.Context(), FileQuery(car, from, to, &sel), func(rows *archive.Rows) error {
		if rows.Event != nil && !sel.WantsEvents() {
			return nil
		}
		return Put(fw, rows)
	}, nil)
	if err == nil {
		err = fw.Close()
	}
	if err != nil && begun {
		return fmt.Errorf("%w: %w", errBegun, err)
	}
	return err
}

// lanes of a what-if: those that windows order.
var lanes = []wire.Lane{wire.LaneCritical, wire.LaneFull}

func (s *server) whatIf(w http.ResponseWriter, r *http.Request) error {
	q, car := r.URL.Query(), r.PathValue("car")
	if s.opt.WhatIf == nil {
		return refuse(http.StatusNotFound, "this receiver computes no what-if")
	}
	windows, err := parseWindows(q.Get("windows"))
	if err != nil {
		return err
	}
	from, to, free, err := s.begin(r.Context(), car, q, MaxSpan)
	if err != nil {
		return err
	}
	defer free()
	p := newReply(w, r)
	rows, err := s.opt.WhatIf(r.Context(), archive.Query{Car: car, FromNS: from, ToNS: to, Lanes: lanes}, windows, p.progress)
	if rows == nil {
		rows = []WhatIfRow{}
	}
	return p.result(map[string]any{"rows": rows}, err)
}
