// Package clock is the one place where the car reads its clocks: boot time,
// which never jumps and counts through suspend, and UTC, which may jump.
//
// The entry point is [System]. It never sets a clock.
package clock

import (
	"time"

	"golang.org/x/sys/unix"
)

// System is the machine's clock. The zero value is ready; it is safe for
// concurrent use.
type System struct{}

// BootNS returns nanoseconds since boot (CLOCK_BOOTTIME).
func (System) BootNS() int64 { return read(unix.CLOCK_BOOTTIME) }

// Reading is one comparison of the two clocks.
type Reading struct {
	BootNS        int64
	UTCNS         int64 // ns since 1970-01-01 UTC
	UncertaintyNS int64 // half width: of the clock's own estimate and of the comparison
	Synced        bool  // the kernel says that something disciplines the clock
}

// Compare reads both clocks as close together as it can.
func (System) Compare() Reading {
	// Of a few tries the one with the least time between its two readings of
	// the boot clock bounds the error of the pairing.
	const tries = 5
	var best Reading
	width := int64(1<<63 - 1)
	for range tries {
		before := read(unix.CLOCK_BOOTTIME)
		utc := read(unix.CLOCK_REALTIME)
		after := read(unix.CLOCK_BOOTTIME)
		if w := after - before; w < width {
			width = w
			best = Reading{BootNS: before + w/2, UTCNS: utc}
		}
	}
	est, synced := discipline()
	best.UncertaintyNS = est + width/2 + 1
	best.Synced = synced
	return best
}

// Uncertainty bounds, in ns.
const (
	// unsyncedNS is claimed for a clock that nothing disciplines: a battery
	// clock drifts by seconds a day and is set by hand.
	unsyncedNS = int64(5 * time.Second)
	// maxErrorNS caps the kernel's maxerror, which grows by 500 ppm without
	// bound between corrections.
	maxErrorNS = int64(16 * time.Second)
)

// discipline asks the kernel how good its UTC is (adjtimex: chrony and ntpd
// keep maxerror there).
func discipline() (errNS int64, synced bool) {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	if err != nil || state == unix.TIME_ERROR || tx.Status&unix.STA_UNSYNC != 0 {
		return unsyncedNS, false
	}
	// maxerror is in µs and bounds the offset to UTC; offset is in µs or ns.
	off := int64(tx.Offset)
	if tx.Status&unix.STA_NANO == 0 {
		off *= 1000
	}
	if off < 0 {
		off = -off
	}
	return min(int64(tx.Maxerror)*1000+off, maxErrorNS), true
}

func read(id int32) int64 {
	var ts unix.Timespec
	// The call cannot fail for these clocks on any kernel that Go supports.
	_ = unix.ClockGettime(id, &ts)
	return ts.Nano()
}
