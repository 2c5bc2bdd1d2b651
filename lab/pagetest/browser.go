package pagetest

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// Limits of waiting for the browser.
const (
	pollEvery  = 20 * time.Millisecond
	callLimit  = 30 * time.Second // one command of the browser
	startLimit = 60 * time.Second
)

//go:embed inject.js
var injected string

// Browser is one Chromium without a window. Its pages share cookies, and are used
// by one goroutine each.
type Browser struct {
	ctx    context.Context // of the first page, which stays empty
	cancel []context.CancelFunc
}

// OpenBrowser starts Chromium with software rendering; its profile lies in dir.
func OpenBrowser(ctx context.Context, path, dir string) (*Browser, error) {
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(filepath.Join(dir, "profile")),
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("hide-scrollbars", true),
		chromedp.WindowSize(1440, 900), chromedp.WSURLReadTimeout(startLimit))
	alloc, end := chromedp.NewExecAllocator(ctx, opts...)
	tab, close := chromedp.NewContext(alloc)
	b := &Browser{ctx: tab, cancel: []context.CancelFunc{close, end}}
	if err := chromedp.Do(tab); err != nil {
		b.Close()
		return nil, fmt.Errorf("pagetest: start %s: %w", path, err)
	}
	_, err := chromedp.CallBrowser(tab, browser.SetDownloadBehavior, browser.SetDownloadBehaviorParams{
		Behavior: browser.SetDownloadBehaviorBehaviorAllow, DownloadPath: filepath.Join(dir, "downloads"),
	})
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("pagetest: downloads: %w", err)
	}
	return b, nil
}

// Close ends Chromium.
func (b *Browser) Close() {
	for _, c := range b.cancel {
		c()
	}
}

// Page is one tab. It notes what goes wrong in it by itself.
type Page struct {
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	requests map[network.RequestID]request // guarded by mu
	weight   map[string]float64            // guarded by mu: bytes by URL without its query, the first time
	faults   []string                      // guarded by mu
	pardon   []string                      // guarded by mu: parts of faults that are meant to happen
}

type request struct {
	url string
	sse bool
}

// Look is the size of a page, and its colours.
type Look struct {
	Name          string
	Width, Height int64
	Phone, Dark   bool
}

// The looks of the suite.
var (
	desktop = Look{Name: "desktop", Width: 1440, Height: 900}
	phone   = Look{Name: "phone", Width: 390, Height: 844, Phone: true}
)

func (l Look) dark() Look { l.Dark, l.Name = true, l.Name+"-dark"; return l }

// Open opens an empty tab; own gives it cookies of its own.
func (b *Browser) Open(look Look, own bool) (*Page, error) {
	var opts []chromedp.ContextOption
	if own {
		opts = append(opts, chromedp.WithNewBrowserContext())
	}
	ctx, cancel := chromedp.NewContext(b.ctx, opts...)
	p := &Page{ctx: ctx, cancel: cancel, requests: map[network.RequestID]request{}, weight: map[string]float64{}}
	messages := chromedp.Console(ctx)
	go func() { // ends with the tab
		for m, err := range messages {
			if err != nil {
				return
			}
			if m.IsException() || m.Type == "error" || m.Type == "warning" || m.Type == "assert" {
				p.fault(fmt.Sprintf("%s (%s:%d) %s", m.String(), m.URL, m.Line+1, m.Source))
			}
		}
	}()
	if err := chromedp.Listen(ctx, p.heard); err != nil {
		return nil, p.failed("listen", err)
	}
	if _, err := chromedp.Call(ctx, network.Enable, network.EnableParams{}); err != nil {
		return nil, p.failed("network", err)
	}
	if _, err := chromedp.Call(ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: injected}); err != nil {
		return nil, p.failed("script", err)
	}
	return p, p.Show(look)
}

func (p *Page) failed(what string, err error) error {
	p.cancel()
	return fmt.Errorf("pagetest: %s: %w", what, err)
}

// Close closes the tab.
func (p *Page) Close() { p.cancel() }

// heard notes what is loaded.
func (p *Page) heard(ev any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch ev := ev.(type) {
	case *network.EventRequestWillBeSent:
		url, _, _ := strings.Cut(ev.Request.URL, "?")
		p.requests[ev.RequestID] = request{url: url, sse: ev.Type == network.ResourceTypeEventSource}
	case *network.EventLoadingFinished:
		r, ok := p.requests[ev.RequestID]
		if _, seen := p.weight[r.url]; ok && !seen && !r.sse && !strings.Contains(r.url, "/api/") && strings.HasPrefix(r.url, "http") {
			p.weight[r.url] = ev.EncodedDataLength
		}
	}
}

