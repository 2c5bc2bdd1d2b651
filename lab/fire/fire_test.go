package fire

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"telemetry/lab/crash"
	"telemetry/lab/slcan"
	"telemetry/sensors/can"
)

func TestLinkPlanHasEveryTroubleAndEndsIt(t *testing.T) {
	for _, length := range []time.Duration{time.Second, 45 * time.Second, time.Hour} {
		for seed := range uint64(300) {
			plan := linkPlan(seed, length)
			if !slices.Equal(plan, linkPlan(seed, length)) {
				t.Fatalf("seed %d: two plans differ", seed)
			}
			var begun, ended []string
			in := map[int]string{}
			last := time.Duration(0)
			for _, c := range plan {
				if c.at < last || c.at > length {
					t.Errorf("seed %d, %v: a change at %v after one at %v", seed, length, c.at, last)
				}
				last = c.at
				switch now, busy := in[c.link]; {
				case !c.end && busy:
					t.Errorf("seed %d, %v: link %d is %s when it becomes %s", seed, length, c.link, now, c.trouble.what)
				case c.end && now != c.trouble.what:
					t.Errorf("seed %d, %v: link %d is %q, not %s", seed, length, c.link, now, c.trouble.what)
				case c.end:
					delete(in, c.link)
					ended = append(ended, c.trouble.what)
				default:
					in[c.link] = c.trouble.what
					begun = append(begun, c.trouble.what)
				}
			}
			slices.Sort(begun)
			slices.Sort(ended)
			if len(begun) != len(troubles) || !slices.Equal(begun, ended) || len(slices.Compact(begun)) != len(troubles) {
				t.Fatalf("seed %d, %v: began %v, ended %v", seed, length, begun, ended)
			}
		}
	}
	if slices.Equal(linkPlan(1, time.Minute), linkPlan(2, time.Minute)) {
		t.Error("two seeds give one plan")
	}
}

func TestEndsAreStruckApart(t *testing.T) {
	r := &run{Config: Config{Seed: 7}, length: 90 * time.Second}
	agent, receiver := r.strikes(2*r.Seed, 5), r.strikes(2*r.Seed+1, 5)
	for name, plan := range map[string][]crash.Strike{"agent": agent, "receiver": receiver} {
		kills := 0
		for _, s := range plan {
			if s.Kind == crash.Kill {
				kills++
			}
		}
		if kills != 5 || len(plan) != 6 {
			t.Errorf("%s: %+v", name, plan)
		}
	}
	if slices.Equal(agent, receiver) {
		t.Error("both ends are struck at the same moments")
	}
}

// frames is a feed of what is in it.
type frames []can.Frame

func (f *frames) Next(_ context.Context, out *can.Frame) error {
	if len(*f) == 0 {
		return io.EOF
	}
	*out, *f = (*f)[0], (*f)[1:]
	return nil
}

func TestOneBusNeverStepsBack(t *testing.T) {
	const s = int64(time.Second)
	in := frames{
		{Bus: "a", StampNS: 10 * s, ID: 1},
		{Bus: "b", StampNS: 11 * s, ID: 2},
		{Bus: "a", StampNS: 12 * s, ID: 3},
		{Bus: "a", StampNS: 12*s - 5, ID: 4},  // a little out of order
		{Bus: "a", StampNS: 2 * s, ID: 5},     // the clock was set
		{Bus: "a", StampNS: 3 * s, ID: 6},     //
		{Bus: "a", StampNS: 9000 * s, ID: 7},  // and again
		{Bus: "a", StampNS: 9001 * s, ID: 8},  //
		{Bus: "b", StampNS: 99000 * s, ID: 9}, //
		{Bus: "a", StampNS: 9002 * s, ID: 10, Cut: true},
	}
	feed := &oneBus{Feed: &in, name: "a"}
	var got []string
	var f can.Frame
	for feed.Next(t.Context(), &f) == nil {
		got = append(got, fmt.Sprintf("%d@%d", f.ID, f.StampNS/s))
	}
	if want := "1@10 3@12 4@12 5@12 6@13 7@13 8@14"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestSurveyFindsInterfaceAndFD(t *testing.T) {
	for _, c := range []struct {
		name, log, first string
		fd, bad          bool
	}{
		{name: "classic", log: "(1.0) can1 100#00\n(1.1) can0 101##100\n", first: "can1"},
		{name: "CAN FD", log: "(1.0) can1 100#00\n(1.1) can1 101##100\n", first: "can1", fd: true},
		{name: "nothing", log: "noise\n", bad: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "car.log")
			if err := os.WriteFile(path, []byte(c.log), 0o600); err != nil {
				t.Fatal(err)
			}
			first, fd, err := survey(path)
			if first != c.first || fd != c.fd || (err != nil) != c.bad {
				t.Errorf("got %q, %v, %v", first, fd, err)
			}
		})
	}
}

// bootClock runs from the test's begin.
type bootClock struct{ begin time.Time }

func (c bootClock) BootNS() int64 { return int64(time.Since(c.begin)) }

func TestTruthHasAFrameThatWasRepeatedTwice(t *testing.T) {
	const n = 2000 // more than all buffers hold, so that some are left unread
	dir := t.TempDir()
	log := filepath.Join(dir, "car.log")
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "(%d.%06d) can0 %03X#%02X\n", 5, i, i%0x700, i%256)
		if i%10 == 0 { // neither is part of the truth
			fmt.Fprintf(&text, "(%d.%06d) can0 20000004#0000000000000000\n(%d.%06d) can0 123#R\n", 5, i, 5, i)
		}
	}
	if err := os.WriteFile(log, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := openBus(log, filepath.Join(dir, "adapter"), bootClock{time.Now()})
	if err != nil {
		t.Skipf("no pseudo terminal here: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }() // ends with ctx
	defer func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	read := func(lines int) {
		t.Helper()
		f, err := os.OpenFile(b.Path(), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString("S6\rO\r"); err != nil {
			t.Fatal(err)
		}
		in := bufio.NewReaderSize(f, 16)
		for range lines + 2 {
			if _, err := in.ReadString('\r'); err != nil {
				t.Fatal(err)
			}
		}
	}
	read(100)
	limit, stop := context.WithTimeoutCause(ctx, 30*time.Second, errors.New("the adapter does not see that its reader is gone"))
	defer stop()
	if err := until(limit, time.Millisecond, func() bool { return !b.Stats().Reading }); err != nil {
		t.Fatal(err)
	}
	count, again := map[slcan.Fate]int{}, 0
	for _, s := range b.Truth() {
		count[s.Fate]++
		if s.Fate == slcan.Repeated && !s.Frame.RTR {
			again++
		}
	}
	if count[slcan.Repeated] == 0 {
		t.Fatalf("nothing was left unread: %v", count)
	}
	read(n + n/10 - count[slcan.Read]) // requests have lines, too
	if err := until(limit, time.Millisecond, b.Done); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "truth")
	if err := b.write(path); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	next, repeated := 0, 0
	for line := range strings.Lines(string(raw)) {
		fields := strings.Fields(line)
		switch fields[1] {
		case "repeated":
			repeated++
		case "read":
			if want := fmt.Sprintf("%d 0 %02x", next%0x700, next%256); strings.Join(fields[2:], " ") != want {
				t.Fatalf("line %q, want %s", line, want)
			}
			next++
		default:
			t.Fatalf("line %q", line)
		}
	}
	if next != n || repeated != again {
		t.Errorf("%d frames read and %d repeated, want %d and %d", next, repeated, n, again)
	}
}
