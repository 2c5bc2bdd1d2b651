package at

import (
	"errors"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"telemetry/modem"
	"telemetry/modem/keeper"
)

// table answers from a map; what is not in it is an ERROR.
func table(replies map[string][]string) func(string, io.Writer) {
	return func(cmd string, w io.Writer) {
		if r, ok := replies[cmd]; ok {
			say(w, r...)
			return
		}
		say(w, "ERROR")
	}
}

// Replies as the modules' AT manuals print them.
var modules = map[string]struct {
	replies map[string][]string
	numbers map[string]float64
	texts   map[string]string
}{
	"quectel": {
		map[string][]string{
			"AT+CGMI": {"Quectel", "OK"}, "AT+CGMM": {"EC25", "OK"},
			`AT+QENG="servingcell"`: {`+QENG: "servingcell","NOCONN","LTE","FDD",460,01,5F1EA15,12,1650,3,5,5,DE10,-100,-12,-68,11,27`, "OK"},
			"AT+QTEMP":              {"+QTEMP: 32,31,30", "OK"},
			"AT+QGDCNT?":            {"+QGDCNT: 3832,4618", "OK"},
			"AT+COPS=3,0;+COPS?":    {`+COPS: 0,0,"CHN-UNICOM",7`, "OK"},
			"AT+COPS=3,2;+COPS?":    {`+COPS: 0,2,"46001",7`, "OK"},
			"AT+QCCID":              {"+QCCID: 89860025128306012474", "OK"},
		},
		map[string]float64{"rsrp_dbm": -100, "rsrq_db": -12, "rssi_dbm": -68, "sinr_db": 11, "cell": 0x5F1EA15, "band": 3, "tac": 0xDE10, "arfcn": 1650, "pci": 12, "temp_c": 32, "plmn": 46001, "tx_bytes": 3832, "rx_bytes": 4618},
		map[string]string{"tech": "LTE", "operator": "CHN-UNICOM", "model": "EC25", "iccid": "89860025128306012474"},
	},
	"quectel 5G beside LTE": {
		map[string][]string{
			"AT+CGMI": {"Quectel", "OK"}, "AT+CGMM": {"RM500Q-GL", "OK"},
			`AT+QENG="servingcell"`: {`+QENG: "servingcell","NOCONN"`, `+QENG: "LTE","FDD",460,01,5F1EA15,12,1650,3,5,5,DE10,-99,-12,-67,11,9,230,-`, `+QENG: "NR5G-NSA",460,01,747,-71,13,-11,627264,78,12,1`, "OK"},
			"AT+QTEMP":              {`+QTEMP: "soc-thermal","41"`, "OK"},
		},
		map[string]float64{"rsrp_dbm": -99, "rsrq_db": -12, "rssi_dbm": -67, "sinr_db": 11, "cell": 0x5F1EA15, "band": 3, "tac": 0xDE10, "arfcn": 1650, "pci": 12, "temp_c": 41},
		map[string]string{"tech": "LTE", "model": "RM500Q-GL"},
	},
	"simcom": {
		map[string][]string{
			"AT+CGMI": {"SIMCOM INCORPORATED", "OK"}, "AT+CGMM": {"SIMCOM_SIM7600E", "OK"},
			"AT+CPSI?":    {"+CPSI: LTE,Online,460-11,0x5A1E,187214780,257,EUTRAN-BAND3,1850,5,5,-94,-850,-545,15", "OK"},
			"AT+CSQ":      {"+CSQ: 22,99", "OK"},
			"AT+CPMUTEMP": {"+CPMUTEMP: 29", "OK"},
		},
		map[string]float64{"rsrp_dbm": -85, "rsrq_db": -9.4, "rssi_dbm": -69, "sinr_db": 15, "cell": 187214780, "band": 3, "tac": 0x5A1E, "arfcn": 1850, "pci": 257, "temp_c": 29},
		map[string]string{"tech": "LTE", "model": "SIMCOM_SIM7600E"},
	},
	"ublox": {
		map[string][]string{
			"AT+CGMI": {"u-blox", "OK"}, "AT+CGMM": {"TOBY-L210", "OK"},
			"AT+CESQ": {"+CESQ: 99,99,255,255,20,46", "OK"}, "AT+CSQ": {"+CSQ: 99,99", "OK"},
			"AT+UGCNTRD": {"+UGCNTRD: 31,2704,1819,2724,1839", "OK"},
		},
		map[string]float64{"rsrp_dbm": -95, "rsrq_db": -10, "tx_bytes": 2724, "rx_bytes": 1839},
		map[string]string{"model": "TOBY-L210"},
	},
	"generic": {
		map[string][]string{
			"AT+CGMI": {"Acme", "OK"}, "AT+CGMM": {"Z1", "OK"},
			"AT+CESQ": {"+CESQ: 99,99,255,255,255,255", "OK"}, "AT+CSQ": {"+CSQ: 15,0", "OK"},
		},
		map[string]float64{"rssi_dbm": -83},
		map[string]string{"model": "Z1"},
	},
}

