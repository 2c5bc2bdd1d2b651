package spool

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/sys/cpu"

	"telemetry/wire"
)

// Encryption at rest. Every start of an encrypted spool has a secret of its own, wrapped
// to the box and to whoever else may read the card; each chunk has a key that follows
// from the secret of the start that wrote it. A batch on the card is an envelope like any
// other, with the times and the number in the clear and one section of noise: the sealed
// batch, encrypted. So scan, repair, quota and cursor need no key.
//
// A nonce is never used twice with a key: it is the batch's number, which a start gives
// out once; the same batch written again to the same chunk is the same bytes, and
// another chunk or start has another key.

// KeyBox wraps secrets for those who may read a card, and opens what was wrapped for
// this box. It must be safe for concurrent use.
type KeyBox interface {
	// Wrap encrypts b so that this box and every recipient can open it.
	Wrap(b []byte) ([]byte, error)
	// Unwrap opens what Wrap made; ErrNoKey says that it was made for others.
	Unwrap(b []byte) ([]byte, error)
}

// Algorithms of a record. New ones are only added.
const (
	algAESGCM   = 1 // AES-256-GCM
	algChaCha20 = 2 // ChaCha20-Poly1305, for processors without AES
)

const (
	tagBytes = 16
	// atRestHead is algorithm and chunk number in front of the ciphertext.
	atRestHead = 1 + 8
)

// ownAlgorithm is what this machine does fast.
func ownAlgorithm() byte {
	if cpu.X86.HasAES || cpu.ARM64.HasAES || cpu.S390X.HasAESGCM {
		return algAESGCM
	}
	return algChaCha20
}

// secret is what the keys of all chunks of one start follow from.
type secret [32]byte

// keyring holds the secrets that were opened.
type keyring struct {
	box  KeyBox
	disk Disk
	dir  string // of the key files
	car  string

	mu     sync.Mutex
	opened map[wire.Epoch]openedKey // guarded by mu
	last   chunkKeyID               // guarded by mu
	aead   cipher.AEAD              // guarded by mu: of last
}

type openedKey struct {
	secret secret
	err    error     // not nil: there is none
	retry  time.Time // not zero: the card did not answer, and is asked again from then on
}

const (
	// keyTries is how often in a row a card is asked for a key file that it does not give.
	keyTries = 3
	// keyRetry is how long it is left alone then: an answer may take seconds to fail.
	keyRetry = 10 * time.Second
)

// chunkKeyID names a chunk's key.
type chunkKeyID struct {
	epoch wire.Epoch
	lane  wire.Lane
	no    uint64
	alg   byte
}

func newKeyring(disk Disk, dir, car string, box KeyBox) *keyring {
	return &keyring{box: box, disk: disk, dir: dir, car: car, opened: map[wire.Epoch]openedKey{}}
}

// secretOf returns the secret of a start.
func (k *keyring) secretOf(e wire.Epoch) (secret, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	o, ok := k.opened[e]
	if ok && (o.retry.IsZero() || time.Now().Before(o.retry)) {
		return o.secret, o.err
	}
	for again, n := true, 0; again && n < keyTries; n++ {
		o.secret, again, o.err = k.load(e)
		if o.retry = (time.Time{}); again {
			o.retry = time.Now().Add(keyRetry)
		}
	}
	k.opened[e] = o
	return o.secret, o.err
}

// unanswered reports whether the card did not give a secret that may be there.
func (k *keyring) unanswered(e wire.Epoch) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return !k.opened[e].retry.IsZero()
}

// chunk returns the cipher of a chunk.
func (k *keyring) chunk(id chunkKeyID) (cipher.AEAD, error) {
	s, err := k.secretOf(id.epoch)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.aead != nil && k.last == id {
		return k.aead, nil
	}
	aead, err := s.cipher(k.car, id)
	if err == nil {
		k.last, k.aead = id, aead
	}
	return aead, err
}

// cipher derives a chunk's key.
func (s *secret) cipher(car string, id chunkKeyID) (cipher.AEAD, error) {
	info := append([]byte("telemetry spool chunk 1\x00"), id.alg, byte(id.lane))
	info = binary.BigEndian.AppendUint64(info, id.no)
	info = appendEpoch(info, id.epoch)
	info = append(info, car...)
	key, err := hkdf.Key(sha256.New, s[:], nil, string(info), 32)
	if err != nil {
		return nil, fmt.Errorf("spool: chunk key: %w", err)
	}
	switch id.alg {
	case algAESGCM:
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("spool: chunk key: %w", err)
		}
		return cipher.NewGCM(block)
	case algChaCha20:
		return chacha20poly1305.New(key)
	}
	return nil, fmt.Errorf("spool: algorithm %d: %w", id.alg, errDamaged)
}

