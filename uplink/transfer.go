package uplink

import (
	"encoding/hex"
	"fmt"
	"slices"

	"telemetry/wire"
)

// sendCatalogue begins or takes over the transfer of a catalogue; the answer
// follows the last part.
func (e *Engine) sendCatalogue(c *command, cmd *wire.Command) (map[string]string, error) {
	raw, err := hex.DecodeString(cmd.Args["hash"])
	var h wire.CatalogueHash
	if err != nil || len(raw) != len(h) {
		return nil, fmt.Errorf("argument hash is %q (want %d hexadecimal digits)", cmd.Args["hash"], 2*len(h))
	}
	copy(h[:], raw)
	t := e.ctl.transfer(h)
	if t == nil {
		return nil, fmt.Errorf("%w: %d catalogues are on their way", ErrBusy, maxTransfers)
	}
	if t.cmd != nil { // the newest command takes it over where it stands
		t.cmd.answer = &wire.Answer{ID: t.cmd.id, Error: "a newer command took the transfer over"}
		t.cmd, t.left = c, len(t.parts)
		return nil, ErrPending
	}
	if err := e.load(t); err != nil {
		return nil, err
	}
	t.cmd, t.left = c, len(t.parts)
	t.next %= len(t.parts)
	return nil, ErrPending
}

// transfer returns the transfer of h; an idle one makes room for a new one.
func (c *control) transfer(h wire.CatalogueHash) *transfer {
	for _, t := range c.transfers {
		if t.hash == h {
			return t
		}
	}
	if len(c.transfers) >= maxTransfers {
		i := slices.IndexFunc(c.transfers, func(t *transfer) bool { return t.cmd == nil })
		if i < 0 {
			return nil
		}
		c.transfers = slices.Delete(c.transfers, i, i+1)
	}
	t := &transfer{hash: h}
	c.transfers = append(c.transfers, t)
	return t
}

// load cuts the catalogue into messages.
func (e *Engine) load(t *transfer) error {
	canonical, err := e.store.Catalogue(t.hash)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoCatalogue, err)
	}
	parts, err := wire.SplitCatalogue(canonical, e.cfg.PartBytes)
	if err != nil {
		return fmt.Errorf("catalogue %s: %w", t.hash, err)
	}
	for i := range parts {
		t.parts = append(t.parts, wire.AppendCataloguePart(nil, &parts[i]))
	}
	t.bytes = len(canonical)
	return nil
}

// pause ends what a transfer does now and keeps its place.
func (t *transfer) pause() { t.cmd, t.parts, t.left = nil, nil, 0 }