func TestModulesAreReadByTheirProfiles(t *testing.T) {
	for name, m := range modules {
		t.Run(name, func(t *testing.T) {
			replies := maps.Clone(m.replies)
			maps.Copy(replies, map[string][]string{
				"ATE0": {"OK"}, "AT+CPIN?": {"+CPIN: READY", "OK"},
				"AT+CREG?": {"+CREG: 2,2", "OK"}, "AT+CEREG?": {`+CEREG: 2,5,"5A1E","0B28A0BC",7`, "OK"},
				"AT+CGPADDR=1":   {`+CGPADDR: 1,"10.64.0.5","2001:db8::5"`, "OK"},
				"AT+CGCONTRDP=1": {`+CGCONTRDP: 1,5,"internet","10.64.0.5.255.255.255.252","10.64.0.6","10.64.0.53","10.64.0.54","","",0,0,1430`, "OK"},
			})
			bubble(t, table(replies), func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
				d := NewDriver(e, 1, Profile{})
				if err := d.Identify(t.Context()); err != nil {
					t.Fatal(err)
				}
				info, err := d.Poll(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if !strings.HasPrefix(name, info.Profile) {
					t.Errorf("profile: got %q", info.Profile)
				}
				if !maps.EqualFunc(info.Numbers, m.numbers, func(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }) {
					t.Errorf("numbers: got  %v\nwant %v", info.Numbers, m.numbers)
				}
				for k, want := range m.texts {
					if info.Texts[k] != want {
						t.Errorf("%s: got %q, want %q", k, info.Texts[k], want)
					}
				}
				if info.SIM != "READY" || info.Registration != 5 || info.Cell != 0x0B28A0BC || info.Access != 7 || info.MTU != 1430 {
					t.Errorf("state: got %+v", info)
				}
				if !slices.Equal(info.Addresses, []string{"10.64.0.5", "2001:db8::5"}) || !slices.Equal(info.NameServers, []string{"10.64.0.53", "10.64.0.54"}) {
					t.Errorf("context: got %v, name servers %v", info.Addresses, info.NameServers)
				}
			})
		})
	}
}

func TestSIMStates(t *testing.T) {
	for reply, want := range map[string]string{
		"+CPIN: READY": "READY", "+CPIN: SIM PIN": "SIM PIN", "+CME ERROR: 10": "absent", "+CME ERROR: 11": "SIM PIN",
		"+CME ERROR: 12": "SIM PUK", "+CME ERROR: 13": "failed", "+CME ERROR: 14": "", "+CME ERROR: SIM busy": "",
	} {
		lines := []string{reply}
		if strings.HasPrefix(reply, "+CPIN") {
			lines = append(lines, "OK")
		}
		bubble(t, table(map[string][]string{"AT+CPIN?": lines}), func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
			info, err := NewDriver(e, 1, Profile{}).Poll(t.Context())
			if err != nil || info.SIM != want {
				t.Errorf("%s: got %q, %v, want %q", reply, info.SIM, err, want)
			}
		})
	}
}