// nonce of a batch: its number.
func nonce(seq uint64) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 4, 12), seq)
}

// bound is what of an envelope in the clear the ciphertext vouches for.
func bound(dst []byte, h *wire.Header) []byte {
	dst = append(dst, "telemetry spool record 1\x00"...)
	dst = append(dst, byte(len(h.Stream.Car)))
	dst = append(dst, h.Stream.Car...)
	dst = appendEpoch(dst, h.Stream.Epoch)
	dst = append(dst, byte(h.Stream.Lane), byte(h.Stream.Shard), byte(h.Stream.Shard>>8))
	for _, v := range [...]uint64{h.Seq, uint64(h.FirstNS), uint64(h.LastNS), uint64(h.Samples)} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	return append(dst, h.Catalogue[:]...)
}

// seal appends the batch as it stands on the card. inner is a sealed batch; scratch is
// used and may grow.
func (k *keyring) seal(dst []byte, alg byte, no uint64, inner []byte, scratch *[]byte) ([]byte, error) {
	h, err := wire.ParseHeader(inner)
	if err != nil {
		return dst, fmt.Errorf("spool: encrypt: %w", err)
	}
	aead, err := k.chunk(chunkKeyID{h.Stream.Epoch, h.Stream.Lane, no, alg})
	if err != nil {
		return dst, err
	}
	body := atRestHead + len(inner) + tagBytes
	p := append(slices.Grow((*scratch)[:0], 1+maxPrefix+body), byte(wire.SectionAtRest))
	p = binary.AppendUvarint(p, uint64(body))
	p = append(p, alg)
	p = binary.LittleEndian.AppendUint64(p, no)
	p = aead.Seal(p, nonce(h.Seq), inner, bound(nil, &h))
	*scratch = p
	return wire.SealStored(dst, h.ID(), wire.Body{
		Lane: h.Stream.Lane, FirstNS: h.FirstNS, LastNS: h.LastNS, Samples: h.Samples, Catalogue: h.Catalogue, Payload: p,
	})
}

// atRestMark is how much of a payload shows whether it is an encrypted batch.
const atRestMark = 1 + maxPrefix + 1

// isAtRest reports whether a batch is an encrypted one, by the beginning of its payload:
// one section of that type which takes all of it. The flags in the clear say nothing.
func isAtRest(h *wire.Header, payload []byte) bool {
	if h.Codec != wire.CodecNone || len(payload) == 0 || payload[0] != byte(wire.SectionAtRest) {
		return false
	}
	body, k := binary.Uvarint(payload[1:])
	return k > 0 && k <= maxPrefix && body >= atRestHead+tagBytes && uint64(h.PayloadLen) == 1+uint64(k)+body
}

// atRestExtra returns by how many bytes an encrypted batch is longer than what is in it.
func atRestExtra(h *wire.Header) uint16 {
	k := frameLen(int(h.PayloadLen)) - int64(h.PayloadLen) // or one less for a body just below a power of 128
	if body := int64(h.PayloadLen) - 1 - k; frameLen(int(body)) != body+k {
		k--
	}
	return uint16(int64(h.HeaderLen) + 1 + k + atRestHead + tagBytes)
}

// open decrypts a batch in place and returns the sealed batch that is in it. An error
// that is no ErrNoKey means damage, or that somebody changed it.
func (k *keyring) open(b wire.Batch) ([]byte, error) {
	s, n, err := wire.NextSection(b.Payload)
	if err != nil || n != len(b.Payload) || len(s.Body) < atRestHead+tagBytes {
		return nil, errDamaged
	}
	no := binary.LittleEndian.Uint64(s.Body[1:])
	aead, err := k.chunk(chunkKeyID{b.Header.Stream.Epoch, b.Header.Stream.Lane, no, s.Body[0]})
	if err != nil {
		return nil, err
	}
	text := s.Body[atRestHead:]
	inner, err := aead.Open(text[:0], nonce(b.Header.Seq), text, bound(nil, &b.Header))
	if err != nil {
		return nil, errDamaged
	}
	got, size, err := wire.Parse(inner)
	if err != nil || size != len(inner) || got.Header.ID() != b.Header.ID() {
		return nil, errDamaged
	}
	return inner, nil
}

// encrypts reports whether new batches are encrypted.
func (s *Spool) encrypts() bool { return s.cfg.Keys != nil }

// atRestMost is the most that encryption adds to a batch.
const atRestMost = maxHeaderBytes + 1 + maxPrefix + atRestHead + tagBytes

// diskSize is how many bytes a group takes in a segment file; with encryption it may
// take a little less.
func (s *Spool) diskSize(g *group) int64 {
	n := g.framed()
	if s.encrypts() {
		n += int64(len(g.items)) * atRestMost / 2
	}
	return n
}

