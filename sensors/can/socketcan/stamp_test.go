package socketcan

import (
	"testing"
	"time"
)

const (
	ms   = int64(time.Millisecond)
	hour = int64(time.Hour)
	utc0 = int64(1_700_000_000_000_000_000) // UTC at boot
)

func TestKernelStampsBecomeBootTime(t *testing.T) {
	var c stampClock
	c.look(100*ms, utc0+100*ms)
	for _, tc := range []struct {
		name             string
		step             int64 // by which UTC is set before the frame is read
		at, now, utcThen int64 // when it came up, when it was read, UTC less boot time when it came up
		want             int64
		from             StampSource
	}{
		{"at once", 0, 100 * ms, 100 * ms, utc0, 100 * ms, StampKernel},
		{"after a wait", 0, 110 * ms, 180 * ms, utc0, 110 * ms, StampKernel},
		{"before the one above", 0, 109*ms + 500_000, 180 * ms, utc0, 110 * ms, StampKernel},
		{"from before UTC was set back by hours", -3 * hour, 190 * ms, 200 * ms, utc0, 190 * ms, StampKernel},
		{"from after it", 0, 210 * ms, 211 * ms, utc0 - 3*hour, 210 * ms, StampKernel},
		{"from before UTC was set forward", 40_000 * ms, 220 * ms, 230 * ms, utc0 - 3*hour, 220 * ms, StampKernel},
		{"from neither time", 0, 240 * ms, 240 * ms, utc0 + hour, 240 * ms, StampHost},
		{"of tomorrow", 0, 24 * hour, 250 * ms, utc0 - 3*hour + 40_000*ms, 250 * ms, StampHost},
	} {
		c.look(tc.now, tc.now+c.offset+tc.step)
		if got, from := c.boot(tc.at+tc.utcThen, 0, tc.now); got != tc.want || from != tc.from {
			t.Errorf("%s: got %v by %v, want %v by %v", tc.name, time.Duration(got), from, time.Duration(tc.want), tc.from)
		}
	}
	if c.steps != 2 || c.strange != 2 {
		t.Errorf("%d steps and %d strange stamps, want 2 and 2", c.steps, c.strange)
	}
	if at, from := c.boot(0, 0, 300*ms); at != 300*ms || from != StampHost {
		t.Errorf("no stamp: got %d by %v", at, from)
	}
}

func TestControllersClockIsMappedByItsLeastDelay(t *testing.T) {
	var c stampClock
	const hard0, drift = 77 * hour, 50 // ppm
	at := func(n int64) (boot, stamp int64) { return n * ms, hard0 + n*ms + n*ms*drift/ppm }
	worst := int64(0)
	for n := int64(1); n < 60_000; n++ {
		boot, stamp := at(n)
		arrival := boot + n*n%7*ms/4 // jitter of the driver
		c.look(arrival, utc0+arrival)
		got, from := c.boot(utc0+arrival, stamp, arrival)
		if from != StampHardware {
			t.Fatalf("frame %d by %v", n, from)
		}
		if n > 100 {
			worst = max(worst, got-boot, boot-got)
		}
	}
	if worst > 20_000 {
		t.Errorf("off by up to %v, want 20 µs", time.Duration(worst))
	}
	// The controller is reset: a few frames by the kernel, then its new count.
	byKernel := 0
	for n := int64(60_000); n < 60_100; n++ {
		arrival := n * ms
		c.look(arrival, utc0+arrival)
		got, from := c.boot(utc0+arrival, n*ms-59_000*ms, arrival)
		if from == StampKernel {
			byKernel++
		}
		if got-arrival > ms || arrival-got > ms {
			t.Errorf("frame %d after the reset is off by %v", n, time.Duration(got-arrival))
		}
	}
	if byKernel != hardSuspects-1 || c.hard.restarts != 1 {
		t.Errorf("%d frames by the kernel's clock and %d restarts", byKernel, c.hard.restarts)
	}
}

func TestTicksNeverGoBackNorPastNow(t *testing.T) {
	var c stampClock
	c.look(0, utc0)
	last, seed := int64(0), uint64(1)
	for n := int64(1); n < 100_000; n++ {
		seed = seed*6364136223846793005 + 1442695040888963407
		now := n * ms
		noise := int64(seed>>40) - 1<<23
		var hard int64
		if seed>>20%3 == 0 {
			hard = now + noise*int64(seed>>30%1000)
		}
		if seed>>10%97 == 0 {
			c.look(now, utc0+now+noise*1000)
		}
		got, _ := c.boot(utc0+now+noise, hard, now)
		if got < last || got > now {
			t.Fatalf("frame %d at %d: got %d after %d", n, now, got, last)
		}
		last = got
	}
}

func TestLossIsTheDifferenceOfCounts(t *testing.T) {
	var l loss
	var got []uint64
	for _, n := range []uint32{0, 5, 5, 3, 7, 1<<31 + 6, 1<<32 - 1, 2} { // 3: a frame that was queued before the count of 5 was asked for
		got = append(got, l.counted(n))
	}
	want := []uint64{0, 5, 0, 0, 2, 1<<31 - 1, 1<<31 - 7, 3}
	sum := uint64(0)
	for i := range want {
		sum += want[i]
		if got[i] != want[i] {
			t.Errorf("count %d: got %d new ones, want %d", i, got[i], want[i])
		}
	}
	if l.untold != sum {
		t.Errorf("%d to be told, want %d", l.untold, sum)
	}
	l.reset()
	if n := l.counted(2); n != 2 {
		t.Errorf("a new socket: %d", n)
	}
}

func TestErrorFramesInWords(t *testing.T) {
	for _, tc := range []struct {
		line, want string
		state      busState
	}{
		{"20000004#0004000000000000", "warning on receiving", stateWarning},
		{"20000004#0020000000000000", "error passive on sending", statePassive},
		{"20000004#0001000000000000", "receive buffer overflow", stateUnknown},
		{"20000204#000800000000600B", "warning on sending (send errors 96, receive errors 11)", stateWarning},
		{"20000040#0000000000000000", "bus off", stateBusOff},
		{"20000100#0000000000000000", "restarted", stateActive},
		{"20000002#0300000000000000", "arbitration lost", stateUnknown},
		{"20000088#0000020000000000", "protocol violation, bus error", stateUnknown},
		{"20000004#0040000000000000", "error active", stateActive},
		{"20000004#", "controller", stateUnknown},
	} {
		f := parseLine(t, tc.line)
		if got := describeError(&f); got != tc.want {
			t.Errorf("%s: got %q, want %q", tc.line, got, tc.want)
		}
		if got, _ := stateOf(&f); got != tc.state {
			t.Errorf("%s: state %v, want %v", tc.line, got, tc.state)
		}
	}
}
