package uplink

import (
	"errors"
	"fmt"
	"slices"

	"telemetry/wire"
)

// Config says who the car is and which links it has. Every field without a
// documented zero value must be set.
type Config struct {
	Car   string
	Epoch wire.Epoch
	// Links are the car's links; a link's number on the wire is its index here.
	// New fills them from its argument.
	Links []LinkConfig
	// Seed drives the jitter of dial delays; cars should differ. Zero is a seed.
	Seed uint64
	// PartBytes is the size of a catalogue part; 0 means 8 KiB, at most 16 KiB.
	PartBytes int
	// FullShare is what the full lane gets of the bytes that go before it, in per
	// cent, so that a backlog always drains; 0 means 5, at most 50.
	FullShare int
	// Ledger keeps the budgets of metered links over restarts; nil = they begin
	// with the uplink. New alone uses it.
	Ledger *Ledger
	// Verbs are commands beside "catalogue" and "pull"; may be nil.
	Verbs map[string]Verb
}

// LinkConfig names one link and the receivers that it may dial.
type LinkConfig struct {
	Name  string
	Addrs []string // "tcp://host:port" or "tls://host:port"; at least one
	// Meter is what a link that costs money may carry.
	Meter Meter
}

// Meter limits what one link carries. The zero value limits nothing.
type Meter struct {
	// Lanes that the link may carry; empty means all.
	Lanes []wire.Lane
	// DayBytes is how much it may carry in a calendar day, as MQTT payload; 0 means
	// that there is no limit. What is above goes over the other links, or waits; the
	// critical lane may use the link also then. While no clock says which day it is,
	// 24 h count as one.
	DayBytes uint64
}

// Limits of memory and of what one peer may make the engine do.
const (
	// MaxLinks fits the link's number into the send header's byte with room to
	// spare; a car has three.
	MaxLinks = 16
	// MaxAddrs bounds the receivers of one link.
	MaxAddrs = 16

	maxCriticalFlights = 1024  // outage of minutes at a few events a second
	maxLiveFlights     = 1024  // previews live for 2 s only
	maxFullFlights     = 16384 // 30 s of loans at 500 batches a second
	maxInstances       = 16    // ingest instances remembered at once
	maxStreamsPerView  = 256   // streams of one instance whose statements are remembered
	maxWriterQueue     = 32    // sends handed to one connection and not yet taken by its socket
	maxLookahead       = 512   // items of one lane skipped in one step because they are in flight
	maxBuffers         = 16    // payload buffers kept for reuse
)

const (
	defaultPartBytes = 8 << 10
	maxPartBytes     = 16 << 10
	defaultFullShare = 5
	maxFullShare     = 50
)

// Validate reports every fault of the configuration.
func (c Config) Validate() error {
	var errs []error
	if err := wire.ValidCar(c.Car); err != nil {
		errs = append(errs, err)
	}
	if c.Epoch.Counter == 0 {
		errs = append(errs, errors.New("uplink: epoch counter is 0 (want the epoch that the spool opened)"))
	}
	if n := len(c.Links); n == 0 || n > MaxLinks {
		errs = append(errs, fmt.Errorf("uplink: %d links (want 1 to %d)", n, MaxLinks))
	}
	for i, l := range c.Links {
		if n := len(l.Addrs); n == 0 || n > MaxAddrs {
			errs = append(errs, fmt.Errorf("uplink: link %d (%s) has %d receiver addresses (want 1 to %d)", i, l.Name, n, MaxAddrs))
		}
	}
	for _, l := range c.Links {
		if slices.ContainsFunc(l.Meter.Lanes, func(l wire.Lane) bool { return !l.Valid() }) {
			errs = append(errs, fmt.Errorf("uplink: link %s may carry the lanes %v (want critical, live and full)", l.Name, l.Meter.Lanes))
		}
	}
	if c.FullShare < 0 || c.FullShare > maxFullShare {
		errs = append(errs, fmt.Errorf("uplink: a share of %d %% for the full lane (want 1 to %d, or 0 for %d)", c.FullShare, maxFullShare, defaultFullShare))
	}
	if c.PartBytes < 0 || c.PartBytes > maxPartBytes {
		errs = append(errs, fmt.Errorf("uplink: catalogue parts of %d bytes (want 1 to %d, or 0 for %d)", c.PartBytes, maxPartBytes, defaultPartBytes))
	}
	return errors.Join(errs...)
}

// Store is what the uplink needs of the spool. Next and NextIn give pending
// items in sending order (epoch order, then number); Read fails for an item that
// is no longer pending, and then Next doesn't give it either.
type Store interface {
	Next(lane wire.Lane, after wire.ID) (wire.Item, bool)
	NextIn(lane wire.Lane, after wire.ID, fromNS, toNS int64) (wire.Item, bool)
	Read(id wire.ID, dst []byte) ([]byte, error)
	Base(st wire.Stream) uint64
	Settle(st wire.Stream, durable wire.Ranges)
	Refuse(id wire.ID, why wire.Reason)
	Catalogue(h wire.CatalogueHash) ([]byte, error)
	Wake() <-chan struct{}
}

// Stamper is implemented by a [Store] that knows when sampled batches, see
// [wire.Sampled], were sealed and when they were durable, ns since boot.
type Stamper interface {
	Stamps(id wire.ID) (sealedNS, durableNS int64, ok bool)
}

// Topics of the protocol: tele/<car>/<lane>, tele/<car>/catalogue,
// tele/<car>/answer up, ctl/<car>/<link> down.
func topicLane(car string, lane wire.Lane) string { return "tele/" + car + "/" + lane.String() }
func topicCatalogue(car string) string            { return "tele/" + car + "/catalogue" }
func topicAnswer(car string) string               { return "tele/" + car + "/answer" }

// ControlTopic is where the receiver speaks to one link of a car.
func ControlTopic(car string, link int) string { return fmt.Sprintf("ctl/%s/%d", car, link) }

// ClientID is unique per link and dial, so that a connection dialled beside
// another never takes its session over.
func ClientID(car string, epoch wire.Epoch, link int, gen uint32) string {
	return fmt.Sprintf("%s-%d-%08x-%d-%d", car, epoch.Counter, uint32(epoch.Nonce>>32), link, gen)
}
