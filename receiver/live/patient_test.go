package live

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// An answer that is being made for longer than a write may take comes whole.
func TestAnAnswerMayTakeItsTime(t *testing.T) {
	const limit = 50 * time.Millisecond
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[h2], func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				p := &patient{ResponseWriter: w, rc: http.NewResponseController(w), limit: limit, rests: r.ProtoMajor >= 2}
				io.WriteString(p, "one\n")
				p.Flush()
				select { // it is read on
				case <-time.After(4 * limit):
				case <-r.Context().Done():
				}
				io.WriteString(p, "two\n")
			}))
			srv.EnableHTTP2 = h2
			srv.StartTLS()
			defer srv.Close()
			res, err := srv.Client().Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil || string(b) != "one\ntwo\n" || (res.ProtoMajor == 2) != h2 {
				t.Errorf("%s: %q, %v", res.Proto, b, err)
			}
		})
	}
}

// A reader that takes nothing does not hold an answer for ever.
func TestAReaderThatTakesNothingIsGivenUp(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		t.Run(map[bool]string{false: "HTTP/1.1", true: "HTTP/2"}[h2], func(t *testing.T) {
			ended := make(chan error, 1)
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				p := &patient{ResponseWriter: w, rc: http.NewResponseController(w), limit: 50 * time.Millisecond, rests: r.ProtoMajor >= 2}
				piece, err := make([]byte, 1<<20), error(nil)
				for range 1 << 10 {
					if _, err = p.Write(piece); err != nil {
						break
					}
				}
				ended <- err
			}))
			srv.EnableHTTP2 = h2
			srv.StartTLS()
			defer srv.Close()
			res, err := srv.Client().Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if err := <-ended; err == nil {
				t.Error("a GB was written to a reader that takes nothing")
			}
		})
	}
}
