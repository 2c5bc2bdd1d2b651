package ladder

import "time"

// budgetWindow is the time over which a rung's budget counts.
const budgetWindow = time.Hour

// Limit of one rung.
type Limit struct {
	PerHour int           // actions within budgetWindow
	Proof   time.Duration // how long its effect is awaited before the next rung
}

// Config of a [Ladder]; zero fields mean the defaults.
type Config struct {
	Limits     [rungs]Limit
	Can        [rungs]bool   // what the modem and board can do; all false means everything
	Hysteresis time.Duration // without proof before anything is done (10 s)
	Settle     time.Duration // of unbroken proof before the ladder starts from the bottom again (60 s)
	FloorDBm   int           // RSRP below which the signal explains the silence (−120)
	HotC       int           // module temperature above which it is left to cool (85)
	Stuck      time.Duration // after this a disruptive rung is taken even at speed beside a good link (5 min)
	Denied     time.Duration // between two attempts after the network said no (10 min)
	Excuse     time.Duration // without a receiver before, and between, attempts that leave the module on its bus (10 min)
	Enumerate  time.Duration // a module gets this long to appear on its bus (30 s)
	Off        bool          // watch only: nothing is ever tried
	Seed       uint64        // of the jitter, up to an eighth of each wait; 0 = none
}

var defaultLimits = [rungs]Limit{
	Wait:     {PerHour: 1 << 30, Proof: 0},
	Redial:   {PerHour: 30, Proof: 15 * time.Second},
	Reattach: {PerHour: 12, Proof: 40 * time.Second},
	Radio:    {PerHour: 8, Proof: 60 * time.Second},
	Reset:    {PerHour: 6, Proof: 90 * time.Second},
	USB:      {PerHour: 4, Proof: 90 * time.Second},
	ResetPin: {PerHour: 4, Proof: 90 * time.Second},
	PowerKey: {PerHour: 3, Proof: 120 * time.Second},
}

func (c Config) withDefaults() Config {
	for r := range rungs {
		if c.Limits[r].PerHour == 0 {
			c.Limits[r].PerHour = defaultLimits[r].PerHour
		}
		if c.Limits[r].Proof == 0 {
			c.Limits[r].Proof = defaultLimits[r].Proof
		}
	}
	if c.Can == [rungs]bool{} {
		for r := range rungs {
			c.Can[r] = true
		}
	}
	set := func(d *time.Duration, def time.Duration) {
		if *d == 0 {
			*d = def
		}
	}
	set(&c.Hysteresis, 10*time.Second)
	set(&c.Settle, time.Minute)
	set(&c.Stuck, 5*time.Minute)
	set(&c.Denied, 10*time.Minute)
	set(&c.Excuse, 10*time.Minute)
	set(&c.Enumerate, 30*time.Second)
	if c.FloorDBm == 0 {
		c.FloorDBm = -120
	}
	if c.HotC == 0 {
		c.HotC = 85
	}
	return c
}
