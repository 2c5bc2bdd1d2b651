package packed

// Numbers follows the numbers of packets. The zero value is not ready: set Bits.
// It is owned by one goroutine.
type Numbers struct {
	Bits int // of the number, 1 to 64

	begun    bool
	next     uint64
	Lost     uint64 // numbers that never came; one that comes late is taken off again
	Late     uint64 // came after a higher one
	Repeated uint64 // the same number again at once
	Restarts uint64 // times that the count began anew
	window   uint64 // bit i: number next-1-i has come
	again    uint64 // number that would go on a run of repeated ones
	run      int    // of them, without another between
}

// How far behind a number may be to be late instead of the first of a new count,
// and how far ahead it may be to be one of the same count.
const (
	lateWindow = 64
	farAhead   = 1 << 16
	// So many numbers in a row that have all come before, each by one higher, are no
	// repetition: a device began anew before it had counted far.
	repeatRun = 3
)

// Verdict says what a packet's number means.
type Verdict uint8

// Verdicts.
const (
	InOrder Verdict = iota
	AfterGap
	LateOne
	Repeat
	Restart
)

// Add takes the number of a packet and returns what it means, and how many were
// lost before it.
func (s *Numbers) Add(n uint64) (Verdict, uint64) {
	mask := ^uint64(0) >> (64 - s.Bits)
	if !s.begun {
		s.begun, s.next, s.window = true, (n+1)&mask, 1
		return InOrder, 0
	}
	ahead := (n - s.next) & mask
	behind := (s.next - n) & mask // 1: the latest one
	switch {
	case ahead == 0:
		s.shift(1)
	case behind <= min(lateWindow, mask/4):
		bit := uint64(1) << (behind - 1)
		if s.window&bit != 0 {
			if n != s.again {
				s.run = 0
			}
			if s.run++; s.run > repeatRun {
				return s.restart(n), 0
			}
			s.again = (n + 1) & mask
			s.Repeated++
			return Repeat, 0
		}
		s.window |= bit
		s.Late++
		if s.Lost > 0 {
			s.Lost--
		}
		return LateOne, 0
	case ahead <= mask/2 && ahead < farAhead:
		s.Lost += ahead
		s.shift(ahead + 1)
		s.next, s.run = (n+1)&mask, 0
		return AfterGap, ahead
	default:
		return s.restart(n), 0
	}
	s.next, s.run = (n+1)&mask, 0
	return InOrder, 0
}

// restart begins with n.
func (s *Numbers) restart(n uint64) Verdict {
	s.Restarts++
	s.next, s.window, s.run = (n+1)&(^uint64(0)>>(64-s.Bits)), 1, 0
	return Restart
}

func (s *Numbers) shift(by uint64) {
	if by >= 64 {
		s.window = 1
		return
	}
	s.window = s.window<<by | 1
}
