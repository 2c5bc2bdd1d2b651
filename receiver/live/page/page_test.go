package page

import (
	"compress/gzip"
	"context"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"regexp"
	"strings"
	"testing"
	"time"
)

// get answers one request for a file, with a header more.
func get(t *testing.T, method, name, header, value string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(method, name, http.NoBody)
	if header != "" {
		r.Header.Set(header, value)
	}
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	return w
}

func TestHandler(t *testing.T) {
	tag := get(t, "GET", "/", "", "").Header().Get("ETag")
	if tag == "" {
		t.Fatal("the page has no ETag")
	}
	cases := []struct {
		name, method, path, header, value string
		code                              int
		mime, encoding, body              string
	}{
		{"the page", "GET", "/", "", "", 200, "text/html; charset=utf-8", "", "<!doctype html>"},
		{"by its name", "GET", "/index.html", "", "", 200, "text/html; charset=utf-8", "", "<!doctype html>"},
		{"script", "GET", "/app.js", "", "", 200, "text/javascript; charset=utf-8", "", "EventSource"},
		{"style", "GET", "/style.css", "", "", 200, "text/css; charset=utf-8", "", ":root"},
		{"icon", "GET", "/icon.svg", "", "", 200, "image/svg+xml", "", "<svg"},
		{"vendored script", "GET", "/vendor/uPlot.iife.min.js", "", "", 200, "text/javascript; charset=utf-8", "", "v1.6.32"},
		{"its licence", "GET", "/vendor/uPlot.LICENSE", "", "", 200, "text/plain; charset=utf-8", "", "MIT"},
		{"packed", "GET", "/app.js", "Accept-Encoding", "br, gzip;q=0.5", 200, "text/javascript; charset=utf-8", "gzip", ""},
		{"packing refused", "GET", "/app.js", "Accept-Encoding", "gzip;q=0", 200, "text/javascript; charset=utf-8", "", "import"},
		{"the same as before", "GET", "/", "If-None-Match", tag, 304, "text/html; charset=utf-8", "", ""},
		{"head", "HEAD", "/", "", "", 200, "text/html; charset=utf-8", "", ""},
		{"written to", "POST", "/", "", "", 405, "text/plain; charset=utf-8", "", "only read"},
		{"no folder", "GET", "/vendor/", "", "", 404, "text/plain; charset=utf-8", "", ""},
		{"no test", "GET", "/test/scale.test.mjs", "", "", 404, "text/plain; charset=utf-8", "", ""},
		{"no Go file", "GET", "/page.go", "", "", 404, "text/plain; charset=utf-8", "", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := get(t, c.method, c.path, c.header, c.value)
			h := w.Header()
			body := w.Body.String()
			if c.path == "/app.js" && c.encoding == "" && c.body == "EventSource" {
				body += get(t, "GET", "/net.js", "", "").Body.String()
			}
			if w.Code != c.code || h.Get("Content-Type") != c.mime || h.Get("Content-Encoding") != c.encoding || !strings.Contains(body, c.body) {
				t.Errorf("got %d %v %.100s", w.Code, h, body)
			}
			if c.method == "HEAD" && w.Body.Len() > 0 {
				t.Error("HEAD has a body")
			}
			if c.encoding == "gzip" {
				z, err := gzip.NewReader(w.Body)
				if err != nil {
					t.Fatal(err)
				}
				if b, err := io.ReadAll(z); err != nil || !strings.Contains(string(b), "import") {
					t.Errorf("unpacked: %.100s, %v", b, err)
				}
			}
		})
	}
}

// TestWeight bounds what a first visit transfers: all files but the licence.
func TestWeight(t *testing.T) {
	all, err := load()
	if err != nil {
		t.Fatal(err)
	}
	plain, packed := 0, 0
	for name, f := range all {
		if name == "/" || path.Ext(name) == ".LICENSE" {
			continue
		}
		plain += len(f.body)
		packed += min(len(f.body), max(len(f.packed), 1))
		if f.packed == nil {
			packed += len(f.body) - 1
		}
	}
	t.Logf("%d files, %d bytes, %d packed", len(all)-2, plain, packed)
	if plain > MaxBytes {
		t.Errorf("the page is %d bytes even unpacked (want %d at most)", plain, MaxBytes)
	}
}

// sources are the files of the page that are ours.
func sources(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(name, "vendor/") {
			return err
		}
		b, err := files.ReadFile(name)
		out[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestPageLoadsNothingFromElsewhere(t *testing.T) {
	for name, text := range sources(t) {
		for _, bad := range []string{"http://", "https://", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "style=\"", "onclick=", "javascript:"} {
			if name == "icon.svg" && bad == "http://" {
				continue // the name of SVG's own language
			}
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q", name, bad)
			}
		}
	}
}

// TestPageNamesWhatItNeeds: a module that index.html does not announce is fetched
// late, and an id that is asked for and not there breaks the page at once.
func TestPageNamesWhatItNeeds(t *testing.T) {
	all := sources(t)
	index := all["index.html"]
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]+)"`).FindAllStringSubmatch(index, -1) {
		if ids[m[1]] {
			t.Errorf("index.html has id %q twice", m[1])
		}
		ids[m[1]] = true
	}
	for name, text := range all {
		if path.Ext(name) != ".js" {
			continue
		}
		if name != "app.js" && !strings.Contains(index, `<link rel="modulepreload" href="`+name+`">`) {
			t.Errorf("index.html does not announce %s", name)
		}
		if !strings.HasPrefix(text, "// "+strings.TrimSuffix(name, ".js")+" owns ") {
			t.Errorf("%s does not say what it owns", name)
		}
		if n := strings.Count(text, "\n"); n > 300 {
			t.Errorf("%s has %d lines", name, n)
		}
		for _, m := range regexp.MustCompile(`\$\("([^"]+)"\)`).FindAllStringSubmatch(text, -1) {
			if !ids[m[1]] {
				t.Errorf("%s wants #%s, which index.html does not have", name, m[1])
			}
		}
		for _, m := range regexp.MustCompile(`from "\./([^"]+)"`).FindAllStringSubmatch(text, -1) {
			if all[m[1]] == "" {
				t.Errorf("%s imports %s, which is not there", name, m[1])
			}
		}
	}
}

// TestModules runs the tests of the modules that need no browser.
func TestModules(t *testing.T) {
	node, err := exec.LookPath("node")
	if err != nil {
		t.Skip("node is not on this machine (Debian: nodejs)")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	names, err := fs.Glob(os.DirFS("test"), "*.test.mjs")
	if err != nil || len(names) == 0 {
		t.Fatalf("no tests in test/: %v", err)
	}
	args := []string{"--test"}
	for _, n := range names {
		args = append(args, path.Join("test", n))
	}
	if out, err := exec.CommandContext(ctx, node, args...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
