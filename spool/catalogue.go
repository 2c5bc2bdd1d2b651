package spool

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"telemetry/wire"
)

// maxCatalogueBytes bounds what is read back: 50,000 channels with long
// descriptions stay far below.
const maxCatalogueBytes = 64 << 20

// catalogueEvery is how often unused catalogues are looked for.
const catalogueEvery = time.Minute

func (s *Spool) catalogueDir() string { return filepath.Join(s.cfg.Dir, cataloguesName) }

func (s *Spool) cataloguePath(h wire.CatalogueHash) string {
	return filepath.Join(s.catalogueDir(), hex.EncodeToString(h[:]))
}

// PutCatalogue keeps a catalogue's canonical bytes until no pending batch needs
// them. When it returns they are durable. Putting the same bytes again does
// nothing. Catalogues put since Open are never removed.
func (s *Spool) PutCatalogue(canonical []byte) (wire.CatalogueHash, error) {
	h := wire.HashCatalogue(canonical)
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		return h, ErrClosed
	}
	s.putCats[h] = true
	s.tempNo++
	temp := fmt.Sprintf("%s.tmp%d", s.cataloguePath(h), s.tempNo)
	s.mu.Unlock()
	_, wrapped, err := s.catalogue(h)
	if err == nil && wrapped == s.encrypts() {
		return h, nil
	}
	if s.cfg.KeysForNow && errors.Is(err, ErrNoKey) { // older batches need it as it stands
		s.mu.Lock()
		defer s.mu.Unlock()
		s.ownCats[h] = slices.Clone(canonical)
		return h, nil
	}
	err = nil
	if s.encrypts() {
		if canonical, err = s.cfg.Keys.Wrap(canonical); err == nil {
			canonical = append([]byte(wrappedCatalogue), canonical...)
		}
	}
	if err == nil {
		err = s.writeSpared(temp, canonical)
	}
	if err == nil {
		err = s.disk.Rename(temp, s.cataloguePath(h))
	}
	if err == nil {
		err = s.disk.SyncDir(s.catalogueDir())
	}
	if err != nil {
		_ = s.disk.RemoveAll(temp) // the next start removes it otherwise
		return h, fmt.Errorf("spool: put catalogue %s: %w", h, err)
	}
	return h, nil
}

// writeSpared writes a file that a start cannot do without. On a full disk it gives the
// reserve up, unless Run is under way, whose it is.
func (s *Spool) writeSpared(name string, data []byte) error {
	write := func() error { return s.disk.Write(name, data) }
	err := write()
	if !outOfSpace(err) {
		return err
	}
	select {
	case s.owner <- struct{}{}:
		defer func() { <-s.owner }()
		return s.withSpace(write)
	default:
		return err
	}
}

// Catalogue returns the canonical bytes of a catalogue that a pending batch may
// need; ErrNoCatalogue says that the spool does not hold it, or only a damaged
// copy.
func (s *Spool) Catalogue(h wire.CatalogueHash) ([]byte, error) {
	s.mu.Lock()
	own := s.ownCats[h]
	s.mu.Unlock()
	if own != nil {
		return slices.Clone(own), nil
	}
	b, _, err := s.catalogue(h)
	return b, err
}

// wrappedCatalogue begins the file of an encrypted catalogue.
const wrappedCatalogue = "TSPC1\n"

// catalogue is Catalogue, and says whether the file is encrypted.
func (s *Spool) catalogue(h wire.CatalogueHash) (canonical []byte, wrapped bool, err error) {
	b, err := readAll(s.disk, s.cataloguePath(h), maxCatalogueBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, fmt.Errorf("%w: %s", ErrNoCatalogue, h)
	}
	if err != nil {
		return nil, false, fmt.Errorf("spool: catalogue %s: %w", h, err)
	}
	if rest, ok := bytes.CutPrefix(b, []byte(wrappedCatalogue)); ok {
		if s.cfg.Keys == nil {
			return nil, true, fmt.Errorf("%w: %s is encrypted: %w", ErrNoCatalogue, h, ErrNoKey)
		}
		if b, err = s.cfg.Keys.Unwrap(rest); err != nil {
			return nil, true, fmt.Errorf("%w: %s: %w", ErrNoCatalogue, h, err)
		}
		wrapped = true
	}
	if wire.HashCatalogue(b) != h {
		return nil, wrapped, fmt.Errorf("%w: %s is damaged", ErrNoCatalogue, h)
	}
	return b, wrapped, nil
}

// dropCatalogues removes catalogues of earlier starts that no pending batch refers
// to. Until this start has put one, nothing goes: the newest always stays. Nor while
// batches may stand on the card that do not show, as without their key: a later start
// sends them, and they name their catalogues only where they are read. Owner only.
func (s *Spool) dropCatalogues() {
	if !s.sawAll() {
		return
	}
	es, err := s.disk.ReadDir(s.catalogueDir())
	if err != nil {
		return
	}
	for _, e := range es {
		raw, err := hex.DecodeString(e.Name)
		var h wire.CatalogueHash
		if err != nil || len(raw) != len(h) {
			continue
		}
		copy(h[:], raw)
		s.mu.Lock()
		keep := len(s.putCats) == 0 || s.count.Locked > 0 || s.putCats[h] || s.cats.used(h)
		s.mu.Unlock()
		if !keep {
			_ = s.disk.RemoveAll(s.cataloguePath(h)) // the next round tries again
		}
	}
}
