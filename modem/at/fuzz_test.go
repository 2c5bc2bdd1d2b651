package at

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// FuzzEngine lets a port say anything at any time beside and inside its replies:
// the engine never stops, each command ends, none gets the lines of another, and
// a port that has come to its senses serves again.
func FuzzEngine(f *testing.F) {
	f.Add([]byte("\r\nOK\r\nOK\r\n+CSQ: 1,1\r\nOK\r\n"), uint8(3), uint8(0))
	f.Add([]byte("+CREG: 1\r+CME ERROR: 10\r\rERROR\r+CMEE: 1\rOK\r"), uint8(1), uint8(200))
	f.Add([]byte("\"\"\",(,),+,:\r\n+:,\r\n^\r\nRDY\r\n\x00\xff\r\n"), uint8(7), uint8(40))
	f.Fuzz(func(t *testing.T, noise []byte, step, late uint8) {
		if len(noise) > 4<<10 {
			return
		}
		synctest.Test(t, func(t *testing.T) { fuzzEngine(t, noise, int(step)+1, time.Duration(late)*50*time.Millisecond) })
	})
}

// sane is what the module says of itself in every reply of its own.
const sane = "+CREG: 2,1"

func fuzzEngine(t *testing.T, noise []byte, step int, late time.Duration) {
	near, far := net.Pipe()
	e := New(near, Config{URC: func(Line) {}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- e.Run(ctx) }()
	quiet := make(chan struct{})
	done := make(chan struct{})
	go func() { // the module: ends when the pipe closes
		defer close(done)
		fuzzedModule(far, noise, step, late, quiet)
	}()
	for range 6 {
		r, err := e.Command(t.Context(), Command{Text: "AT+CREG?", Prefix: "+CREG"})
		for _, l := range r.Lines {
			if l.Prefix != "+CREG" {
				t.Errorf("a command got the line %q (%v)", l.Raw, err)
			}
		}
		if errors.Is(err, ErrClosed) {
			t.Fatalf("the engine stopped: %v", err)
		}
		time.Sleep(time.Second)
	}
	close(quiet)
	var r Reply
	err := errors.New("not asked")
	for range 60 { // pings and pauses until it is in step
		if r, err = e.Command(t.Context(), Command{Text: "AT+CREG?", Prefix: "+CREG"}); err == nil && r.First().Raw == sane {
			break
		}
		time.Sleep(time.Second)
	}
	if err != nil || r.First().Raw != sane {
		t.Errorf("after the noise: got %+v, %v", r, err)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("end: %v", err)
	}
	_ = far.Close()
	<-done
}

// fuzzedModule answers each command, late and among noise, until quiet closes;
// from then on as it should.
func fuzzedModule(far net.Conn, noise []byte, step int, late time.Duration, quiet <-chan struct{}) {
	var cmd strings.Builder
	buf := make([]byte, 64)
	say := func(s string) { _, _ = io.WriteString(far, s) }
	for {
		n, err := far.Read(buf)
		if err != nil {
			return
		}
		for _, c := range buf[:n] {
			if c != '\r' {
				cmd.WriteByte(c)
				continue
			}
			text := cmd.String()
			cmd.Reset()
			select {
			case <-quiet:
			default:
				k := min(step, len(noise))
				say(string(noise[:k]))
				noise = noise[k:]
				time.Sleep(late)
			}
			answer := map[string]string{"AT+CREG?": sane, "AT+CMEE?": "+CMEE: 1", "AT+CFUN?": "+CFUN: 1", "AT+CSQ": "+CSQ: 20,99", "AT+COPS?": "+COPS: 0"}[text]
			say("\r\n" + answer + "\r\nOK\r\n")
		}
	}
}
