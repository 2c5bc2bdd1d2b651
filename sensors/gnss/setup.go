package gnss

import (
	"telemetry/sensors/ubx"
)

// Timing of the talk with a u-blox receiver.
const (
	answerNS = int64(1_000_000_000)
	solveNS  = int64(3_000_000_000) // until binary solutions come
)

// setup asks a u-blox receiver for binary solutions at a rate: with the settings
// of generation 9 and later, and if it does not take them with the commands of
// those before.
type setup struct {
	stage setupStage
	at    int64 // boot time at which the stage began
	yes   bool
	no    bool
}

type setupStage uint8

const (
	setupBegin setupStage = iota
	setupValset
	setupOlder
	setupDone
)

// answered takes the receiver's answer to a command.
func (s *setup) answered(cmd ubx.ID, yes bool) {
	if s.stage == setupValset && cmd == ubx.CfgValset {
		s.yes, s.no = yes, !yes
	}
}

// step does what is due.
func (s *setup) step(r *run, now int64) error {
	if r.cfg.RateHz == 0 {
		return nil
	}
	enter := func(stage setupStage) { *s = setup{stage: stage, at: now} }
	ms := uint16(1000 / r.cfg.RateHz)
	switch s.stage {
	case setupBegin:
		enter(setupValset)
		return r.port.Write(ubx.AppendValset(nil,
			ubx.Setting{Key: ubx.KeyRateMeas, Value: uint64(ms)}, ubx.Setting{Key: ubx.KeyRateNav, Value: 1},
			ubx.Setting{Key: ubx.KeyOutUBX1, Value: 1}, ubx.Setting{Key: ubx.KeyOutUBXUSB, Value: 1},
			ubx.Setting{Key: ubx.KeyPVTUART1, Value: 1}, ubx.Setting{Key: ubx.KeyPVTUSB, Value: 1},
			ubx.Setting{Key: ubx.KeyOutNMEA1, Value: 0}, ubx.Setting{Key: ubx.KeyOutNMEAUSB, Value: 0}))
	case setupValset:
		switch {
		case s.yes:
			enter(setupDone)
		case s.no || now-s.at > answerNS:
			enter(setupOlder)
			b := ubx.AppendMessage(nil, ubx.NavPVT, 1)
			return r.port.Write(ubx.AppendRate(b, ms))
		}
	case setupOlder:
		if now-s.at > answerNS {
			enter(setupDone)
		}
	case setupDone:
		if s.at != 0 && now-s.at > solveNS {
			s.at = 0
			if r.pvtAt == 0 {
				r.count.refused.Add(1)
				r.log.Warn("receiver gives no binary solutions, sentences are taken as they come", "port", r.cfg.Port, "rate_hz", r.cfg.RateHz)
				r.event(now, "gnss_setup", "the receiver gives no NAV-PVT")
			}
		}
	}
	return nil
}
