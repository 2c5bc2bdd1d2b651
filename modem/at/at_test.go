package at

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// modem is the far end of a port: what it gets is handed to script, which
// writes to w what it likes. It runs in the test's bubble.
func bubble(t *testing.T, script func(cmd string, w io.Writer), test func(t *testing.T, e *Engine, urcs *[]string, far net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		var urcs []string
		e := New(near, Config{URC: func(l Line) { urcs = append(urcs, l.Prefix+strings.Join(l.Fields, ",")) }})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		go func() { // ends when the pipe closes
			sc := bufio.NewScanner(far)
			sc.Split(func(b []byte, eof bool) (int, []byte, error) {
				if i := strings.IndexByte(string(b), '\r'); i >= 0 {
					return i + 1, b[:i], nil
				}
				return 0, nil, nil
			})
			for sc.Scan() {
				cmd := sc.Text()
				wg.Go(func() { script(cmd, far) })
			}
		}()
		test(t, e, &urcs, far)
		cancel()
		<-ended
		_ = far.Close()
		synctest.Wait()
		wg.Wait()
	})
}

func say(w io.Writer, lines ...string) {
	_, _ = io.WriteString(w, "\r\n"+strings.Join(lines, "\r\n")+"\r\n")
}

// healthy answers the pings and the commands of these tests.
func healthy(cmd string, w io.Writer) {
	switch cmd {
	case "AT+CSQ":
		say(w, "+CSQ: 20,99", "OK")
	case "AT+CREG?":
		say(w, `+CREG: 2,1,"00C3","0A1B2C3",7`, "OK")
	case "AT+CMEE?":
		say(w, "+CMEE: 1", "OK")
	case "AT+CFUN?":
		say(w, "+CFUN: 1", "OK")
	case "AT+COPS?":
		say(w, `+COPS: 0,0,"Op, with comma",7`, "OK")
	case "AT+CGMR":
		say(w, "EC25EFAR06A03M4G", "OK")
	case "AT+CPIN?":
		say(w, "+CME ERROR: 10")
	default:
		say(w, "OK")
	}
}

func TestCommandBringsItsReply(t *testing.T) {
	bubble(t, healthy, func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
		r, err := e.Command(t.Context(), Command{Text: "AT+COPS?", Prefix: "+COPS"})
		if err != nil || r.First().String(2) != "Op, with comma" || !r.First().Quoted(2) {
			t.Errorf("got %+v, %v", r, err)
		}
		r, err = e.Command(t.Context(), Command{Text: "AT+CGMR", Plain: true})
		if err != nil || r.First().String(0) != "EC25EFAR06A03M4G" {
			t.Errorf("got %+v, %v", r, err)
		}
		_, err = e.Command(t.Context(), Command{Text: "AT+CPIN?", Prefix: "+CPIN"})
		var re *ResultError
		if !errors.As(err, &re) || re.Code != CMESIMNotInserted {
			t.Errorf("got %v, want CME ERROR 10", err)
		}
	})
}

func TestEchoIsNoReply(t *testing.T) {
	echo := func(cmd string, w io.Writer) { _, _ = io.WriteString(w, cmd+"\r"); healthy(cmd, w) }
	bubble(t, echo, func(t *testing.T, e *Engine, urcs *[]string, _ net.Conn) {
		r, err := e.Command(t.Context(), Command{Text: "AT+CGMR", Plain: true})
		if err != nil || len(r.Lines) != 1 || r.First().String(0) != "EC25EFAR06A03M4G" || len(*urcs) != 0 {
			t.Errorf("got %+v, %v, codes %q", r, err, *urcs)
		}
	})
}

func TestRegistrationCodesAreToldFromReplies(t *testing.T) {
	inside := func(cmd string, w io.Writer) {
		say(w, "+CREG: 5", `+CREG: 2,5,"00C3","0A1B2C3",7`, `+CREG: 1,"00C3","0A1B2C4",7`, "+CGEV: NW DETACH", "OK")
	}
	bubble(t, inside, func(t *testing.T, e *Engine, urcs *[]string, _ net.Conn) {
		r, err := e.Command(t.Context(), Command{Text: "AT+CREG?", Prefix: "+CREG"})
		if err != nil || len(r.Lines) != 1 || r.First().String(1) != "5" {
			t.Errorf("reply: got %+v, %v", r, err)
		}
		want := []string{"+CREG5", "+CREG1,00C3,0A1B2C4,7", "+CGEVNW DETACH"}
		if !slices.Equal(*urcs, want) {
			t.Errorf("codes: got %q, want %q in this order", *urcs, want)
		}
	})
}

func TestEveryPieceOfAReplyMayComeAlone(t *testing.T) {
	bytewise := func(cmd string, w io.Writer) { healthy(cmd, pieces{w}) }
	bubble(t, bytewise, func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
		r, err := e.Command(t.Context(), Command{Text: "AT+CREG?", Prefix: "+CREG"})
		if v, ok := r.First().Hex(3); err != nil || !ok || v != 0x0A1B2C3 {
			t.Errorf("got %+v, %v", r, err)
		}
	})
}

type pieces struct{ w io.Writer }

