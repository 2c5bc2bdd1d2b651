package spool

import "errors"

// Errors of the interface.
var (
	// ErrGone says that a batch was settled, dropped or superseded meanwhile.
	ErrGone = errors.New("spool: batch is gone")
	// ErrClosed says that the spool is stopping and takes nothing more.
	ErrClosed = errors.New("spool: closed")
	// ErrLocked says that another process owns the directory.
	ErrLocked = errors.New("spool: directory in use")
	// ErrOtherCar says that the directory belongs to another car.
	ErrOtherCar = errors.New("spool: directory belongs to another car")
	// ErrNewer says that a newer version wrote the directory.
	ErrNewer = errors.New("spool: written by a newer version")
	// ErrNotDurable says that batches were dropped from memory because the disk
	// could not be written.
	ErrNotDurable = errors.New("spool: batches were dropped before they were durable")
	// ErrNoCatalogue says that the spool does not hold the catalogue.
	ErrNoCatalogue = errors.New("spool: no such catalogue")
	// ErrNoKey says that something encrypted cannot be opened with what there is.
	ErrNoKey = errors.New("spool: no key")
	// ErrTooLarge says that a sealed batch exceeds its lane's limit.
	ErrTooLarge = errors.New("spool: batch too large for its lane")
)
