package uplink

// Times of the path estimates, in ns.
const (
	ms = int64(1_000_000)

	suspectFloorNS   = 120 * ms // shortest wait for a batch's delivery proof
	firstSuspectNS   = 200 * ms // the same while no round trip is known
	silenceNS        = 75 * ms  // without any proof, before a link is suspect: one ack and a half
	ackPeriodNS      = 50 * ms
	maxDrainNS       = 3000 * ms
	maxAheadNS       = 70 * ms  // deliveries presumed beyond the last proof: an ack's period and its jitter
	unknownRate      = 64 << 10 // bytes/s assumed for waits while nothing was measured
	firstRTTFloorNS  = 10 * ms
	firstRTTCeilNS   = 1000 * ms
	rateBucketNS     = 500 * ms    // the rate is the best of the last one to two buckets
	minRTTBucketNS   = 15_000 * ms // the least RTT is that of the last one to two buckets
	startupRounds    = 3           // rounds without growth that end the start
	maxRTTSampleNS   = 60_000 * ms // above this a sample is nonsense
	outageNS         = 1000 * ms   // a round trip of a suspect link from here on is an outage's length,
	maxOutages       = 3           // but for so many of them in a row only
	startupGrowthPct = 125
)

// estimate holds what delivery proofs tell of one connection. The zero value
// knows nothing.
type estimate struct {
	srttNS, rttvarNS int64 // smoothed; 0 = no sample yet
	guessNS          int64 // RTT guessed from the time that the dial took
	minNow, minPrev  int64 // least RTT of this bucket and the one before; 0 = none
	minStartNS       int64

	rateNow, ratePrev int64 // bytes/s, best of this bucket and the one before
	rateStartNS       int64
	rate              int64 // what the two say; 0 = unknown
	measured          bool  // some sample was not limited by the application
	fastNS            int64 // when a sample last was paceBelow or more; 0 = never

	flat    int   // rounds without growth since the start
	fullBps int64 // rate that the last growth reached
}

// guess sets a first RTT out of the time of the dial, at least three round trips, and
// of the round trip that the link had before; 0 = not known. A dial that waited for the
// end of an outage says how long that took: the path is as it was, or nearly so.
func (s *estimate) guess(dialNS, beforeNS int64) {
	s.guessNS = min(max(dialNS/3, firstRTTFloorNS), firstRTTCeilNS)
	if beforeNS > 0 {
		s.guessNS = min(s.guessNS, max(2*beforeNS, firstRTTFloorNS))
	}
}

func (s *estimate) rttSample(now, rtt int64) {
	if rtt <= 0 || rtt > maxRTTSampleNS {
		return
	}
	if s.srttNS == 0 {
		s.srttNS, s.rttvarNS = rtt, rtt/2
	} else {
		s.rttvarNS += (abs(rtt-s.srttNS) - s.rttvarNS) / 4
		s.srttNS += (rtt - s.srttNS) / 8
	}
	if now-s.minStartNS >= minRTTBucketNS {
		s.minPrev, s.minNow, s.minStartNS = s.minNow, 0, now
	}
	if s.minNow == 0 || rtt < s.minNow {
		s.minNow = rtt
	}
}

// rtt returns the smoothed RTT, or the guess.
func (s *estimate) rtt() int64 {
	if s.srttNS != 0 {
		return s.srttNS
	}
	return max(s.guessNS, firstRTTFloorNS)
}

// minRTT returns the least RTT of the last 15 to 30 s, or the guess.
func (s *estimate) minRTT() int64 {
	switch {
	case s.minNow == 0 && s.minPrev == 0:
		return s.rtt()
	case s.minPrev == 0:
		return s.minNow
	case s.minNow == 0:
		return s.minPrev
	}
	return min(s.minNow, s.minPrev)
}

// rateSample takes one delivery rate in bytes/s. A limited sample was taken
// while there was nothing to send: it says only that the link can do that much.
func (s *estimate) rateSample(now, bps int64, limited bool) {
	if bps <= 0 || (limited && bps <= s.rate) {
		return
	}
	s.measured = s.measured || !limited
	if bps >= paceBelow {
		s.fastNS = now
	}
	if now-s.rateStartNS >= rateBucketNS {
		s.ratePrev, s.rateNow, s.rateStartNS = s.rateNow, 0, now
	}
	s.rateNow = max(s.rateNow, bps)
	s.rate = max(s.rateNow, s.ratePrev)
	if s.rate*100 >= s.fullBps*startupGrowthPct {
		s.fullBps, s.flat = s.rate, 0
	} else if !limited {
		s.flat++
	}
}

// starting reports whether the rate still grows, so that the cap should lead it.
func (s *estimate) starting() bool { return s.flat < startupRounds }

// known returns the rate, or 0 while all that was measured is what the
// application happened to send: a lower bound says nothing about the link.
func (s *estimate) known() int64 {
	if !s.measured && s.rate < unknownRate {
		return 0
	}
	return s.rate
}

// drain returns how long n bytes take at the measured rate, at most 3 s.
func (s *estimate) drain(n int64) int64 {
	r := s.known()
	if r == 0 {
		r = unknownRate
	}
	return min(n*1000/r*ms, maxDrainNS)
}

// suspectAfter is how long a batch may go without a delivery proof when it and
// what was sent before it are n bytes: the way there and back with its jitter, up
// to an ack's period, and the time that the bytes take.
func (s *estimate) suspectAfter(n int64) int64 {
	wait := s.rtt() + ackPeriodNS + 4*s.rttvarNS
	if s.srttNS == 0 {
		wait = max(4*s.rtt(), firstSuspectNS)
	}
	return max(suspectFloorNS, wait) + s.drain(n)
}

func abs(v int64) int64 {
	if v < 0 {
		return -v
	}
	return v
}
