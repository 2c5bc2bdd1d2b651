package ingest

import (
	"encoding/hex"

	"telemetry/receiver/topic"
	"telemetry/wire"
)

// catalogues is what the instance knows of catalogues: which are in the topic,
// and which it asks the cars for.
type catalogues struct {
	known  map[wire.CatalogueHash]bool
	loaded bool // the topic has been read up to its end at start
	wanted map[wire.CatalogueHash]*wanted
}

// wanted is one catalogue that is asked for, from one car at a time.
type wanted struct {
	car       string
	joiner    *wire.CatalogueJoiner
	command   uint64 // the request under way
	nextAt    int64  // of the next request
	wait      int64  // until the one after that
	sinceAt   int64
	producing bool
}

func newCatalogues() catalogues {
	return catalogues{known: map[wire.CatalogueHash]bool{}, wanted: map[wire.CatalogueHash]*wanted{}}
}

// CatalogueKnown says that the topic of catalogues has this one.
func (c *Core) CatalogueKnown(h wire.CatalogueHash) {
	c.catalogues.known[h] = true
	if w := c.catalogues.wanted[h]; w != nil && !w.producing {
		c.unwant(h, w)
	}
}

// CataloguesLoaded says that everything in the topic at start has been told to
// CatalogueKnown: from now on, what is not known is asked for.
func (c *Core) CataloguesLoaded() { c.catalogues.loaded = true }

// want notes that a batch of a car needs a catalogue.
func (c *Core) want(now int64, k *car, h wire.CatalogueHash) {
	if h == (wire.CatalogueHash{}) || c.catalogues.known[h] {
		return
	}
	if w := c.catalogues.wanted[h]; w != nil {
		if !w.producing && c.silent(now, w.car) { // another car may have it as well
			w.car, w.joiner = k.name, &wire.CatalogueJoiner{}
		}
		return
	}
	if len(c.catalogues.wanted) >= MaxWanted {
		c.n.Overflow++
		return
	}
	c.catalogues.wanted[h] = &wanted{
		car: k.name, joiner: &wire.CatalogueJoiner{}, sinceAt: now, nextAt: now, wait: int64(wantRetry),
	}
}

// silent reports whether nothing has come from a car for some time.
func (c *Core) silent(now int64, name string) bool {
	k := c.cars[name]
	return k == nil || now-k.heardAt > int64(linkHeard)
}

// requests asks for catalogues and gives up on commands that nobody answered.
func (c *Core) requests(now int64) {
	c.expireCommands(now)
	for h, w := range c.catalogues.wanted {
		if w.producing || now < w.nextAt {
			continue
		}
		if !c.catalogues.loaded && now-w.sinceAt < int64(loadPatience) {
			continue
		}
		if c.cars[w.car] == nil {
			c.unwant(h, w)
			continue
		}
		delete(c.commands, w.command)
		args := map[string]string{"hash": hex.EncodeToString(h[:])}
		id, err := c.send(now, w.car, "catalogue", args, commandLife)
		if err != nil {
			continue // no link is heard just now
		}
		c.commands[id].internal = true
		w.command, w.nextAt = id, now+w.wait
		w.wait = min(2*w.wait, int64(wantRetryMax))
		c.n.CatalogueRequests++
	}
}

// part takes a piece of a catalogue that was asked for.
func (c *Core) part(now int64, name string, payload []byte) {
	p, err := wire.ParseCataloguePart(payload)
	if err != nil {
		c.n.Undecodable++
		return
	}
	k := c.cars[name]
	w := c.catalogues.wanted[p.Hash]
	if k == nil || w == nil || w.car != name || w.producing {
		c.n.CatalogueUnasked++
		return
	}
	k.heardAt = max(k.heardAt, now)
	canonical, done, err := w.joiner.Add(p)
	if err == nil && !done {
		return
	}
	w.joiner = &wire.CatalogueJoiner{}
	if err == nil && wire.HashCatalogue(canonical) != p.Hash {
		err = errHash
	}
	if err == nil {
		_, err = wire.ParseCatalogue(canonical)
	}
	if err != nil {
		c.n.CatalogueErrors++
		return
	}
	w.producing = true
	c.produce(now, &pending{
		car: k, hash: p.Hash, bytes: int64(len(canonical)),
		rec: topic.Record{
			Topic: c.cfg.Names.Catalogues, Partition: -1,
			Key: []byte(hex.EncodeToString(p.Hash[:])), Value: canonical,
			Headers: []topic.Header{{Key: topic.HeaderCar, Value: []byte(name)}},
		},
	})
}

// catalogueProduced ends the way of a catalogue into its topic.
func (c *Core) catalogueProduced(now int64, p *pending, err error) {
	w := c.catalogues.wanted[p.hash]
	if err != nil {
		c.n.CatalogueErrors++
		if w != nil {
			w.producing, w.nextAt = false, now+int64(wantRetryMax)
		}
		return
	}
	c.n.Catalogues++
	c.catalogues.known[p.hash] = true
	if w != nil {
		c.unwant(p.hash, w)
	}
}

func (c *Core) unwant(h wire.CatalogueHash, w *wanted) {
	delete(c.commands, w.command)
	delete(c.catalogues.wanted, h)
}