func (p pieces) Write(b []byte) (int, error) {
	for i := range b {
		if _, err := p.w.Write(b[i : i+1]); err != nil {
			return i, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return len(b), nil
}

// A reply that is late by up to some pings must reach nobody: the next command
// gets its own.
func TestLateReplyIsNeverGivenToTheNextCommand(t *testing.T) {
	for name, late := range map[string]time.Duration{
		"just late":            Quick + time.Millisecond,
		"during the ping":      Quick + Quick/2,
		"after two pings":      3*Quick + Quick/2,
		"after it was wedged":  8 * Quick,
		"long after the wedge": 30 * time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			first := true
			var busy chan struct{}                  // made in the bubble
			slow := func(cmd string, w io.Writer) { // one at a time, as a modem works
				busy <- struct{}{}
				defer func() { <-busy }()
				if first {
					first = false
					time.Sleep(late)
				}
				healthy(cmd, w)
			}
			bubble(t, slow, func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
				busy = make(chan struct{}, 1)
				_, err := e.Command(t.Context(), Command{Text: "AT+CGATT=1"})
				if !errors.Is(err, ErrTimeout) {
					t.Fatalf("got %v, want a timeout", err)
				}
				for range 40 {
					r, err := e.Command(t.Context(), Command{Text: "AT+CREG?", Prefix: "+CREG"})
					if errors.Is(err, ErrWedged) {
						time.Sleep(time.Second)
						continue
					}
					if err != nil || r.First().Prefix != "+CREG" {
						t.Fatalf("next command: got %+v, %v", r, err)
					}
					for range 5 {
						if _, err := e.Command(t.Context(), Command{Text: "AT+CPIN?", Prefix: "+CPIN"}); err == nil {
							t.Fatal("a command that fails got somebody's OK")
						}
					}
					return
				}
				t.Error("the port never came back into step")
			})
		})
	}
}

func TestDeafPortIsWedgedAndComesBack(t *testing.T) {
	var deaf atomic.Bool
	deaf.Store(true)
	script := func(cmd string, w io.Writer) {
		if !deaf.Load() {
			healthy(cmd, w)
		}
	}
	bubble(t, script, func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
		if _, err := e.Command(t.Context(), Command{Text: "AT"}); !errors.Is(err, ErrTimeout) {
			t.Errorf("first: got %v, want ErrTimeout", err)
		}
		if _, err := e.Command(t.Context(), Command{Text: "AT"}); !errors.Is(err, ErrWedged) {
			t.Errorf("second: got %v, want ErrWedged", err)
		}
		deaf.Store(false)
		time.Sleep(retryWedged)
		if _, err := e.Command(t.Context(), Command{Text: "AT"}); err != nil {
			t.Errorf("after it heals: got %v", err)
		}
		if c := e.Counters(); c.Wedged != 1 || c.Timeouts == 0 {
			t.Errorf("counters: got %+v", c)
		}
	})
}

func TestVanishedPortEndsTheEngine(t *testing.T) {
	bubble(t, healthy, func(t *testing.T, e *Engine, _ *[]string, far net.Conn) {
		_ = far.Close()
		synctest.Wait()
		if _, err := e.Command(t.Context(), Command{Text: "AT"}); !errors.Is(err, ErrClosed) {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

func TestGarbageAndOverlongLinesAreCounted(t *testing.T) {
	noise := func(cmd string, w io.Writer) {
		_, _ = io.WriteString(w, "\x00\xff\x1b~~~\r\n"+strings.Repeat("x", 3*maxLine)+"\r\n")
		healthy(cmd, w)
	}
	bubble(t, noise, func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
		r, err := e.Command(t.Context(), Command{Text: "AT+CSQ", Prefix: "+CSQ"})
		if v, ok := r.First().Int(0); err != nil || !ok || v != 20 {
			t.Errorf("got %+v, %v", r, err)
		}
		if c := e.Counters(); c.Garbage < 2 || c.Cut != 1 {
			t.Errorf("got %+v, want two lines of garbage, one of them cut", c)
		}
	})
}

func TestTranscriptHidesSecrets(t *testing.T) {
	echo := func(cmd string, w io.Writer) { _, _ = io.WriteString(w, cmd+"\r"); healthy(cmd, w) }
	bubble(t, echo, func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
		if _, err := e.Command(t.Context(), Command{Text: "AT+CPIN=1234"}); err != nil {
			t.Fatal(err)
		}
		log := strings.Join(e.Transcript(), "\n")
		if strings.Contains(log, "1234") || !strings.Contains(log, "< OK") {
			t.Errorf("transcript: %s", log)
		}
	})
}

// FuzzPort feeds a port's bytes in pieces: the engine never stops, and serves a
// command as soon as the port is sane.
func FuzzPort(f *testing.F) {
	f.Add([]byte("\r\n+CREG: 2,1\r\nOK\r\n"), uint8(3))
	f.Add([]byte("+CME ERROR: SIM busy\r+CSQ:\rOK\rOK\rOK\r"), uint8(1))
	f.Add([]byte("\"\"\",(,),+,:\r\n+:,\r\n^\r\n"), uint8(7))
	f.Fuzz(func(t *testing.T, b []byte, n uint8) {
		if len(b) > 8<<10 {
			return
		}
		var sp splitter
		for step := max(int(n), 1); len(b) > 0; {
			k := min(step, len(b))
			for _, s := range sp.add(b[:k]) {
				if len(s) > maxLine || strings.ContainsAny(s, "\r\n\x00") {
					t.Fatalf("line %q", s)
				}
				l := ParseLine(s)
				for i := range len(l.Fields) + 1 {
					l.Int(i)
					l.Hex(i)
				}
				solicited(Command{Text: "AT+CREG?", Prefix: "+CREG"}, s, l)
			}
			b = b[k:]
		}
	})
}
