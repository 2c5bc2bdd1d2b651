package board

import (
	"context"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// usbDevices is where the kernel lists USB devices and their interfaces.
const usbDevices = "sys/bus/usb/devices/"

// USB is one device by the place where it is plugged in, as "1-1.2": names like
// ttyUSB2 and wwan0 change with the order of enumeration, the place does not.
type USB struct {
	Path    string // in sysfs
	Present bool
	Vendor  string         // idVendor, four hexadecimal digits
	Product string         // idProduct
	Name    string         // product string
	TTYs    map[int]string // interface number → "ttyUSB2"
	Nets    []string       // network interfaces
}

// USBDevice reads the device at path, which may be missing.
func (b *Board) USBDevice(usbPath string) USB {
	u := USB{Path: usbPath, TTYs: map[int]string{}}
	dir := usbDevices + usbPath
	if _, err := fs.Stat(b.root, dir); err != nil {
		return u
	}
	u.Present = true
	u.Vendor, _ = readTrim(b.root, dir+"/idVendor")
	u.Product, _ = readTrim(b.root, dir+"/idProduct")
	u.Name, _ = readTrim(b.root, dir+"/product")
	ifaces, _ := fs.Glob(b.root, usbDevices+usbPath+":*") // the pattern is well-formed: paths hold digits, dots and a dash
	for _, i := range ifaces {
		_, num, _ := strings.Cut(path.Base(i), ".")
		if j := strings.LastIndexByte(path.Base(i), '.'); j >= 0 {
			num = path.Base(i)[j+1:]
		}
		n, err := strconv.Atoi(num)
		if err != nil {
			continue
		}
		for _, pattern := range []string{"/ttyUSB*", "/tty/ttyACM*"} {
			ttys, _ := fs.Glob(b.root, i+pattern)
			for _, t := range ttys {
				u.TTYs[n] = path.Base(t)
			}
		}
		nets, _ := fs.Glob(b.root, i+"/net/*")
		for _, d := range nets {
			u.Nets = append(u.Nets, path.Base(d))
		}
	}
	slices.Sort(u.Nets)
	return u
}

// Modems returns all USB devices that have a network interface and a tty, or
// three ttys and more: what a modem looks like.
func (b *Board) Modems() []USB {
	dirs, _ := fs.Glob(b.root, usbDevices+"*-*")
	var out []USB
	for _, d := range dirs {
		name := path.Base(d)
		if strings.Contains(name, ":") {
			continue
		}
		if u := b.USBDevice(name); len(u.TTYs) >= 3 || (len(u.TTYs) > 0 && len(u.Nets) > 0) {
			out = append(out, u)
		}
	}
	return out
}

// offBus is how long a device stays de-authorised.
const offBus = time.Second

// ReauthoriseUSB takes the device at path off its bus and back, through write,
// which writes a file below the root file system.
func ReauthoriseUSB(ctx context.Context, usbPath string, write func(name string, b []byte) error) error {
	name := usbDevices + usbPath + "/authorized"
	if err := write(name, []byte("0")); err != nil {
		return fmt.Errorf("board: take USB device %s off its bus: %w", usbPath, err)
	}
	t := time.NewTimer(offBus)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done(): // it must come back all the same
	}
	if err := write(name, []byte("1")); err != nil {
		return fmt.Errorf("board: authorise USB device %s: %w", usbPath, err)
	}
	return ctx.Err()
}
