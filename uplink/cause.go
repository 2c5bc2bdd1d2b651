package uplink

// Cause says in one of a few words why a link's state changed last; Change.Why
// and LinkSnapshot.LastChange say it for people.
type Cause uint8

// Causes by their number in the data: only appended to.
const (
	CauseNone      Cause = iota // nothing has happened yet
	CauseMissing                // dialled: it has no connection
	CauseBeside                 // dialled beside a dead connection
	CauseMoving                 // dialled for an instance that is not in trouble
	CauseConnected              // the dial came through
	CauseRefused                // the receiver was reached and said no
	CauseTimedOut               // a dial got no answer
	CauseBroken                 // the connection ended, or a dial failed
	CauseOverdue                // suspect: no delivery proof in time
	CauseNoProof                // dead: none for 3 s
	CauseSilent                 // dead: nothing heard while other links are
	CauseProof                  // back: a delivery proof
	CauseHeard                  // back: heard again
	CauseExcused                // back: an instance behind it had lost a message
	CauseReplaced               // closed: its successor proved itself
	CauseGivenUp                // closed: dead for 15 s
	CauseUnneeded               // closed: the old connection is back
	causeCount
)

var causeNames = [causeCount]string{
	"none", "missing", "beside", "moving", "connected", "refused", "timed-out", "broken", "overdue", "no-proof",
	"silent", "proof", "heard", "excused", "replaced", "given-up", "unneeded",
}

// String returns the cause's name, as "no-proof".
func (c Cause) String() string {
	if c >= causeCount {
		return "unknown"
	}
	return causeNames[c]
}

// CauseNames lists all names by their number.
func CauseNames() []string { return append([]string(nil), causeNames[:]...) }

// The reasons in words, and their causes.
const (
	whyMissing  = "no connection"
	whyBeside   = "beside a dead connection"
	whyFollows  = "follows to an instance that is not stalled"
	whyScouts   = "looks for an instance that is not stalled"
	whyTimedOut = "dial timed out"
	whyOverdue  = "no delivery proof in time"
	whyNoProof  = "no delivery proof for 3 s"
	whySilent   = "silent for 3 s while other links are not"
	whyProof    = "delivery proof"
	whyHeard    = "heard again"
	whyExcused  = "still heard; an instance that shares it has lost a message"
	whyReplaced = "replaced by a connection that proved itself"
	whyGivenUp  = "dead for 15 s"
	whyUnneeded = "the old connection is back"
)

var causes = map[string]Cause{
	whyMissing: CauseMissing, whyBeside: CauseBeside, whyFollows: CauseMoving, whyScouts: CauseMoving,
	whyTimedOut: CauseTimedOut, whyOverdue: CauseOverdue, whyNoProof: CauseNoProof, whySilent: CauseSilent,
	whyProof: CauseProof, whyHeard: CauseHeard, whyExcused: CauseExcused,
	whyReplaced: CauseReplaced, whyGivenUp: CauseGivenUp, whyUnneeded: CauseUnneeded,
}

// causeOf returns the cause of a change to state.
func (l *link) causeOf(state, why string) Cause {
	if c, ok := causes[why]; ok {
		return c
	}
	switch {
	case state == "up":
		return CauseConnected
	case l.turnedAway:
		return CauseRefused
	}
	return CauseBroken
}
