package guard

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"sync"
	"time"
)

// Limits of sessions; beyond them the one that asked longest ago ends.
const (
	maxSessions      = 4096
	maxTokenSessions = 64 // of one token: of a person, or a team that shares it
	sessionBytes     = 32 // random ones of a cookie
)

// session is one login. It holds no secret: it is found by the hash of its cookie.
type session struct {
	token   [sha256.Size]byte // that it began with; it ends with that
	began   time.Time
	seen    time.Time // last request, or now while one is open
	longest time.Time // when it ends anyway
}

// sessions are the logins of this process.
type sessions struct {
	idle, longest time.Duration

	mu sync.Mutex
	of map[[sha256.Size]byte]*session // guarded by mu, also what is in them
}

// begin makes a session and returns its cookie.
func (s *sessions) begin(token [sha256.Size]byte, now time.Time) (cookie string, err error) {
	var raw [sessionBytes]byte
	if _, err := rand.Read(raw[:]); err != nil {
		return "", fmt.Errorf("guard: random session: %w", err)
	}
	cookie = base64.RawURLEncoding.EncodeToString(raw[:])
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire(now)
	s.makeRoom(token)
	s.of[sha256.Sum256([]byte(cookie))] = &session{token: token, began: now, seen: now, longest: now.Add(s.longest)}
	return cookie, nil
}

// makeRoom ends the session that asked longest ago where there are too many; the
// caller holds mu.
func (s *sessions) makeRoom(token [sha256.Size]byte) {
	var ofToken int
	var oldest, oldestOwn [sha256.Size]byte
	var at, atOwn time.Time
	for id, k := range s.of {
		if at.IsZero() || k.seen.Before(at) {
			oldest, at = id, k.seen
		}
		if k.token == token {
			if ofToken++; atOwn.IsZero() || k.seen.Before(atOwn) {
				oldestOwn, atOwn = id, k.seen
			}
		}
	}
	if ofToken >= maxTokenSessions {
		delete(s.of, oldestOwn)
	} else if len(s.of) >= maxSessions {
		delete(s.of, oldest)
	}
}

// expire forgets what has ended by time; the caller holds mu.
func (s *sessions) expire(now time.Time) {
	for id, k := range s.of {
		if s.over(k, now) {
			delete(s.of, id)
		}
	}
}

func (s *sessions) over(k *session, now time.Time) bool {
	return now.Sub(k.seen) >= s.idle || !now.Before(k.longest)
}

// look returns the token of a session and slides its end.
func (s *sessions) look(id [sha256.Size]byte, now time.Time) (token [sha256.Size]byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.of[id]
	if k == nil {
		return token, false
	}
	if s.over(k, now) {
		delete(s.of, id)
		return token, false
	}
	k.seen = now
	return k.token, true
}

// end forgets a session.
func (s *sessions) end(id [sha256.Size]byte) (token [sha256.Size]byte, was bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.of[id]
	if k == nil {
		return token, false
	}
	delete(s.of, id)
	return k.token, true
}

func (s *sessions) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.of)
}

// adopt takes over the sessions of another one.
func (s *sessions) adopt(old *sessions) {
	old.mu.Lock()
	defer old.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, k := range old.of {
		moved := *k
		s.of[id] = &moved
	}
}