// records lists the batches of a group as they are to stand in a chunk; valid until the
// next call for this lane. Control records stay in the clear: they name no measurement,
// and a start must understand them without a key.
func (s *Spool) records(l *lane, g *group, c *chunk) ([][]byte, error) {
	l.recs, g.sizes = l.recs[:0], g.sizes[:0]
	if !s.encrypts() {
		for i := range g.items {
			l.recs = append(l.recs, g.record(i))
		}
		return l.recs, nil
	}
	l.enc = slices.Grow(l.enc[:0], len(g.buf)+len(g.items)*atRestMost) // it is not moved below
	for i := range g.items {
		rec := g.record(i)
		if !g.items[i].control {
			start := len(l.enc)
			var err error
			if l.enc, err = s.keys.seal(l.enc, s.algorithm, c.no, rec, &l.scratch); err != nil {
				return nil, err
			}
			rec = l.enc[start:len(l.enc):len(l.enc)]
		}
		l.recs = append(l.recs, rec)
		g.sizes = append(g.sizes, uint32(len(rec)))
	}
	return l.recs, nil
}

// decrypted returns what the uplink gets of a batch that was read: n bytes of out stand
// before it.
func (s *Spool) decrypted(out []byte, n int, b wire.Batch) ([]byte, error) {
	if !isAtRest(&b.Header, b.Payload) {
		if s.cfg.EncryptedOnly && !onlyControls(b) {
			return nil, errDamaged // somebody put it there
		}
		return out, nil
	}
	inner, err := s.keys.open(b)
	if err != nil {
		return nil, err
	}
	return append(out[:n], inner...), nil
}

// onlyControls reports whether a batch is one of those that stand in the clear: its flag
// says so, and so does every section.
func onlyControls(b wire.Batch) bool {
	var o wire.Opener
	payload, err := o.Payload(b)
	if err != nil || !b.Header.Control {
		return false
	}
	for len(payload) > 0 {
		s, n, err := wire.NextSection(payload)
		if err != nil || s.Type < wire.SectionEpochOpen || s.Type > wire.SectionAnchor {
			return false
		}
		payload = payload[n:]
	}
	return true
}

// canOpen reports whether the batches of a start can be decrypted; the first time that
// they cannot it is logged.
func (s *Spool) canOpen(e wire.Epoch) bool {
	if s.late[e] { // all of a start is locked, or nothing
		return false
	}
	_, err := s.keys.secretOf(e)
	if err == nil {
		return true
	}
	if s.keys.unanswered(e) {
		s.late[e] = true
	}
	if !s.lockedSaid[e] && !s.thorough { // a repair needs no key
		s.lockedSaid[e] = true
		s.log.Error("encrypted batches cannot be opened: they stay on the card until their key is back", "epoch", e.String(), "err", err)
	}
	return false
}

// lockIn notes batches that no key opens: they stay in their chunk and are held, but do
// not show. Called with mu held, or by the recovery.
func (s *Spool) lockIn(c *chunk, st *stream, rs wire.Ranges, firstNS, lastNS int64) {
	if n := s.holdIn(c, st, rs, firstNS, lastNS); n > 0 {
		st.high = max(st.high, rs[len(rs)-1].Last)
		s.report.LockedBatches += n
	}
}

// holdIn notes batches of a chunk that are held, but do not show, and returns how many.
func (s *Spool) holdIn(c *chunk, st *stream, rs wire.Ranges, firstNS, lastNS int64) uint64 {
	if rs = rs.Subtract(st.settled); len(rs) == 0 {
		return 0
	}
	c.locked = addLoss(c.locked, wire.Loss{
		Epoch: st.id.Epoch, Lane: st.id.Lane, Shard: st.id.Shard,
		Ranges: rs, Reason: wire.ReasonQuota, FirstNS: firstNS, LastNS: lastNS,
	})
	st.lost = st.lost.Union(rs)
	s.count.Locked += rs.Count()
	return rs.Count()
}

// unlock forgets locked batches of a chunk that were settled meanwhile: an earlier start
// may have sent them. Called with mu held.
func (s *Spool) unlock(c *chunk) {
	c.locked = slices.DeleteFunc(c.locked, func(l wire.Loss) bool {
		st := s.streams[wire.Stream{Car: s.cfg.Car, Epoch: l.Epoch, Lane: l.Lane, Shard: l.Shard}]
		if st != nil && len(l.Ranges.Subtract(st.settled)) > 0 {
			return false
		}
		s.count.Locked -= l.Ranges.Count()
		return true
	})
}

var errNoSecret = errors.New("spool: key file missing or damaged")
