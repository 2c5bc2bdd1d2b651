package doctor

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"telemetry/internal/checkup"

	"golang.org/x/sys/unix"

	"telemetry/board"
)

// writable asks the kernel whether this user may write to path.
func writable(path string) error {
	return unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS)
}

// permissions looks at what the configuration needs beyond files and ports: GPIO
// lines, the watchdog, the USB bus and the network's administration.
func (r *report) permissions() {
	p, err := board.Find(r.cfg.Board)
	if err != nil {
		return // already told
	}
	if lines := r.wantedLines(p); len(lines) > 0 {
		r.gpio(lines)
	}
	if r.cfg.Watchdog.Kind == "device" {
		if err := r.opt.Access(p.Watchdog); err != nil {
			r.Add(checkup.Fail, "watchdog", fmt.Sprintf("%q cannot be opened for writing: %v", p.Watchdog, err), "give the agent's user the right by udev, or set watchdog.kind: auto")
		} else {
			r.OK("watchdog", "%s may be fed", p.Watchdog)
		}
	}
	for _, l := range r.cfg.Links {
		if l.Modem == nil || l.Modem.WatchOnly {
			continue
		}
		place := l.Modem.USB
		if s, err := p.Slot(l.Modem.Slot); err == nil && place == "" {
			place = s.USBPath
		}
		if place != "" && board.Open(p, r.opt.Root).USBDevice(place).Present {
			r.usb("link "+l.Name, place)
		}
		if l.Modem.Configure {
			r.netAdmin("link " + l.Name)
		}
	}
}

// wantedLines are the GPIO lines that the configuration has the agent use.
func (r *report) wantedLines(p board.Profile) (lines []string) {
	add := func(on bool, pins ...*board.Pin) {
		for _, pin := range pins {
			if on && pin != nil {
				lines = append(lines, pin.Line)
			}
		}
	}
	add(r.cfg.Power.Ignition, p.Ignition)
	add(r.cfg.Power.Fail, p.PowerFail)
	for i := range p.LEDs {
		add(r.cfg.LEDs, &p.LEDs[i].Pin)
	}
	for _, l := range r.cfg.Links {
		if l.Modem == nil || l.Modem.WatchOnly {
			continue
		}
		if s, err := p.Slot(l.Modem.Slot); err == nil {
			add(true, s.PowerKey, s.Reset)
		}
	}
	return lines
}

func (r *report) gpio(lines []string) {
	what := "GPIO lines " + strings.Join(lines, ", ")
	chips, _ := fs.Glob(r.opt.Root, "dev/gpiochip*") // the pattern is well-formed
	if len(chips) == 0 {
		r.Add(checkup.Fail, what, "this machine has no GPIO chip: they do nothing", "set board to the one that this is")
		return
	}
	for _, c := range chips {
		if err := r.opt.Access("/" + c); err != nil {
			r.Add(checkup.Fail, what, fmt.Sprintf("/%s may not be opened by this user: %v", c, err), "add the agent's user to the group gpio")
			return
		}
	}
	r.OK(what, "%d chips may be opened", len(chips))
}

// usb looks at the file that takes a modem off its bus and back.
func (r *report) usb(what, place string) {
	path := "/sys/bus/usb/devices/" + place + "/authorized"
	if err := r.opt.Access(path); err != nil {
		r.Add(checkup.Warn, what+": bus reset", fmt.Sprintf("%s may not be written by this user: a modem that hangs is mended later, or not at all", path),
			"give the agent's user the right by udev, or run it as root")
		return
	}
	r.OK(what+": bus reset", "is permitted")
}

// netAdmin looks at the right to set addresses, routes and rules.
func (r *report) netAdmin(what string) {
	what += ": network administration"
	b, err := fs.ReadFile(r.opt.Root, "proc/self/status")
	if err != nil {
		return // no such file system here
	}
	for line := range strings.Lines(string(b)) {
		caps, ok := strings.CutPrefix(line, "CapEff:")
		if !ok {
			continue
		}
		v, err := strconv.ParseUint(strings.TrimSpace(caps), 16, 64)
		if err == nil && v>>unix.CAP_NET_ADMIN&1 == 0 {
			r.Add(checkup.Warn, what, "this user lacks CAP_NET_ADMIN, without which modem.configure can do nothing (the agent may run as another)", "AmbientCapabilities=CAP_NET_ADMIN in the agent's unit")
			return
		}
	}
	r.OK(what, "is permitted")
}
