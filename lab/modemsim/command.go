package modemsim

import (
	"fmt"
	"strings"
	"time"
)

// command answers one command and says how long it takes.
func (m *Modem) command(cmd string) ([]string, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.heal()
	name, arg, _ := strings.Cut(cmd, "=")
	switch name {
	case "AT+CFUN":
		return m.cfun(arg)
	case "AT+CGATT":
		return m.attach(arg)
	case "AT+CGACT":
		return m.activate(arg)
	case "AT+CPIN":
		return m.pin(arg), time.Second
	case "AT!RESET", "AT+CRESET":
		return m.reset()
	}
	return m.read(cmd), 10 * time.Millisecond
}

// read answers commands that change nothing.
func (m *Modem) read(cmd string) []string {
	switch cmd {
	case "AT+CGMI":
		return []string{m.cfg.Manufacturer, "OK"}
	case "AT+CGMM":
		return []string{m.cfg.Model, "OK"}
	case "AT+CGMR":
		return []string{m.cfg.Model + "R06A03", "OK"}
	case "AT+CGSN":
		return []string{"866758040000017", "OK"}
	case "AT+CMEE?":
		return []string{"+CMEE: 1", "OK"}
	case "AT+CFUN?":
		return []string{fmt.Sprintf("+CFUN: %d", map[bool]int{true: 1, false: 4}[m.radio]), "OK"}
	case "AT+CPIN?":
		return m.sim()
	case "AT+CREG?", "AT+CGREG?":
		return []string{strings.TrimSuffix(strings.TrimPrefix(cmd, "AT"), "?") + ": " + m.registration(), "OK"}
	case "AT+C5GREG?":
		return []string{"+CME ERROR: 4"}
	case "AT+CEREG?":
		if m.fault.Cause != 0 {
			return []string{fmt.Sprintf("+CEREG: 3,2,,,,0,%d", m.fault.Cause), "OK"}
		}
		return []string{"+CEREG: " + m.registration(), "OK"}
	case "AT+CEER":
		return []string{"+CEER: No cause information available", "OK"}
	case "AT+QCCID":
		if m.fault.SIM == "absent" {
			return []string{"+CME ERROR: 10"}
		}
		return []string{"+QCCID: 8944000000000000017", "OK"}
	case "AT+COPS=3,2;+COPS?":
		return []string{`+COPS: 0,2,"26201",7`, "OK"}
	case "AT+COPS?", "AT+COPS=3,0;+COPS?":
		return []string{`+COPS: 0,0,"Simulated, Ltd",7`, "OK"}
	}
	if lines := m.signal(cmd); lines != nil {
		return lines
	}
	switch cmd {
	case "AT+QTEMP":
		return []string{fmt.Sprintf("+QTEMP: %d,40,41", max(m.fault.HotC, 45)), "OK"}
	case "AT+QGDCNT?":
		return []string{"+QGDCNT: 1000,2000", "OK"}
	}
	switch {
	case strings.HasPrefix(cmd, "AT+CGPADDR"):
		return []string{m.addresses(), "OK"}
	case strings.HasPrefix(cmd, "AT+CGCONTRDP"):
		return m.context3GPP()
	}
	return []string{"OK"}
}

// signal answers what asks for the signal; nil for any other command.
func (m *Modem) signal(cmd string) []string {
	none := m.fault.NoSignal
	switch cmd {
	case "AT+CSQ":
		if none {
			return []string{"+CSQ: 99,99", "OK"}
		}
		return []string{fmt.Sprintf("+CSQ: %d,99", max(0, min(31, (m.rsrp()+133)/2))), "OK"}
	case "AT+CESQ":
		if none {
			return []string{"+CESQ: 99,99,255,255,255,255", "OK"}
		}
		return []string{fmt.Sprintf("+CESQ: 99,99,255,255,20,%d", m.rsrp()+141), "OK"}
	case `AT+QENG="servingcell"`:
		if none {
			return []string{`+QENG: "servingcell","SEARCH"`, "OK"}
		}
		return []string{fmt.Sprintf(`+QENG: "servingcell","NOCONN","LTE","FDD",262,01,1A2B3C4,123,1300,3,5,5,00C3,%d,-11,-65,14,30`, m.rsrp()), "OK"}
	}
	return nil
}

