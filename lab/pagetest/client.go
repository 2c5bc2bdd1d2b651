package pagetest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// API asks the receiver as a program would, with a session of its own.
type API struct {
	base   string // with a slash at the end
	cookie string // of the session
}

// Login trades a token for a session; its error is that of a wrong one.
func (a *API) Login(ctx context.Context, token string) error {
	res, _, err := a.do(ctx, http.MethodPost, "login", map[string]string{"token": token})
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 || len(res.Cookies()) == 0 {
		return fmt.Errorf("pagetest: login: %s", res.Status)
	}
	c := res.Cookies()[0]
	a.cookie = c.Name + "=" + c.Value
	return nil
}

// Get reads a JSON answer into out.
func (a *API) Get(ctx context.Context, path string, out any) error {
	res, body, err := a.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("pagetest: GET %s: %s: %.200s", path, res.Status, body)
	}
	if err := json.Unmarshal(body, out); err != nil {
		return fmt.Errorf("pagetest: GET %s: %w", path, err)
	}
	return nil
}

func (a *API) do(ctx context.Context, method, path string, body any) (*http.Response, []byte, error) {
	var in io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, nil, fmt.Errorf("pagetest: %s: %w", path, err)
		}
		in = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+"api/v1/"+path, in)
	if err != nil {
		return nil, nil, fmt.Errorf("pagetest: %s: %w", path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Origin", strings.TrimSuffix(a.base, "/"))
	}
	if a.cookie != "" {
		req.Header.Set("Cookie", a.cookie)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, fmt.Errorf("pagetest: %s: %w", path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, nil, fmt.Errorf("pagetest: %s: %w", path, err)
	}
	return res, b, nil
}

// Viewer follows the events of a car without a browser. It is safe for concurrent
// use.
type Viewer struct {
	conn net.Conn
	done chan struct{}

	mu     sync.Mutex
	counts map[string]int // guarded by mu: by kind of event
	bytes  int            // guarded by mu
	pace   []byte         // guarded by mu: the latest word about the viewer's pace
	level  int            // guarded by mu: the strongest cut it was told of
	err    error          // guarded by mu
}

// View begins to follow; a viewer that takes perSecond bytes at most is a slow one, 0
// is as fast as can be.
func (a *API) View(ctx context.Context, query url.Values, perSecond int) (*Viewer, error) {
	u, err := url.Parse(a.base)
	if err != nil {
		return nil, fmt.Errorf("pagetest: viewer: %w", err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, fmt.Errorf("pagetest: viewer: %w", err)
	}
	if tcp, ok := conn.(*net.TCPConn); ok && perSecond > 0 {
		if err := tcp.SetReadBuffer(4096); err != nil {
			return nil, errors.Join(fmt.Errorf("pagetest: viewer: %w", err), conn.Close())
		}
	}
	_, err = fmt.Fprintf(conn, "GET /api/v1/events?%s HTTP/1.1\r\nHost: %s\r\nAccept: text/event-stream\r\nCookie: %s\r\n\r\n", query.Encode(), u.Host, a.cookie)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("pagetest: viewer: %w", err), conn.Close())
	}
	v := &Viewer{conn: conn, counts: map[string]int{}, done: make(chan struct{})}
	go v.run(perSecond) // ends with the connection
	return v, nil
}

// slowly is a connection that is read by a few bytes at a time.
type slowly struct {
	conn      net.Conn
	perSecond int
}

// slowStep is the pause between two reads of a slow viewer.
const slowStep = 50 * time.Millisecond

func (s slowly) Read(b []byte) (int, error) {
	if s.perSecond > 0 {
		time.Sleep(slowStep) // being slow is what it is for
		b = b[:min(len(b), max(1, s.perSecond/int(time.Second/slowStep)))]
	}
	return s.conn.Read(b)
}

func (v *Viewer) run(perSecond int) {
	defer close(v.done)
	err := v.read(slowly{v.conn, perSecond})
	v.mu.Lock()
	v.err = err
	v.mu.Unlock()
}

func (v *Viewer) read(r io.Reader) error {
	res, err := http.ReadResponse(bufio.NewReaderSize(r, 512), nil)
	if err != nil {
		return fmt.Errorf("pagetest: viewer: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("pagetest: viewer: %s", res.Status)
	}
	lines := bufio.NewReaderSize(res.Body, 512)
	kind := ""
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return fmt.Errorf("pagetest: viewer: %w", err)
		}
		v.mu.Lock()
		v.bytes += len(line)
		if k, ok := bytes.CutPrefix(line, []byte("event: ")); ok {
			kind = strings.TrimSpace(string(k))
			v.counts[kind]++
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok && kind == "pace" {
			v.pace = bytes.TrimSpace(data)
			var p struct{ Level int }
			if err := json.Unmarshal(v.pace, &p); err == nil {
				v.level = max(v.level, p.Level)
			}
		}
		v.mu.Unlock()
	}
}

// Count returns how many events of a kind have come.
func (v *Viewer) Count(kind string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.counts[kind]
}

// Pace returns the strongest cut that the viewer was told of, and the latest words.
func (v *Viewer) Pace() (level int, words string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.level, string(v.pace)
}

// Err returns why it has ended, nil while it has not.
func (v *Viewer) Err() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.err
}

// Close ends it.
func (v *Viewer) Close() error {
	err := v.conn.Close()
	<-v.done
	return err
}