func TestRungsAreDoneByTheProfilesCommands(t *testing.T) {
	var sent []string
	record := func(cmd string, w io.Writer) {
		sent = append(sent, cmd)
		if cmd == "AT+CGACT=0,3" {
			say(w, "+CME ERROR: 3")
			return
		}
		say(w, "OK")
	}
	bubble(t, record, func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
		p, err := FindProfile("generic")
		if err != nil {
			t.Fatal(err)
		}
		d := NewDriver(e, 3, p)
		var re *ResultError
		if err := d.Do(t.Context(), "redial"); !errors.As(err, &re) {
			t.Errorf("a refused command is not told: %v", err)
		}
		if want := []string{"AT+CGACT=0,3", "AT+CGACT=1,3"}; !slices.Equal(sent, want) {
			t.Errorf("got %q, want %q", sent, want)
		}
		if err := d.Do(t.Context(), "reset_pin"); err == nil {
			t.Error("a rung that is no command was done")
		}
	})
}

func TestProfilesAreChecked(t *testing.T) {
	ps, err := Profiles()
	if err != nil || len(ps) < 5 {
		t.Fatalf("got %d profiles, %v", len(ps), err)
	}
	for _, p := range ps {
		for _, r := range rungsKnown {
			if len(p.Rungs[r]) == 0 {
				t.Errorf("%s cannot %s", p.Name, r)
			}
		}
		if p.Timings.BootMS == 0 || p.Timings.PowerOnMS == 0 {
			t.Errorf("%s has no timings", p.Name)
		}
	}
	for name, s := range map[string]string{
		"no name":      `{}`,
		"unknown key":  `{"name":"x","wheels":4}`,
		"unknown rung": `{"name":"x","rungs":{"jump":["AT"]}}`,
		"unknown name": `{"name":"x","reads":[{"command":"AT+X","prefix":"+X","lines":[{"values":{"speed":{"field":0}}}]}]}`,
		"unknown kind": `{"name":"x","reads":[{"command":"AT+X","prefix":"+X","lines":[{"values":{"band":{"field":0,"kind":"roman"}}}]}]}`,
		"no prefix":    `{"name":"x","reads":[{"command":"AT+X"}]}`,
	} {
		if _, err := ParseProfile([]byte(s)); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if _, err := FindProfile("abacus"); err == nil || !strings.Contains(err.Error(), "quectel") {
		t.Errorf("got %v, want an error that names quectel", err)
	}
}

// poller polls a module whose replies a test changes.
func poller(t *testing.T, replies map[string][]string, test func(poll func() modem.Info)) {
	t.Helper()
	bubble(t, table(replies), func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
		p, err := FindProfile("quectel")
		if err != nil {
			t.Fatal(err)
		}
		d := NewDriver(e, 1, p)
		test(func() modem.Info {
			info, err := d.Poll(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			return info
		})
	})
}

// A car that leaves coverage at a weak signal is not weak for ever: what the
// module does not say any more is not known.
func TestWhatIsNotSaidAgainIsForgotten(t *testing.T) {
	const serving = `AT+QENG="servingcell"`
	for name, after := range map[string][]string{
		"searching": {`+QENG: "servingcell","SEARCH"`, "OK"},
		"refused":   {"ERROR"},
		"empty":     {"OK"},
	} {
		t.Run(name, func(t *testing.T) {
			replies := map[string][]string{serving: {`+QENG: "servingcell","NOCONN","LTE","FDD",460,01,5F1EA15,12,1650,3,5,5,DE10,-125,-12,-68,11,27`, "OK"}}
			poller(t, replies, func(poll func() modem.Info) {
				if v := poll().Numbers["rsrp_dbm"]; v != -125 {
					t.Fatalf("rsrp: got %v", v)
				}
				replies[serving] = after
				info := poll()
				for _, n := range []string{"rsrp_dbm", "sinr_db", "band", "cell"} {
					if v, ok := info.Numbers[n]; ok {
						t.Errorf("%s is still %v", n, v)
					}
				}
				if info.Texts["tech"] != "" {
					t.Errorf("tech is still %q", info.Texts["tech"])
				}
			})
		})
	}
}

// Without AT+CGPIAF a module writes IPv6 as sixteen decimals.
func TestAddressesOfACarrierWithoutIPv4(t *testing.T) {
	replies := map[string][]string{
		"AT+CGPADDR=1":   {`+CGPADDR: 1,"0.0.0.0","32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.5"`, "OK"},
		"AT+CGCONTRDP=1": {`+CGCONTRDP: 1,5,"internet","32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.5.255.255.255.255.255.255.255.255.0.0.0.0.0.0.0.0","","32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.83","","","",0,0,1358`, "OK"},
	}
	poller(t, replies, func(poll func() modem.Info) {
		info := poll()
		if !slices.Equal(info.Addresses, []string{"2001:db8::5"}) || !slices.Equal(info.NameServers, []string{"2001:db8::53"}) || info.MTU != 1358 {
			t.Errorf("got %v, name servers %v, MTU %d", info.Addresses, info.NameServers, info.MTU)
		}
	})
	for s, want := range map[string]string{
		"10.0.0.2": "10.0.0.2", "10.0.0.2.255.255.255.0": "10.0.0.2", "2001:db8::5/64": "2001:db8::5", "254.128.0.0.0.0.0.0.0.0.0.0.0.0.0.1": "fe80::1",
		"0.0.0.0": "", "::": "", "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0": "", "": "", "1.2.3": "", "1.2.3.256": "", "a.b.c.d": "", "::ffff:10.0.0.2": "10.0.0.2",
	} {
		a, ok := parseAddress(s)
		if got := a.String(); ok != (want != "") || (ok && got != want) {
			t.Errorf("%q: got %q, %v, want %q", s, got, ok, want)
		}
	}
}

func TestSetupAsksForAddressesThatCanBeRead(t *testing.T) {
	ps, err := Profiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range ps {
		if !slices.Contains(p.Setup, "AT+CGPIAF=1,1,0,1") {
			t.Errorf("%s does not set the format of addresses", p.Name)
		}
	}
}

func TestRejectionSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		cereg, ceer string
		want        int
	}{
		"with its state":         {"+CEREG: 3,2,,,,0,11", "", 11},
		"other kind of cause":    {"+CEREG: 3,2,,,,1,11", "", 0},
		"asked, it has given up": {"+CEREG: 2,0", "+CEER: EMM DETACHED, PLMN not allowed", 11},
		"asked, it is denied":    {"+CEREG: 2,3", "+CEER: Illegal ME", 6},
		"it searches":            {"+CEREG: 2,2", "+CEER: PLMN not allowed", 0},
		"registered":             {`+CEREG: 3,1,"00C3","01A2B3C4",7,0,8`, "+CEER: PLMN not allowed", 0},
		"nothing is known":       {"+CEREG: 2,0", "+CEER: No cause information available", 0},
	} {
		t.Run(name, func(t *testing.T) {
			poller(t, map[string][]string{"AT+CEREG?": {c.cereg, "OK"}, "AT+CEER": {c.ceer, "OK"}}, func(poll func() modem.Info) {
				if got := poll().Cause; got != c.want {
					t.Errorf("got cause %d, want %d", got, c.want)
				}
			})
		})
	}
}

