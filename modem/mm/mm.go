// Package mm keeps modems that ModemManager owns: the same state, the same
// means of recovery as over an AT port, spoken over D-Bus.
//
// The entry point is [NewControl]. The package starts no service and touches no
// port: on a board it is either ModemManager or an AT port of our own, never
// both.
package mm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"telemetry/modem"
	"telemetry/modem/keeper"
)

// Names of ModemManager's D-Bus API (its reference manual, 1.20).
const (
	Service    = "org.freedesktop.ModemManager1"
	Root       = "/org/freedesktop/ModemManager1"
	ifModem    = Service + ".Modem"
	if3GPP     = Service + ".Modem.Modem3gpp"
	ifSimple   = Service + ".Modem.Simple"
	ifSignal   = Service + ".Modem.Signal"
	ifBearer   = Service + ".Bearer"
	ifSim      = Service + ".Sim"
	ifLocation = Service + ".Modem.Location"
	signalRate = 1 // seconds between two signal readings of ModemManager
)

// Object is one object's properties, by interface and name, as plain Go values.
type Object map[string]map[string]any

// Bus is what is needed of D-Bus.
type Bus interface {
	// Objects returns the service's objects by path.
	Objects(ctx context.Context) (map[string]Object, error)
	// Call calls a method and waits for its end; what it returns is dropped.
	Call(ctx context.Context, path, method string, args ...any) error
	// Changed receives a value when any object's property changed.
	Changed() <-chan struct{}
	// Run serves the connection until ctx ends or it breaks.
	Run(ctx context.Context) error
}

// Settings of one modem.
type Settings struct {
	Device  string // its sysfs path, USB place ("1-1.2"), IMEI, or primary port; empty: the only one
	APN     string
	PDPType string // "IP", "IPV6" or "IPV4V6" (default)
	User    string
	Pass    string
	Watch   bool // read only: the modem is not enabled
}

// Control is a modem behind ModemManager, for the keeper.
type Control struct {
	set Settings
	bus Bus

	calls, failures atomic.Uint64
	mu              sync.Mutex
	log             []string // guarded by mu: newest calls
}

var _ keeper.Control = (*Control)(nil)

// maxLog bounds the transcript.
const maxLog = 100

// NewControl returns the control of the modem that set names, over bus.
func NewControl(bus Bus, set Settings) *Control { return &Control{set: set, bus: bus} }

// Run serves the bus until ctx ends or the connection breaks.
func (c *Control) Run(ctx context.Context) error { return c.bus.Run(ctx) }

// ErrNotThere says that ModemManager runs but has no such modem.
var ErrNotThere = errors.New("mm: ModemManager has no such modem (mmcli -L lists what it has)")

// find returns the modem's path and all objects.
func (c *Control) find(ctx context.Context) (path string, all map[string]Object, err error) {
	all, err = c.bus.Objects(ctx)
	switch {
	case errors.Is(err, keeper.ErrGone):
		return "", nil, fmt.Errorf("mm: list modems: %w", err)
	case err != nil: // not there, hung, or not ours to ask: in no case the modem's fault
		return "", nil, fmt.Errorf("%w: ModemManager does not answer: %w", keeper.ErrNoService, err)
	}
	var paths []string
	for p, o := range all {
		if o[ifModem] != nil && c.is(o) {
			paths = append(paths, p)
		}
	}
	slices.Sort(paths)
	switch {
	case len(paths) == 0:
		return "", all, ErrNotThere
	case len(paths) > 1:
		return "", all, fmt.Errorf("mm: %d modems match %q: name one by its USB place or IMEI", len(paths), c.set.Device)
	}
	return paths[0], all, nil
}

// is reports whether o is the modem that the settings name.
func (c *Control) is(o Object) bool {
	want := c.set.Device
	m := o[ifModem]
	dev := text(m, "Device")
	return want == "" || dev == want || strings.HasSuffix(dev, "/"+want) ||
		text(m, "EquipmentIdentifier") == want || text(m, "PrimaryPort") == want
}

func text(m map[string]any, k string) string { s, _ := m[k].(string); return s }

