package uplink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Ledger is a file that keeps what metered links have carried today, by the name
// of the link. What is counted in the last [ledgerEvery] before a loss of power is
// not in it.
type Ledger struct {
	// Path of the file; its folder must exist.
	Path string
	// Today returns the calendar day in days since 1970-01-01, 0 while the clock
	// is not set; nil means the system's clock and time zone.
	Today func() int64
	// Write replaces the file durably: after a crash there is the old one or the
	// new one. Once power is going it must refuse, for Run writes a last time when
	// it ends. nil means that the ledger does it itself, whatever happens.
	Write func(path string, b []byte) error
}

const (
	ledgerEvery = 10 * time.Second
	maxLedger   = 64 << 10 // bytes of the file
	// firstYear is one that no clock shows which was never set.
	firstYear = 2025
)

// systemDay returns today in the system's time zone.
func systemDay() int64 {
	t := time.Now()
	if t.Year() < firstYear {
		return 0
	}
	_, offset := t.Zone()
	return (t.Unix() + int64(offset)) / 86400
}

func (l *Ledger) today() int64 {
	if l.Today != nil {
		return l.Today()
	}
	return systemDay()
}

// load reads the file; one that isn't there is empty.
func (l *Ledger) load() (map[string]Spent, error) {
	b, err := os.ReadFile(l.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("uplink: budgets: %w", err)
	case len(b) > maxLedger:
		return nil, fmt.Errorf("uplink: budgets: %s has %d bytes (limit %d)", l.Path, len(b), maxLedger)
	}
	var all map[string]Spent
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("uplink: budgets: %s: %w", l.Path, err)
	}
	return all, nil
}

// save replaces the file.
func (l *Ledger) save(all map[string]Spent) (err error) {
	b, err := json.Marshal(all)
	if err != nil {
		return fmt.Errorf("uplink: budgets: %w", err)
	}
	if l.Write != nil {
		if err := l.Write(l.Path, b); err != nil {
			return fmt.Errorf("uplink: budgets: %w", err)
		}
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(l.Path), filepath.Base(l.Path)+".*")
	if err != nil {
		return fmt.Errorf("uplink: budgets: %w", err)
	}
	_, err = f.Write(b)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), l.Path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("uplink: budgets: %w", err), os.Remove(f.Name()))
	}
	return nil
}

// recall gives the engine what the ledger knows.
func (u *Uplink) recall() {
	if u.cfg.Ledger == nil {
		return
	}
	all, err := u.cfg.Ledger.load()
	if err != nil {
		u.log.Warn("budgets of metered links begin anew", "error", err)
	}
	for i, l := range u.links {
		u.engine.Spend(i, all[l.Name])
	}
	u.engine.Day(u.cfg.Ledger.today())
}

// spent copies what the engine has counted, for the keeper. It tells the engine
// the day too.
func (u *Uplink) spent() map[string]Spent {
	u.engine.Day(u.cfg.Ledger.today())
	all := map[string]Spent{}
	for i, l := range u.links {
		all[l.Name] = u.engine.Spent(i)
	}
	return all
}

// keep writes the ledger now and then, and at the end; it ends with ctx. A disk
// that hangs holds up nothing else.
func (u *Uplink) keep(ctx context.Context) {
	t := time.NewTicker(ledgerEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return // the loop writes the last one
		}
		reply := make(chan map[string]Spent, 1)
		u.post(func(u *Uplink, _ int64) { reply <- u.spent() })
		select {
		case all := <-reply:
			u.record(all)
		case <-u.done:
			return
		}
	}
}

func (u *Uplink) record(all map[string]Spent) {
	if err := u.cfg.Ledger.save(all); err != nil {
		u.log.Warn("budgets of metered links are not kept", "error", err)
	}
}
