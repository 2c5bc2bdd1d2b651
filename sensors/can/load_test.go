package can

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"telemetry/sensors/dbc"
)

// wallClock is a boot clock that begins with the test.
type wallClock struct{ begin time.Time }

func (c wallClock) BootNS() int64 { return int64(time.Since(c.begin)) }

// The CPU time, of user and kernel, that a log of a loaded bus of 1 Mbit/s costs
// when it is played as recorded and decoded with a database of 500 signals, in
// percent of one core.
func BenchmarkLoadedLog(b *testing.B) {
	const rate, messages = 8000, 100 // frames/s
	var text strings.Builder
	for i := range messages {
		fmt.Fprintf(&text, "BO_ %d M%d: 8 A\n", 0x100+7*i, i)
		for k, s := range []string{"0|12@1+ (0.1,0)", "12|4@1+ (1,0)", "23|16@0- (0.01,-40)", "39|10@0+ (0.5,0)", "48|16@1- (1,0)"} {
			fmt.Fprintf(&text, " SG_ S%d_%d : %s [0|0] \"\" A\n", i, k, s)
		}
	}
	var log bytes.Buffer
	r := rand.New(rand.NewPCG(1, 2))
	for i := range rate * b.N {
		f := Frame{Bus: "can0", StampNS: int64(i) * 1e9 / rate, ID: uint32(0x100 + 7*(i%messages)), Len: 8}
		for k := range f.Data() {
			f.Bytes[k] = byte(r.Uint32())
		}
		log.Write(AppendLine(nil, &f))
	}
	s, err := NewReplay(ReplayConfig{
		Open:  func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(log.Bytes())), nil },
		Buses: []Bus{{Databases: []*dbc.Database{database(b, text.String())}}}, Clock: wallClock{time.Now()},
	})
	if err != nil {
		b.Fatal(err)
	}
	before, begun := cpuTime(b), time.Now()
	if err := s.Run(b.Context(), &discard{}); err != nil {
		b.Fatal(err)
	}
	spent, elapsed := cpuTime(b)-before, time.Since(begun)
	b.ReportMetric(100*spent.Seconds()/elapsed.Seconds(), "%core")
	b.ReportMetric(float64(spent.Nanoseconds())/float64(rate*b.N), "ns-cpu/frame")
	b.ReportMetric(float64(rate*b.N)/elapsed.Seconds(), "frames/s")
}

func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
