package ingest

import (
	"encoding/hex"
	"fmt"
	"hash/crc32"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// wanted is one catalogue that a car is asked for.
type wanted struct {
	joiner   wire.CatalogueJoiner
	command  uint64 // the request under way; 0: none
	nextAt   int64  // of the next request
	sinceAt  int64
	failed   int  // answers that said no
	parts    int  // records on their way to Kafka; the catalogue is complete
	complete bool // the last step: only Kafka is waited for
}

// CatalogueKnown says that the topic of catalogues has this one, whole.
func (c *Core) CatalogueKnown(now int64, h wire.CatalogueHash) {
	if c.known[h] {
		return
	}
	c.known[h] = true
	for _, name := range sortedKeys(c.cars) {
		k := c.cars[name]
		if w := k.wanted[h]; w != nil {
			c.unwant(k, h, w)
			c.release(now, k)
		}
	}
}

// CataloguesLoaded says that everything in the topic at start has been told to
// CatalogueKnown: from now on, what is not known is asked for.
func (c *Core) CataloguesLoaded() { c.loaded = true }

// want notes that a batch of a car needs a catalogue. It is false when the car
// has too many different ones under way; other cars are not concerned.
func (c *Core) want(now int64, k *car, h wire.CatalogueHash) bool {
	if c.ready(k, h) || k.wanted[h] != nil {
		return true
	}
	if len(k.wanted) >= MaxWanted {
		return false
	}
	k.wanted[h] = &wanted{sinceAt: now, nextAt: now}
	return true
}

// requests asks the cars for what is missing. While a transfer is under way the
// same command is repeated, which the car answers only if the first was lost;
// a new command starts the transfer again.
func (c *Core) requests(now int64) {
	c.expireCommands(now)
	for _, name := range sortedKeys(c.cars) {
		k := c.cars[name]
		for h, w := range k.wanted {
			if w.complete || now < w.nextAt || !c.loaded && now-w.sinceAt < int64(loadPatience) {
				continue
			}
			c.request(now, k, h, w)
		}
	}
}

func (c *Core) request(now int64, k *car, h wire.CatalogueHash, w *wanted) {
	link, ok := k.bestLink(now)
	if !ok {
		return
	}
	if w.command == 0 {
		w.command = c.newCommand(k.name, now+int64(catalogueLife), true)
		if w.command == 0 {
			return // too many commands; later
		}
	}
	cmd := wire.Command{
		ID: w.command, NotAfterNS: k.clock(now) + int64(catalogueLife),
		Verb: "catalogue", Args: map[string]string{"hash": h.String()},
	}
	c.out.Publish = append(c.out.Publish, Publish{ctlTopic(k.name, link), wire.AppendCommand(nil, &cmd)})
	w.nextAt = now + int64(wantRetry)
	c.n.CatalogueRequests++
}

// part takes a piece of a catalogue that was asked for.
func (c *Core) part(now int64, name string, payload []byte) {
	p, err := wire.ParseCataloguePart(payload)
	if err != nil {
		c.n.Undecodable++
		return
	}
	k := c.cars[name]
	if k == nil || k.wanted[p.Hash] == nil || k.wanted[p.Hash].complete {
		c.n.CatalogueUnasked++
		return
	}
	w := k.wanted[p.Hash]
	k.heardAt = max(k.heardAt, now)
	w.nextAt = max(w.nextAt, now+int64(wantRetry))
	canonical, done, err := w.joiner.Add(p)
	if err == nil && !done {
		return
	}
	if err == nil {
		_, err = wire.ParseCatalogue(canonical)
	}
	if err == nil {
		err = c.produceCatalogue(now, k, p.Hash, w, canonical)
	}
	if err != nil {
		c.n.CatalogueErrors++
		w.joiner = wire.CatalogueJoiner{}
		c.giveUpCommand(w)
		w.nextAt = now + int64(wantRetry)
	}
}

// produceCatalogue writes a catalogue to its topic, compressed and cut by us.
// The key names the compression, so that parts of two compressions never mix.
func (c *Core) produceCatalogue(now int64, k *car, h wire.CatalogueHash, w *wanted, canonical []byte) error {
	records, err := CatalogueRecords(c.cfg.Names.Catalogues, k.name, canonical)
	if err != nil {
		return err
	}
	w.complete, w.parts = true, len(records)
	for _, r := range records {
		c.produce(now, &pending{car: k, hash: h, bytes: int64(len(r.Value)) + recordCost, rec: r})
	}
	return nil
}

// CatalogueRecords returns the records that hold a catalogue in its topic: key
// "<hash>/<crc of all parts>/<index>/<count>", each value a part of the
// compressed canonical bytes.
func CatalogueRecords(name, car string, canonical []byte) ([]topic.Record, error) {
	parts, err := wire.SplitCatalogue(canonical, wire.MaxPartBytes)
	if err != nil {
		return nil, fmt.Errorf("ingest: catalogue of %s: %w", car, err)
	}
	sum := uint32(0)
	for _, p := range parts {
		sum = crc32.Update(sum, castagnoli, p.Data)
	}
	records := make([]topic.Record, len(parts))
	for i, p := range parts {
		records[i] = topic.Record{
			Topic: name, Partition: -1, Value: p.Data,
			Key:     fmt.Appendf(nil, "%s/%08x/%d/%d", hex.EncodeToString(p.Hash[:]), sum, p.Index, p.Count),
			Headers: []topic.Header{{Key: topic.HeaderCar, Value: []byte(car)}},
		}
	}
	return records, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// catalogueProduced ends the way of one part into its topic.
func (c *Core) catalogueProduced(now int64, p *pending, err error) {
	w := p.car.wanted[p.hash]
	if w == nil {
		return // known by another way meanwhile
	}
	if err != nil { // can never be written: do not hold the data for it
		c.n.CatalogueErrors++
		c.loseCatalogue(now, p.car, p.hash, w)
		return
	}
	if w.parts--; w.parts == 0 {
		c.n.Catalogues++
		c.CatalogueKnown(now, p.hash)
	}
}

// answered takes the car's answer to a request.
func (c *Core) catalogueAnswered(now int64, k *car, id uint64, ok bool) {
	for h, w := range k.wanted {
		if w.command != id || w.complete {
			continue
		}
		c.giveUpCommand(w)
		w.nextAt = now + int64(wantAgain) // after parts that are still on their way
		if ok {
			w.failed = 0
			continue
		}
		if w.failed++; w.failed >= maxCatalogueNo {
			c.loseCatalogue(now, k, h, w)
		}
	}
}

// loseCatalogue gives a catalogue up: the car has said again and again that it
// has none. The data is kept without it, and the operator must know.
func (c *Core) loseCatalogue(now int64, k *car, h wire.CatalogueHash, w *wanted) {
	c.n.CataloguesLost++
	if len(k.lost) >= maxLost {
		clear(k.lost)
	}
	k.lost[h] = true
	c.out.Lost = append(c.out.Lost, LostCatalogue{k.name, h})
	c.unwant(k, h, w)
	c.release(now, k)
}

func (c *Core) giveUpCommand(w *wanted) {
	delete(c.commands, w.command)
	w.command = 0
}

func (c *Core) unwant(k *car, h wire.CatalogueHash, w *wanted) {
	c.giveUpCommand(w)
	delete(k.wanted, h)
}
