package modem

// Info is what a module says of itself and of its network. Numbers and texts
// that are not known are not in their maps.
type Info struct {
	Manufacturer string             `json:"manufacturer,omitempty"`
	Profile      string             `json:"profile"`
	Texts        map[string]string  `json:"texts,omitempty"`   // operator, tech, model, revision, imei, iccid
	Numbers      map[string]float64 `json:"numbers,omitempty"` // by the profile's names, "rsrp_dbm"
	SIM          string             `json:"sim"`               // "READY", "SIM PIN", "absent", "failed"; empty = unknown
	Registration int                `json:"registration"`      // 3GPP TS 27.007; the best of all domains
	Cause        int                `json:"cause,omitempty"`   // of the network's rejection, 3GPP TS 24.301; 0 = none
	Access       int                `json:"access"`            // access technology of +CREG; -1 = unknown
	Cell         uint64             `json:"cell,omitempty"`
	Area         uint64             `json:"area,omitempty"`
	Addresses    []string           `json:"addresses,omitempty"` // of the context, with "/bits" where known
	NameServers  []string           `json:"name_servers,omitempty"`
	MTU          int                `json:"mtu,omitempty"`
}

// Registered reports whether a network has taken the modem in, at home or roaming.
func (i Info) Registered() bool { return i.Registration == 1 || i.Registration == 5 }

// WithoutReadings returns i without what a radio says of the present moment: an
// old reading is none.
func (i Info) WithoutReadings() Info {
	i.Numbers, i.Cell, i.Area, i.Access = nil, 0, 0, -1
	return i
}
