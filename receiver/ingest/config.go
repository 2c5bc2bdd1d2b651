package ingest

import (
	"errors"
	"fmt"
	"time"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// Config configures a [Core]. Zero limits mean the defaults beside them.
type Config struct {
	Instance string // name of this instance in acks and record headers; 1 to 64 bytes
	Nonce    uint64 // random, new at every start of the instance; not 0
	Names    topic.Names

	CarRates    Rates         // what one car may send; zero ones: DefaultCarBytes, DefaultCarPackets
	CarCredit   int64         // bytes that may wait for Kafka for one car; DefaultCarCredit
	TotalCredit int64         // bytes that may wait for Kafka in all; DefaultTotalCredit
	MaxCars     int           // cars remembered at once; DefaultMaxCars
	StallAfter  time.Duration // nothing durable for this long while something waits: stalled; DefaultStallAfter

	// Wall returns the host's time, ns since 1970, for what is measured: nothing is decided
	// by it. nil: sampled batches do not say when they came.
	Wall func() int64

	Tap Tap // told of every batch newly received; may be nil

	Shared bool // behind a Sharer: no credit while the instance leaves its share to others; set by New
}

// Defaults of [Config].
const (
	DefaultCarCredit   = 8 << 20
	DefaultTotalCredit = 64 << 20
	DefaultMaxCars     = 1000
	DefaultStallAfter  = 2 * time.Second
)

// Limits that protect the instance from a car gone wrong.
const (
	// MaxMessageBytes is what a broker should let through: a send header and
	// the largest batch, or a part of a catalogue.
	MaxMessageBytes = wire.MaxPartBytes + 4096
	// MaxStreams bounds the streams of one car: three lanes of some twenty
	// epochs that are drained at once after a long outage.
	MaxStreams = 64
	// MaxLinks bounds a car's links, by index.
	MaxLinks = 16
	// MaxGens bounds the connections of one link that are heard at once: a link
	// is redialled beside its old connection.
	MaxGens = 4
	// MaxRanges bounds the durable ranges kept of one stream. The lowest go
	// first, they have been told longest; the worst case is a duplicate.
	MaxRanges = 4096
	// MaxAckStreamRanges and MaxAckRanges bound the ranges of one set, and of
	// all of one ack, so that an ack fits a few kilobytes.
	MaxAckStreamRanges = 96
	MaxAckRanges       = 384
	// MaxWanted bounds the catalogues that one car is asked for at once.
	MaxWanted = 4
	// maxLost bounds the catalogues of one car that are given up.
	maxLost = 64
	// maxCatalogueNo is how often a car must say that it cannot send a
	// catalogue until it is believed: it also says so when it is busy.
	maxCatalogueNo = 5
	// recordCost is what a record on its way costs beside its batch: its headers, what
	// is noted of it here and what the producer keeps. Without it a car's smallest
	// batches would take twenty-five times its credit.
	recordCost = 1 << 10
	// controlRoom is kept for control records and batches without columns of
	// a car whose credit is used up.
	controlRoom = 1 << 20
	// minCredit is what a car needs to have a batch on each link.
	minCredit = 4 * wire.MaxBatchBytes
	// maxCommands bounds the commands that wait for an answer.
	maxCommands = 256
)

// Times of the protocol.
const (
	AckInterval    = 50 * time.Millisecond
	linkHeard      = 10 * time.Second // a link not heard of for longer gets no ack
	streamIdle     = 60 * time.Second // ranges of a drained stream stay this long (rule 18)
	carIdle        = 5 * time.Minute
	retryDelay     = 500 * time.Millisecond
	maxCommandLife = time.Hour
	// catalogueLife is long: a megabyte over the worst link takes minutes, and
	// the car ends a transfer whose command has expired.
	catalogueLife = 10 * time.Minute
	wantRetry     = 3 * time.Second // without a part
	wantAgain     = time.Second     // after an answer
	loadPatience  = 5 * time.Second // how long the catalogues topic may take to be read at start
)

// Tap is told of batches as they arrive, before order and duplicates of other
// instances are settled: for pages that show what is happening now.
type Tap interface {
	// Received is called by the goroutine that owns the core and must not
	// block. Raw is the sealed batch; it is never changed and may be kept.
	Received(id wire.ID, s wire.Send, raw []byte)
}

// Validate reports all faults of the configuration at once.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf("ingest: "+format, args...)) }
	if c.Instance == "" || len(c.Instance) > 64 {
		bad("instance name %q has %d bytes (want 1 to 64)", c.Instance, len(c.Instance))
	}
	if c.Nonce == 0 {
		bad("instance nonce is 0 (want a random number, new at each start)")
	}
	if c.Names.Batches == "" || c.Names.Catalogues == "" {
		bad("no topic names (use topic.NewNames)")
	}
	if c.CarCredit < 0 || c.CarCredit > 0 && c.CarCredit < minCredit {
		bad("credit of %d bytes a car (want at least %d, or 0 for %d)", c.CarCredit, minCredit, DefaultCarCredit)
	}
	if c.TotalCredit < 0 || c.TotalCredit > 0 && c.TotalCredit < c.CarCredit {
		bad("credit of %d bytes in all is below the credit of one car", c.TotalCredit)
	}
	if c.MaxCars < 0 {
		bad("%d cars at most (want a positive number, or 0 for %d)", c.MaxCars, DefaultMaxCars)
	}
	if c.CarRates.Bytes < 0 || c.CarRates.Packets < 0 {
		bad("rates of %d bytes and %d packets a second (want positive numbers, or 0 for %d and %d)", c.CarRates.Bytes, c.CarRates.Packets, DefaultCarBytes, DefaultCarPackets)
	}
	if c.StallAfter < 0 {
		bad("stalled after %v (want a positive time, or 0 for %v)", c.StallAfter, DefaultStallAfter)
	}
	return errors.Join(errs...)
}

// withDefaults returns c with every zero limit replaced.
func (c Config) withDefaults() Config {
	if c.CarRates.Bytes == 0 {
		c.CarRates.Bytes = DefaultCarBytes
	}
	if c.CarRates.Packets == 0 {
		c.CarRates.Packets = DefaultCarPackets
	}
	if c.CarCredit == 0 {
		c.CarCredit = DefaultCarCredit
	}
	if c.TotalCredit == 0 {
		c.TotalCredit = max(DefaultTotalCredit, c.CarCredit)
	}
	if c.MaxCars == 0 {
		c.MaxCars = DefaultMaxCars
	}
	if c.StallAfter == 0 {
		c.StallAfter = DefaultStallAfter
	}
	return c
}
