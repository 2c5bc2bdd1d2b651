package slcan

import (
	"strings"
	"testing"
)

func TestFirmwareAnswersAsItsManualSays(t *testing.T) {
	const open = "S6\rO\r"
	cases := map[string]struct {
		firmware Firmware
		commands string
		want     string // answers to all of them
		sent     int    // frames on the bus
	}{
		"open without a bit rate":      {Lawicel, "O\rL\r", "\a\a", 0},
		"open, and again":              {Lawicel, "S6\rO\rO\r", "\r\r\a", 0},
		"close what is closed":         {Lawicel, "C\rS8\rO\rC\rC\r", "\a\r\r\r\a", 0},
		"as python-can begins":         {Lawicel, "C\rS8\r\rO\rO\r", "\a\r\a\r\a", 0},
		"bit rate while open":          {Lawicel, open + "S5\r", "\r\r\a", 0},
		"bit rates that are none":      {Lawicel, "S9\rS\rSA\rs031C\rs03\r", "\a\a\a\r\a", 0},
		"stamps":                       {Lawicel, "Z1\rZ0\rZ2\r" + open + "Z1\r", "\r\r\a\r\r\a", 0},
		"stamps of µs":                 {LawicelFD, "Z2\rZ3\r", "\r\a", 0},
		"status":                       {Lawicel, "F\r" + open + "F\r", "\a\r\rF00\r", 0},
		"version and serial number":    {Lawicel, "V\rN\r", "V1013\rNA123\r", 0},
		"filters":                      {Lawicel, "M00000000\rmFFFFFFFF\rM0\r", "\r\r\a", 0},
		"unknown commands":             {Lawicel, "Q1\rhello\r", "\a\a", 0},
		"a command without an end":     {Lawicel, strings.Repeat("x", maxCommand+1) + "V\r", "\aV1013\r", 0},
		"transmit":                     {Lawicel, open + "t1232AABB\rT18FEF1003010203\rr1234\rR0000000F0\r", "\r\rz\rZ\rz\rZ\r", 4},
		"transmit when closed":         {Lawicel, "t1230\r", "\a", 0},
		"transmit in listen-only":      {Lawicel, "S6\rL\rt1230\r", "\r\r\a", 0},
		"transmit what is no frame":    {Lawicel, open + "t8000\rt1232AA\rt123\rt1239\rT200000000\rr12300\r", "\r\r\a\a\a\a\a\a", 0},
		"fd without fd":                {Lawicel, open + "d1230\rY2\r", "\r\r\a\a", 0},
		"fd":                           {LawicelFD, "Y2\rY3\r" + open + "d1239" + strings.Repeat("AB", 12) + "\rB0000000F0\r", "\r\a\r\rz\rZ\r", 2},
		"firmware that answers little": {CANable, "S6\rM0\rO\rt1230\rF\rN\r", "", 1},
		"its version, and silence":     {CANable, "V\rS6\rM1\rO\rt1230\r", identityGit, 0},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDevice(c.firmware, "")
			var got strings.Builder
			for i := range len(c.commands) {
				got.WriteString(d.input(c.commands[i]))
			}
			if got.String() != c.want || len(d.sent) != c.sent {
				t.Errorf("%q: got %q and %d frames, want %q and %d", c.commands, got.String(), len(d.sent), c.want, c.sent)
			}
		})
	}
}

func TestStatusIsClearedByReading(t *testing.T) {
	d := newDevice(Lawicel, "")
	var got strings.Builder
	for _, c := range []byte("S6\rO\r") {
		d.input(c)
	}
	d.status = statusRXFull | statusOverrun
	for _, c := range []byte("F\rF\r") {
		got.WriteString(d.input(c))
	}
	if got.String() != "F09\rF00\r" {
		t.Errorf("got %q, want F09 and then F00", got.String())
	}
}