func TestAWrongPINIsToldFromACardThatDidNotLook(t *testing.T) {
	for reply, want := range map[string]bool{"+CME ERROR: 16": true, "+CME ERROR: 12": true, "ERROR": true, "+CME ERROR: 14": false, "+CME ERROR: 10": false, "OK": false} {
		bubbleControl(t, map[string][]string{"AT+CPIN=1234": {reply}}, Settings{}, func(t *testing.T, c *Control, _ *[]string) {
			if err := c.Unlock(t.Context(), "1234"); errors.Is(err, keeper.ErrRefused) != want {
				t.Errorf("%s: got %v", reply, err)
			}
		})
	}
}

// bubbleControl gives a test a control of a module that answers from a map, and
// what was sent.
func bubbleControl(t *testing.T, replies map[string][]string, set Settings, test func(*testing.T, *Control, *[]string)) {
	t.Helper()
	var sent []string
	answer := table(replies)
	record := func(cmd string, w io.Writer) {
		sent = append(sent, cmd)
		answer(cmd, w)
	}
	bubble(t, record, func(t *testing.T, e *Engine, _ *[]string, _ net.Conn) {
		test(t, &Control{set: set, eng: e, drv: NewDriver(e, 1, Profile{}), changed: make(chan struct{}, 1)}, &sent)
	})
}

