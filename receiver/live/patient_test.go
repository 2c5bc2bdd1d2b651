package live

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// patiently serves serve to one request over HTTP/1.1 and over HTTP/2, each in a subtest,
// and hands its answer to check.
func patiently(t *testing.T, serve func(p *patient, r *http.Request), check func(t *testing.T, res *http.Response)) {
	t.Helper()
	for major, name := range map[int]string{1: "HTTP/1.1", 2: "HTTP/2"} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				serve(&patient{ResponseWriter: w, rc: http.NewResponseController(w), limit: patienceTest, rests: r.ProtoMajor >= 2}, r)
			}))
			srv.EnableHTTP2 = major == 2
			srv.StartTLS()
			defer srv.Close()
			res, err := srv.Client().Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.ProtoMajor != major {
				t.Errorf("served over %s", res.Proto)
			}
			check(t, res)
		})
	}
}

// patienceTest is how long a write may take there.
const patienceTest = 50 * time.Millisecond

// An answer that is being made for longer than a write may take comes whole.
func TestAnAnswerMayTakeItsTime(t *testing.T) {
	patiently(t, func(p *patient, r *http.Request) {
		io.WriteString(p, "one\n")
		p.Flush()
		select { // it is read on
		case <-time.After(4 * patienceTest):
		case <-r.Context().Done():
		}
		io.WriteString(p, "two\n")
	}, func(t *testing.T, res *http.Response) {
		if b, err := io.ReadAll(res.Body); err != nil || string(b) != "one\ntwo\n" {
			t.Errorf("%s: %q, %v", res.Proto, b, err)
		}
	})
}

// A reader that takes nothing does not hold an answer for ever.
func TestAReaderThatTakesNothingIsGivenUp(t *testing.T) {
	ended := make(chan error, 1)
	patiently(t, func(p *patient, _ *http.Request) {
		piece, err := make([]byte, 1<<20), error(nil)
		for range 1 << 10 {
			if _, err = p.Write(piece); err != nil {
				break
			}
		}
		ended <- err
	}, func(t *testing.T, _ *http.Response) {
		if err := <-ended; err == nil {
			t.Error("a GB was written to a reader that takes nothing")
		}
	})
}
