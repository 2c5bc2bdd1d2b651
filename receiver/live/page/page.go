// Package page is the pit wall: the files that a browser loads from the receiver.
// [Handler] serves them.
//
// They are plain ES modules, embedded as they stand in this folder: there is no
// build step, and the page asks nobody but its own server. vendor/ holds uPlot
// 1.6.32 (MIT, its licence is beside it). Each module says at its head what it
// owns; app.js joins them. Modules without the DOM are tested by test/*.mjs under
// Node. The package knows nothing of data: what the page shows comes from the API
// that package live describes.
package page

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"strings"
	"sync"
)

//go:embed index.html style.css icon.svg *.js vendor
var files embed.FS

// MaxBytes bounds what a first visit transfers.
const MaxBytes = 300_000

// file is one file of the page, ready to be sent.
type file struct {
	body, packed []byte // packed: by gzip; nil when that gains nothing
	mime, etag   string
}

// load reads and packs all files once; names begin with a slash.
var load = sync.OnceValues(func() (map[string]file, error) {
	all := map[string]file{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		f := file{body: b, mime: typeOf(name), etag: fmt.Sprintf(`"%x"`, sum[:12])}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return err
		}
		if _, err = z.Write(b); err != nil {
			return err
		}
		if err = z.Close(); err != nil {
			return err
		}
		if packed.Len() < len(b) {
			f.packed = packed.Bytes()
		}
		all["/"+name] = f
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("page: embedded files: %w", err)
	}
	all["/"] = all["/index.html"]
	return all, nil
})

// typeOf returns the media type of a file; those of scripts and styles do not
// depend on what the machine thinks of them.
func typeOf(name string) string {
	switch path.Ext(name) {
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".html":
		return "text/html; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case "", ".LICENSE":
		return "text/plain; charset=utf-8"
	}
	return mime.TypeByExtension(path.Ext(name))
}

// Handler serves the files of the page: packed for who takes it, and again only
// when they have changed. Security headers are its caller's.
func Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		all, err := load()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		f, ok := all[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "the page is only read", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.mime)
		h.Set("Cache-Control", "no-cache")
		h.Set("Vary", "Accept-Encoding")
		h.Set("ETag", f.etag)
		if r.Header.Get("If-None-Match") == f.etag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		b := f.body
		if f.packed != nil && takesGzip(r.Header.Get("Accept-Encoding")) {
			h.Set("Content-Encoding", "gzip")
			b = f.packed
		}
		h.Set("Content-Length", fmt.Sprint(len(b)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(b) // a browser that has gone needs no answer
		}
	})
}

// takesGzip reports whether an Accept-Encoding names gzip and does not refuse it.
func takesGzip(accept string) bool {
	for part := range strings.SplitSeq(accept, ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(name), "gzip") {
			return strings.ReplaceAll(q, " ", "") != "q=0"
		}
	}
	return false
}
