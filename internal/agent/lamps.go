package agent

import (
	"time"

	"periph.io/x/conn/v3/gpio"

	"telemetry/board"
	"telemetry/spool"
	"telemetry/uplink"
	"telemetry/wire"
)

// lamp is one of the board's lights.
type lamp struct {
	pin  board.Pin
	out  gpio.PinOut
	look func(now time.Duration, s spool.Stats, links []uplink.LinkSnapshot) board.Lamp
	on   bool
	set  bool // on is what the line was last given
}

// lampLooks says what lights mean, by the names that profiles give them.
var lampLooks = map[string]func(now time.Duration, s spool.Stats, links []uplink.LinkSnapshot) board.Lamp{
	"link": linkLamp, "spool": spoolLamp,
}

// openLamps opens the profile's lights. One that cannot be used stays dark.
func (b *boardCare) openLamps() {
	for _, l := range b.a.board.Profile().LEDs {
		look, ok := lampLooks[l.Name]
		if !ok {
			b.a.log.Warn("light has no meaning", "name", l.Name)
			continue
		}
		out, err := b.a.openPin(l.Pin)
		if err != nil {
			b.a.log.Error("light cannot be used", "name", l.Name, "error", err)
			continue
		}
		b.lamps = append(b.lamps, lamp{pin: l.Pin, out: out, look: look})
	}
}

// heardLately is how old the last word over a link may be for the light.
const heardLately = 5 * time.Second

// linkLamp is lit while data flows over every link, blinks slowly while it flows
// over some, and fast while it flows over none; without links it is dark.
func linkLamp(now time.Duration, _ spool.Stats, links []uplink.LinkSnapshot) board.Lamp {
	flow := 0
	for _, l := range links {
		if l.HeardNS != 0 && now-time.Duration(l.HeardNS) < heardLately {
			flow++
		}
	}
	switch {
	case len(links) == 0:
		return board.Dark
	case flow == 0:
		return board.Fast
	case flow < len(links):
		return board.Slow
	}
	return board.Lit
}

// staleBacklog is the age from which what waits in the spool is worth a light.
const staleBacklog = 10 * time.Second

// spoolLamp is lit while what is spooled goes on to the cloud, blinks slowly
// while a backlog waits, and fast while the disk does not take what it should.
func spoolLamp(now time.Duration, s spool.Stats, links []uplink.LinkSnapshot) board.Lamp {
	oldest := s.Lanes[wire.LaneFull].OldestSealedNS
	switch {
	case s.Degraded:
		return board.Fast
	case len(links) > 0 && oldest > 0 && now-time.Duration(oldest) > staleBacklog:
		return board.Slow
	}
	return board.Lit
}

// light sets the lights; one whose line fails is left as it is.
func (b *boardCare) light(now time.Duration, s spool.Stats) {
	if len(b.lamps) == 0 {
		return
	}
	links := b.r.snapshot().Links
	for i := range b.lamps {
		b.lamps[i].shine(b.lamps[i].look(now, s, links).Shines(now))
	}
}

// darken switches the lights off at the end.
func (b *boardCare) darken() {
	for i := range b.lamps {
		b.lamps[i].shine(false)
	}
}

func (l *lamp) shine(on bool) {
	if l.set && l.on == on {
		return
	}
	level := gpio.Level(on != l.pin.ActiveLow)
	l.on, l.set = on, l.out.Out(level) == nil
}