// context3GPP answers AT+CGCONTRDP.
func (m *Modem) context3GPP() []string {
	switch {
	case !m.up():
		return []string{"OK"}
	case m.cfg.IPv6:
		return []string{fmt.Sprintf(`+CGCONTRDP: 1,5,"internet","%s.255.255.255.255.255.255.255.255.0.0.0.0.0.0.0.0","","%s","",,,,,1358`, m.ipv6(m.address), m.ipv6(53)), "OK"}
	}
	return []string{fmt.Sprintf(`+CGCONTRDP: 1,5,"internet","10.0.0.%d.255.255.255.0","10.0.0.1","10.0.0.53","10.0.0.54",,,,,1430`, m.address), "OK"}
}

// ipv6 is an address as modules write it that do not know AT+CGPIAF.
func (m *Modem) ipv6(last byte) string {
	return fmt.Sprintf("32.1.13.184.0.0.0.0.0.0.0.0.0.0.0.%d", last)
}

func (m *Modem) up() bool { return m.registered() && m.attached && m.context && !m.fault.NoContext }

func (m *Modem) addresses() string {
	if !m.up() {
		return `+CGPADDR: 1,"0.0.0.0"`
	}
	if m.cfg.IPv6 {
		return fmt.Sprintf(`+CGPADDR: 1,"%s"`, m.ipv6(m.address))
	}
	return fmt.Sprintf(`+CGPADDR: 1,"10.0.0.%d"`, m.address)
}

func (m *Modem) rsrp() int {
	if m.fault.RSRPdBm != 0 {
		return m.fault.RSRPdBm
	}
	return -92
}

func (m *Modem) registration() string {
	switch {
	case m.fault.Denied:
		return "2,3"
	case m.registered():
		return `2,1,"00C3","01A2B3C4",7`
	case m.radio:
		return "2,2"
	}
	return "2,0"
}

func (m *Modem) sim() []string {
	switch m.fault.SIM {
	case "absent":
		return []string{"+CME ERROR: 10"}
	case "failed":
		return []string{"+CME ERROR: 13"}
	case "SIM PUK":
		return []string{"+CPIN: SIM PUK", "OK"}
	}
	if m.pinLeft == 0 {
		return []string{"+CPIN: SIM PUK", "OK"}
	}
	if m.fault.SIM == "SIM PIN" || !m.unlocked {
		return []string{"+CPIN: SIM PIN", "OK"}
	}
	return []string{"+CPIN: READY", "OK"}
}

func (m *Modem) pin(arg string) []string {
	if m.fault.SIM == "SIM PIN" || arg != m.cfg.PIN {
		m.pinLeft = max(0, m.pinLeft-1)
		return []string{"+CME ERROR: 16"}
	}
	m.unlocked, m.pinLeft = true, 3
	m.regAt = time.Now().Add(m.cfg.Register)
	return []string{"OK", "+CPIN: READY"}
}

func (m *Modem) cfun(arg string) ([]string, time.Duration) {
	switch arg {
	case "1,1", "16":
		return m.reset()
	case "0", "4":
		m.radio, m.attached, m.context = false, false, false
		return []string{"OK"}, time.Second
	case "1":
		if !m.radio {
			m.radio, m.attached, m.context = true, true, true
			m.regAt = time.Now().Add(m.cfg.Register)
			m.act(Radio)
		}
		return []string{"OK"}, time.Second
	}
	return []string{"+CME ERROR: 50"}, 0
}

// reset answers, and takes the modem off its bus right after.
func (m *Modem) reset() ([]string, time.Duration) {
	m.act(Reset)
	time.AfterFunc(300*time.Millisecond, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.leaveBus(m.cfg.Boot)
	})
	return []string{"OK"}, 10 * time.Millisecond
}

func (m *Modem) attach(arg string) ([]string, time.Duration) {
	switch arg {
	case "0":
		m.attached, m.context = false, false
	case "1":
		if !m.attached {
			m.act(Reattach)
		}
		if !m.registered() {
			return []string{"+CME ERROR: 30"}, m.cfg.Attach
		}
		m.attached = true
	}
	return []string{"OK"}, m.cfg.Attach
}

func (m *Modem) activate(arg string) ([]string, time.Duration) {
	on, _, _ := strings.Cut(arg, ",")
	switch on {
	case "0":
		m.context = false
	case "1":
		if !m.context {
			m.act(Redial)
			m.address++
		}
		if !m.registered() || !m.attached || m.fault.NoContext {
			return []string{"+CME ERROR: 148"}, m.cfg.Attach
		}
		m.context = true
	}
	return []string{"OK"}, m.cfg.Attach
}