func number(m map[string]any, k string) (float64, bool) {
	switch v := m[k].(type) {
	case int32:
		return float64(v), true
	case uint32:
		return float64(v), true
	case int64:
		return float64(v), true
	case uint64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

func (c *Control) call(ctx context.Context, path, method string, args ...any) error {
	c.calls.Add(1)
	err := c.bus.Call(ctx, path, method, args...)
	note := "> " + strings.TrimPrefix(method, Service+".")
	if err != nil {
		c.failures.Add(1)
		note += ": " + err.Error()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.log = append(c.log, note); len(c.log) > maxLog {
		c.log = c.log[1:]
	}
	if err != nil {
		return fmt.Errorf("mm: %s: %w", strings.TrimPrefix(method, Service+"."), err)
	}
	return nil
}

// Timeouts of calls, by what they do.
const (
	quick   = 5 * time.Second
	network = 150 * time.Second
)

func (c *Control) within(ctx context.Context, d time.Duration, path, method string, args ...any) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return c.call(ctx, path, method, args...)
}

// BringUp enables the modem and asks for signal readings and its cell.
func (c *Control) BringUp(ctx context.Context) error {
	p, _, err := c.find(ctx)
	if err != nil || c.set.Watch {
		return err
	}
	if err := c.within(ctx, network, p, ifModem+".Enable", true); err != nil {
		return err
	}
	_ = c.within(ctx, quick, p, ifSignal+".Setup", uint32(signalRate)) // modems without extended signal refuse it
	_ = c.within(ctx, quick, p, ifLocation+".Setup", uint32(locationCell), true)
	return nil
}

// Poll reads the modem's state from ModemManager.
func (c *Control) Poll(ctx context.Context) (modem.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, quick)
	defer cancel()
	info := modem.Info{Profile: "modemmanager", Access: -1, Texts: map[string]string{}, Numbers: map[string]float64{}}
	p, all, err := c.find(ctx)
	if err != nil {
		return info, err
	}
	m, g := all[p][ifModem], all[p][if3GPP]
	info.Manufacturer = text(m, "Manufacturer")
	for k, v := range map[string]string{
		"model": text(m, "Model"), "revision": text(m, "Revision"), "imei": text(m, "EquipmentIdentifier"), "operator": text(g, "OperatorName"),
	} {
		if v != "" {
			info.Texts[k] = v
		}
	}
	info.SIM = simState(m)
	info.Registration = registration(g)
	if why, ok := g["NetworkRejection"].(map[string]any); ok && !info.Registered() { // since 1.24; its numbers are the standard's
		code, _ := number(why, "error")
		info.Cause = int(code)
	}
	if code, err := strconv.Atoi(text(g, "OperatorCode")); err == nil {
		info.Numbers["plmn"] = float64(code)
	}
	if id := text(all[text(m, "Sim")][ifSim], "SimIdentifier"); id != "" {
		info.Texts["iccid"] = id
	}
	signal(all[p][ifSignal], &info)
	location(all[p][ifLocation], &info)
	if bearers, ok := m["Bearers"].([]string); ok {
		for _, b := range bearers {
			address(all[b][ifBearer], &info)
		}
	}
	return info, nil
}

// locationCell is MM_MODEM_LOCATION_SOURCE_3GPP_LAC_CI: the serving cell.
const locationCell = 1

// location takes the serving cell: country, network, area, cell and tracking
// area, the last three in hexadecimal.
func location(l map[string]any, info *modem.Info) {
	where, _ := l["Location"].(map[uint32]any)
	cell, _ := where[locationCell].(string)
	f := strings.Split(cell, ",")
	if len(f) < 4 {
		return
	}
	if v, err := strconv.ParseUint(f[3], 16, 64); err == nil {
		info.Cell = v
	}
	for _, area := range f[4:] {
		if v, err := strconv.ParseUint(area, 16, 64); err == nil {
			info.Area = v
		}
	}
}

// simState follows MMModemLock and the failed state's reason.
func simState(m map[string]any) string {
	if st, ok := number(m, "State"); ok && st == -1 {
		if why, _ := number(m, "StateFailedReason"); why == 2 { // MM_MODEM_STATE_FAILED_REASON_SIM_MISSING
			return "absent"
		}
		return "failed"
	}
	lock, _ := number(m, "UnlockRequired")
	switch lock {
	case 1: // none
		return "READY"
	case 2:
		return "SIM PIN"
	case 4:
		return "SIM PUK"
	case 3, 5: // PIN2 and PUK2 do not hold up data
		return "READY"
	case 0:
		return ""
	}
	return "PH-LOCK"
}

// registration maps MMModem3gppRegistrationState, which follows 3GPP TS 27.007
// up to roaming; emergency-only counts as searching.
func registration(g map[string]any) int {
	v, ok := number(g, "RegistrationState")
	switch {
	case !ok:
		return 0
	case v <= 5:
		return int(v)
	case v == 6 || v == 9: // home, SMS only or CSFB not preferred
		return 1
	case v == 7 || v == 10:
		return 5
	}
	return 2
}

// signal takes the newest technology that has readings.
func signal(s map[string]any, info *modem.Info) {
	for _, tech := range []string{"Nr5g", "Lte"} {
		v, ok := s[tech].(map[string]any)
		if !ok || len(v) == 0 {
			continue
		}
		info.Texts["tech"] = strings.ToUpper(tech)
		for from, to := range map[string]string{"rsrp": "rsrp_dbm", "rsrq": "rsrq_db", "snr": "sinr_db", "rssi": "rssi_dbm"} {
			if x, ok := number(v, from); ok && x > -32768 {
				info.Numbers[to] = x
			}
		}
		return
	}
}

// address takes what a connected bearer got.
func address(b map[string]any, info *modem.Info) {
	if up, _ := b["Connected"].(bool); !up {
		return
	}
	if stats, ok := b["Stats"].(map[string]any); ok {
		for from, to := range map[string]string{"rx-bytes": "rx_bytes", "tx-bytes": "tx_bytes"} {
			if v, ok := number(stats, from); ok {
				info.Numbers[to] = v
			}
		}
	}
	for _, k := range []string{"Ip4Config", "Ip6Config"} {
		v, _ := b[k].(map[string]any)
		if a := text(v, "address"); a != "" {
			if bits, ok := number(v, "prefix"); ok {
				a += "/" + strconv.Itoa(int(bits))
			}
			info.Addresses = append(info.Addresses, a)
		}
		for _, d := range []string{"dns1", "dns2"} {
			if s := text(v, d); s != "" {
				info.NameServers = append(info.NameServers, s)
			}
		}
		if mtu, ok := number(v, "mtu"); ok && mtu > 0 {
			info.MTU = int(mtu)
		}
	}
	if len(info.Addresses) == 0 { // the interface gets its address by DHCP
		info.Addresses = append(info.Addresses, "dhcp")
	}
}

// Unlock gives the card its PIN.
func (c *Control) Unlock(ctx context.Context, pin string) error {
	p, all, err := c.find(ctx)
	if err != nil {
		return err
	}
	err = c.within(ctx, quick, text(all[p][ifModem], "Sim"), ifSim+".SendPin", pin)
	if isWrongPIN(err) {
		return errors.Join(keeper.ErrRefused, err)
	}
	return err
}

// wrongPIN are ModemManager's errors that say that the card has looked at the PIN.
var wrongPIN = []string{
	Service + ".Error.MobileEquipment.IncorrectPassword",
	Service + ".Error.MobileEquipment.SimPuk",
}

func isWrongPIN(err error) bool {
	var named interface{ Name() string }
	return errors.As(err, &named) && slices.Contains(wrongPIN, named.Name())
}

// Dial connects with the access point of the settings.
func (c *Control) Dial(ctx context.Context) error {
	p, _, err := c.find(ctx)
	if err != nil {
		return err
	}
	props := map[string]any{}
	for k, v := range map[string]string{"apn": c.set.APN, "user": c.set.User, "password": c.set.Pass} {
		if v != "" {
			props[k] = v
		}
	}
	if t, ok := map[string]uint32{"IP": 1, "IPV6": 2, "IPV4V6": 4}[c.set.PDPType]; ok { // MMBearerIpFamily
		props["ip-type"] = t
	}
	return c.within(ctx, network, p, ifSimple+".Connect", props)
}

// Do does a rung: redial disconnects (the keeper dials after it), reattach
// registers anew, radio goes through low power, reset is the modem's own.
func (c *Control) Do(ctx context.Context, rung string) error {
	p, _, err := c.find(ctx)
	if err != nil {
		return err
	}
	switch rung {
	case "redial":
		return c.within(ctx, network, p, ifSimple+".Disconnect", ObjectPath("/"))
	case "reattach":
		return errors.Join(
			c.within(ctx, network, p, ifSimple+".Disconnect", ObjectPath("/")),
			c.within(ctx, network, p, if3GPP+".Register", ""))
	case "radio":
		return errors.Join(
			c.within(ctx, network, p, ifModem+".Enable", false),
			c.within(ctx, network, p, ifModem+".Enable", true))
	case "reset":
		return c.within(ctx, network, p, ifModem+".Reset")
	}
	return fmt.Errorf("mm: rung %q cannot be done over D-Bus", rung)
}

// ObjectPath is a D-Bus object path as an argument.
type ObjectPath string

// Timings are not known to ModemManager.
func (c *Control) Timings() keeper.Timings { return keeper.Timings{} }

// Changed receives a value when ModemManager said that something changed.
func (c *Control) Changed() <-chan struct{} { return c.bus.Changed() }

// Transcript returns the newest calls.
func (c *Control) Transcript() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.log)
}

// Counters of the calls.
func (c *Control) Counters() map[string]uint64 {
	return map[string]uint64{"calls": c.calls.Load(), "errors": c.failures.Load()}
}
