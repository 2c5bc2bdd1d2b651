package config

import "time"

// maxCANRestart bounds the time after bus off; the kernel takes whole milliseconds
// in 32 bits.
const maxCANRestart = time.Hour

// Socketcan reads a network interface of the kernel's CAN.
type Socketcan struct {
	Interface     string     `yaml:"interface"`      // as ip link shows it; default can0
	Bitrate       BitRate    `yaml:"bitrate"`        // of the bus; absent: somebody else sets the interface up
	DataBitrate   BitRate    `yaml:"data_bitrate"`   // of CAN FD
	Restart       Duration   `yaml:"restart"`        // after bus off, where bitrate is set; default never
	ListenOnly    ListenOnly `yaml:"listen_only"`    // auto, true or false; default auto: where the driver can and the interface is ours to set up
	Filter        string     `yaml:"filter"`         // auto, none or dbc; default auto: ids of the DBC, unless raw or many
	ReceiveBuffer Size       `yaml:"receive_buffer"` // of the kernel; default 4MiB
	DBC           Files      `yaml:"dbc"`
	Raw           bool       `yaml:"raw"` // records every frame as it is, beside its signals
}

func (s *Socketcan) preset() {
	*s = Socketcan{Interface: "can0", ListenOnly: "auto", Filter: "auto", ReceiveBuffer: 4 << 20}
}

func (s *Socketcan) resolve(dir string) { s.DBC.resolve(dir) }

func (s *Socketcan) validate(at string, report reporter) {
	s.DBC.validate(at+".dbc", report)
	if len(s.DBC) == 0 && !s.Raw {
		report(at+".dbc", "is missing (want a DBC file, or raw: true)")
	}
	switch s.Filter {
	case "auto", "none", "dbc":
	default:
		report(at+".filter", "%q is no kind of filter (want auto, none or dbc)", s.Filter)
	}
	switch d := s.Restart.D(); {
	case d != 0 && s.Bitrate == 0:
		report(at+".restart", "needs bitrate")
	case d%time.Millisecond != 0 || d > maxCANRestart:
		report(at+".restart", "%v is no time after which the kernel restarts a controller (want whole milliseconds, at most %v; 0 is never)", d, maxCANRestart)
	}
}