func TestAWatchedModemIsOnlyRead(t *testing.T) {
	ok := map[string][]string{"ATE0": {"OK"}, "AT+CGMI": {"Acme", "OK"}, "AT+CFUN?": {"+CFUN: 4", "OK"}}
	for _, watch := range []bool{false, true} {
		bubbleControl(t, ok, Settings{CID: 1, APN: "internet", Watch: watch}, func(t *testing.T, c *Control, sent *[]string) {
			if err := c.BringUp(t.Context()); err != nil {
				t.Fatal(err)
			}
			changes := slices.ContainsFunc(*sent, func(s string) bool { return strings.HasPrefix(s, "AT+CGDCONT=") || strings.HasPrefix(s, "AT+CFUN=") })
			if changes == watch {
				t.Errorf("watched %v: sent %q", watch, *sent)
			}
		})
	}
}

// Polling must not take the module's time from its data: while all is well most
// polls ask for the signal alone, and a code brings the whole picture at once.
func TestPollingIsSparingWhileAllIsWell(t *testing.T) {
	replies := map[string][]string{
		"ATE0": {"OK"}, "AT+CGMI": {"Quectel", "OK"}, "AT+CGMM": {"EC25", "OK"}, "AT+CPIN?": {"+CPIN: READY", "OK"},
		"AT+CEREG?": {`+CEREG: 2,1,"00C3","01A2B3C4",7`, "OK"}, "AT+CGPADDR=1": {`+CGPADDR: 1,"10.0.0.2"`, "OK"}, "AT+CGCONTRDP=1": {"OK"},
		`AT+QENG="servingcell"`: {`+QENG: "servingcell","NOCONN","LTE","FDD",262,01,1A2B3C4,123,1300,3,5,5,00C3,-92,-11,-65,14,30`, "OK"},
	}
	bubbleControl(t, replies, Settings{CID: 1}, func(t *testing.T, c *Control, sent *[]string) {
		if err := c.BringUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		poll := func(n int) (commands, whole int) {
			before := len(*sent)
			for range n {
				if info, err := c.Poll(t.Context()); err != nil || info.Numbers["rsrp_dbm"] != -92 || info.SIM != "READY" || len(info.Addresses) != 1 {
					t.Fatalf("got %+v, %v", info, err)
				}
			}
			for _, s := range (*sent)[before:] {
				if s == "AT+CPIN?" {
					whole++
				}
			}
			return len(*sent) - before, whole
		}
		poll(1)
		if commands, whole := poll(60); commands > 3*60 || whole != 60/(calmPolls+1) {
			t.Errorf("%d commands in 60 polls, %d times everything", commands, whole)
		}
		c.urc(ParseLine("+CGEV: NW PDN DEACT 1"))
		if _, whole := poll(1); whole != 1 {
			t.Error("a code brings no whole picture")
		}
		replies["AT+CEREG?"] = []string{"+CEREG: 2,2", "OK"}
		c.urc(ParseLine("+CEREG: 2"))
		for range 3 { // not well: everything each time
			before := len(*sent)
			if info, err := c.Poll(t.Context()); err != nil || info.Registration != 2 {
				t.Fatalf("got %+v, %v", info, err)
			}
			if !slices.Contains((*sent)[before:], "AT+CPIN?") {
				t.Errorf("sent %q", (*sent)[before:])
			}
		}
	})
}

// A module that starts anew behind a UART has forgotten access point and setup.
func TestAModuleThatBeganAnewIsSetUpAgain(t *testing.T) {
	replies := map[string][]string{"ATE0": {"OK"}, "AT+CFUN?": {"+CFUN: 1", "OK"}, `AT+CGDCONT=1,"IPV4V6","internet"`: {"OK"}}
	bubbleControl(t, replies, Settings{CID: 1, APN: "internet"}, func(t *testing.T, c *Control, sent *[]string) {
		if err := c.BringUp(t.Context()); err != nil {
			t.Fatal(err)
		}
		poll := func() (defined int) {
			before := len(*sent)
			if _, err := c.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			return count(*sent, before, `AT+CGDCONT=1,"IPV4V6","internet"`)
		}
		c.urc(ParseLine("RDY")) // still of the first start
		if poll() != 0 {
			t.Error("set up again at once")
		}
		time.Sleep(beganAgain)
		if n := poll(); n != 1 {
			t.Errorf("it began anew: defined %d times, want once", n)
		}
		time.Sleep(beganAgain)
		if poll() != 0 {
			t.Error("set up again without a reason")
		}
	})
}

func count(all []string, from int, want string) (n int) {
	for _, s := range all[from:] {
		if s == want {
			n++
		}
	}
	return n
}