func (p *Page) fault(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, part := range p.pardon {
		if strings.Contains(text, part) {
			return
		}
	}
	p.faults = append(p.faults, text)
}

// Pardon lets what contains one of the parts happen from now on; none: nothing.
func (p *Page) Pardon(parts ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pardon = parts
}

// Faults returns what the console complained of.
func (p *Page) Faults() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.faults...)
}

// Weight returns the bytes of everything that the page is made of, as they came
// over the wire.
func (p *Page) Weight() (bytes float64, files int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.weight {
		bytes += n
	}
	return bytes, len(p.weight)
}

// Show gives the page a size and colours.
func (p *Page) Show(l Look) error {
	scheme := "light"
	if l.Dark {
		scheme = "dark"
	}
	var opts []chromedp.EmulateViewportOption
	if l.Phone {
		opts = append(opts, chromedp.EmulateScale(2), chromedp.EmulateMobile, chromedp.EmulateTouch)
	}
	if err := chromedp.Do(p.ctx, chromedp.EmulateViewport(l.Width, l.Height, opts...)); err != nil {
		return fmt.Errorf("pagetest: size: %w", err)
	}
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		return fmt.Errorf("pagetest: colours: %w", err)
	}
	return nil
}

// Go loads an address.
func (p *Page) Go(url string) error {
	ctx, cancel := context.WithTimeout(p.ctx, callLimit)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Navigate(url)); err != nil {
		return fmt.Errorf("pagetest: load %s: %w", url, err)
	}
	return nil
}

// Eval evaluates an expression, whose promise it awaits, into out, which may be nil.
func (p *Page) Eval(expression string, out any) error {
	return p.eval(callLimit, expression, out)
}

func (p *Page) eval(limit time.Duration, expression string, out any) error {
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	defer cancel()
	b, err := chromedp.Run(ctx, chromedp.Evaluate[[]byte](expression, chromedp.EvalAwaitPromise))
	if err != nil {
		return fmt.Errorf("pagetest: evaluate %.80q: %w", expression, err)
	}
	if out == nil || len(b) == 0 {
		return nil
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fmt.Errorf("pagetest: %.80q gives %.200q: %w", expression, b, err)
	}
	return nil
}

// Wait waits until an expression is true and returns how long that took.
func (p *Page) Wait(limit time.Duration, expression string) (time.Duration, error) {
	begun := time.Now()
	t := time.NewTicker(pollEvery)
	defer t.Stop()
	var last error
	for {
		var ok bool
		if last = p.Eval("Boolean("+expression+")", &ok); last == nil && ok {
			return time.Since(begun), nil
		}
		if time.Since(begun) > limit {
			if last != nil {
				return limit, last
			}
			return limit, fmt.Errorf("pagetest: after %v it does not hold that %s", limit, expression)
		}
		select {
		case <-t.C:
		case <-p.ctx.Done():
			return time.Since(begun), context.Cause(p.ctx)
		}
	}
}

// Keys presses keys one after the other, as a keyboard does: what a press does may
// keep its character from being typed.
func (p *Page) Keys(keys string) error {
	for _, r := range keys {
		press := kb.Encode(r)
		if len(press) == 3 {
			press[0].Text, press[0].UnmodifiedText = press[1].Text, press[1].UnmodifiedText
			press = slices.Delete(press, 1, 2)
		}
		for _, k := range press {
			if _, err := chromedp.Call(p.ctx, input.DispatchKeyEvent, *k); err != nil {
				return fmt.Errorf("pagetest: keys %q: %w", keys, err)
			}
		}
	}
	return nil
}

// Picture takes a picture of what is in view, or of all of it.
func (p *Page) Picture(path string, whole bool) error {
	ctx, cancel := context.WithTimeout(p.ctx, callLimit)
	defer cancel()
	act := chromedp.CaptureScreenshot()
	if whole {
		act = chromedp.FullScreenshot(100)
	}
	b, err := chromedp.Run(ctx, act)
	if err != nil {
		return fmt.Errorf("pagetest: picture %s: %w", filepath.Base(path), err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("pagetest: picture: %w", err)
	}
	return nil
}

// quote writes a text as JavaScript does.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil { // a string always has a JSON form
		panic("pagetest: internal error: " + err.Error())
	}
	return string(b)
}
