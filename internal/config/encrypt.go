package config

import (
	"fmt"
	"strings"
)

// Encrypt says who can read what stands on the card. Without it the card is in the clear.
type Encrypt struct {
	Identity   string   `yaml:"identity"`   // age identity file of the box, as `edgeagent spool keygen` makes it; not on the card
	Recipients []string `yaml:"recipients"` // age recipients that may read the card too, as the pit's: "age1…"
	Only       bool     `yaml:"only"`       // batches in the clear count as damaged; default false
}

func (e *Encrypt) validate(path string, report func(path, format string, args ...any)) {
	if e == nil {
		return
	}
	if e.Identity == "" {
		report(path+".identity", "is missing (want an age identity file: `edgeagent spool keygen` makes one)")
	}
	for i, r := range e.Recipients {
		if !strings.HasPrefix(r, "age1") || strings.Trim(r[4:], "023456789acdefghjklmnpqrstuvwxyz") != "" || len(r) < 60 {
			report(fmt.Sprintf("%s.recipients[%d]", path, i), "%q is no age recipient (want age1…, as age-keygen -y prints it)", r)
		}
	}
}
