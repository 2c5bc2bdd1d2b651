package agent

import (
	"math"

	"telemetry/modem/keeper"
	"telemetry/modem/ladder"
	"telemetry/wire"
)

// simNames are the states of a card by their number in the data: only appended
// to. One that is not among them is locked in some other way.
var simNames = [...]string{"READY", "SIM PIN", "SIM PUK", "absent", "failed", "locked"}

func simNumber(s string) (int64, bool) {
	for i, n := range simNames {
		if n == s {
			return int64(i), true
		}
	}
	return int64(len(simNames) - 1), s != ""
}

// registrationNames are the states of 3GPP TS 27.007.
var registrationNames = [...]string{"idle", "home", "searching", "denied", "unknown", "roaming"}

// accessNames are access technologies of 3GPP TS 27.007 by their number.
var accessNames = map[int64]string{0: "GSM", 2: "UTRAN", 3: "EGPRS", 4: "HSDPA", 5: "HSUPA", 6: "HSPA", 7: "LTE", 8: "EC-GSM", 9: "NB-IoT", 10: "LTE/5GC", 11: "NR", 12: "NG-RAN", 13: "EN-DC"}

// addModem adds a kept modem's figures to the agent's own channels. What a
// module does not say is absent from the row.
func (h *health) addModem(name string) {
	p := "modem_" + name
	h.kept = append(h.kept, name)
	add := func(key, unit, what string, scale float64, read func(*keeper.Status) (int64, bool)) *wire.Channel {
		return h.addMaybe(p+"_"+key, unit, what, scale, func(r *reading) (int64, bool) {
			st := r.modems[name]
			return read(&st)
		})
	}
	number := func(key, unit, what string, scale float64) {
		add(key, unit, what, scale, func(s *keeper.Status) (int64, bool) {
			v, ok := s.Info.Numbers[key]
			return int64(math.Round(v / scale)), ok
		})
	}
	number("rsrp_dbm", "dBm", "reference signal power", 0.1)
	number("rsrq_db", "dB", "reference signal quality", 0.1)
	number("sinr_db", "dB", "signal to noise", 0.1)
	number("temp_c", "degC", "module temperature", 1)
	number("rx_bytes", "B", "received over the radio, as the module counts", 1)
	number("tx_bytes", "B", "sent over the radio, as the module counts", 1)
	number("band", "", "number of the band", 1)
	number("plmn", "", "country and network of the operator, as 26201", 1)
	add("cell", "", "cell id", 1, func(s *keeper.Status) (int64, bool) { return int64(s.Info.Cell), s.Info.Cell != 0 })
	state := add("state", "", "where the modem stands", 1, func(s *keeper.Status) (int64, bool) { return int64(s.State), true })
	for _, st := range ladder.States() {
		state.Enum = append(state.Enum, wire.EnumValue{Raw: int64(st), Name: st.String()})
	}
	read := func(s *keeper.Status) bool { return s.Info.Profile != "" } // something answered
	reg := add("registration", "", "what the network says", 1, func(s *keeper.Status) (int64, bool) { return int64(s.Info.Registration), read(s) })
	for i, n := range registrationNames {
		reg.Enum = append(reg.Enum, wire.EnumValue{Raw: int64(i), Name: n})
	}
	add("reject_cause", "", "why the network does not take it in (TS 24.301), 0 for no reason", 1, func(s *keeper.Status) (int64, bool) { return int64(s.Info.Cause), read(s) })
	sim := add("sim", "", "state of the card", 1, func(s *keeper.Status) (int64, bool) { return simNumber(s.Info.SIM) })
	for i, n := range simNames {
		sim.Enum = append(sim.Enum, wire.EnumValue{Raw: int64(i), Name: n})
	}
	access := add("access", "", "access technology (TS 27.007)", 1, func(s *keeper.Status) (int64, bool) {
		return int64(s.Info.Access), read(s) && s.Info.Access >= 0
	})
	for raw := range int64(14) {
		if n, ok := accessNames[raw]; ok {
			access.Enum = append(access.Enum, wire.EnumValue{Raw: raw, Name: n})
		}
	}
}

// addUsage adds what the interface of a link carried.
func (h *health) addUsage(name string) {
	add := func(key, what string, of func(DataUse) uint64) {
		h.addMaybe("link_"+name+"_"+key, "B", what, 1, func(r *reading) (int64, bool) {
			u, ok := r.used(name)
			return int64(of(u)), ok
		})
	}
	add("received_month", "received by its interface this month", func(u DataUse) uint64 { return u.Received })
	add("sent_month", "sent by its interface this month", func(u DataUse) uint64 { return u.Sent })
}
