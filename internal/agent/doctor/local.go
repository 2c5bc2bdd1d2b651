package doctor

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/internal/agent"
	"telemetry/internal/checkup"
	"telemetry/internal/clock"
	"telemetry/internal/config"
	"telemetry/sensors/serialport"
)

// clock looks at whether UTC is to be trusted.
func (r *report) clock() {
	c := clock.System{}.Compare()
	switch u := time.Duration(c.UncertaintyNS); {
	case !c.Synced:
		r.Add(checkup.Warn, "clock", fmt.Sprintf("not disciplined (UTC may be %v off): records say clock=unsynced until an anchor comes", u.Round(time.Millisecond)), "run chrony or ntpd, or add a GNSS source")
	case u > 100*time.Millisecond:
		r.Add(checkup.Warn, "clock", fmt.Sprintf("disciplined, but UTC may be %v off", u.Round(time.Millisecond)), "look at chronyc tracking")
	default:
		r.OK("clock", "disciplined, within %v of UTC", u.Round(time.Microsecond))
	}
}

// sources looks at the devices that the sources read.
func (r *report) sources() {
	for _, s := range r.cfg.Sources {
		switch {
		case s.Socketcan != nil:
			r.canInterface("source "+s.Name, s.Socketcan.Interface)
		case s.Slcan != nil:
			r.serial("source "+s.Name, s.Slcan.Port, s.Slcan.Baud)
		case s.Candump != nil:
			r.file("source "+s.Name, s.Candump.File)
		}
	}
}

func (r *report) canInterface(what, name string) {
	ifi, err := net.InterfaceByName(name)
	switch {
	case err != nil:
		r.Add(checkup.Fail, what, fmt.Sprintf("CAN interface %s is not there", name), "load its driver (dmesg | grep can), or name another one")
	case ifi.Flags&net.FlagUp == 0:
		r.Add(checkup.Fail, what, fmt.Sprintf("CAN interface %s is down", name), fmt.Sprintf("ip link set %s up type can bitrate 500000", name))
	default:
		r.OK(what, "CAN interface %s is up", name)
	}
}

func (r *report) serial(what, path string, baud int) {
	p, err := serialport.Open(path, baud)
	switch {
	case err == nil:
		r.OK(what, "serial port %s opens", path)
		_ = p.Close() // it was only looked at
	case errors.Is(err, fs.ErrNotExist):
		r.Add(checkup.Fail, what, fmt.Sprintf("serial port %s is not there", path), "plug it in; ls -l /dev/serial/by-id shows what is")
	case errors.Is(err, fs.ErrPermission):
		r.Add(checkup.Fail, what, fmt.Sprintf("serial port %s may not be opened by this user", path), "add the agent's user to the group dialout")
	case r.opt.Running:
		r.OK(what, "serial port %s is in use, by the running agent it seems", path)
	default:
		r.Add(checkup.Fail, what, err.Error(), "find who has it: fuser -v "+path)
	}
}

func (r *report) file(what, path string) {
	if _, err := os.Stat(path); err != nil {
		r.Add(checkup.Fail, what, err.Error(), "put the file there")
		return
	}
	r.OK(what, "%s", path)
}

// probeBytes are written to the disk to see how fast it is: a second's worth of
// the fastest car we know.
const probeBytes = 4 << 20

// spool looks at the disk under the spool: room, rights and speed.
func (r *report) spool() {
	dir, err := agent.Existing(r.cfg.Spool.Dir)
	if err != nil {
		r.Add(checkup.Fail, "spool disk", err.Error(), "set spool.dir to a directory on a local disk")
		return
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil {
		if room := int64(st.Bavail) * int64(st.Bsize); room < int64(r.cfg.Spool.Quota)/4 {
			r.Add(checkup.Warn, "spool room", fmt.Sprintf("%d MiB free of a quota of %d MiB", room>>20, r.cfg.Spool.Quota>>20), "free space, or lower spool.quota")
		} else {
			r.OK("spool room", "%d MiB free", room>>20)
		}
		const tmpfs, overlay = 0x01021994, 0x794c7630
		if t := int64(st.Type); t == tmpfs || t == overlay {
			r.Add(checkup.Warn, "spool disk", "the file system lives in memory or in a container's layer: a power cut takes it", "put spool.dir on a real disk")
		}
	}
	took, err := probe(dir)
	switch {
	case errors.Is(err, fs.ErrPermission):
		r.Add(checkup.Fail, "spool disk", fmt.Sprintf("%s may not be written by this user", dir), "chown it to the agent's user")
	case err != nil:
		r.Add(checkup.Fail, "spool disk", err.Error(), "look at dmesg for the disk's own complaint")
	default:
		rate := float64(probeBytes) / took.Seconds() / 1e6
		if rate < 5 {
			r.Add(checkup.Warn, "spool disk", fmt.Sprintf("only %.1f MB/s made durable", rate), "use a better card: endurance types keep their speed")
		} else {
			r.OK("spool disk", "%.0f MB/s made durable", rate)
		}
	}
}

// probe writes a scratch file, makes it durable, and removes it.
func probe(dir string) (took time.Duration, err error) {
	b := make([]byte, probeBytes)
	if _, err := rand.Read(b); err != nil { // random: some disks compress
		return 0, err
	}
	f, err := os.CreateTemp(dir, ".doctor-*")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	start := time.Now()
	if _, err := f.Write(b); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	return max(time.Since(start), time.Microsecond), nil
}

// soon is when an expiring certificate is worth a warning: more than a race
// weekend's journey.
const soon = 14 * 24 * time.Hour

// certificates looks at the car's identity.
func (r *report) certificates() {
	t := r.cfg.Receiver.TLS
	if t == nil {
		return
	}
	pair, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		r.Add(checkup.Fail, "certificate", err.Error(), "receiver ca issue "+r.cfg.Car+" makes one")
		return
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		r.Add(checkup.Fail, "certificate", err.Error(), "receiver ca issue "+r.cfg.Car+" makes one")
		return
	}
	left := cert.NotAfter.Sub(r.opt.Now)
	why, remedy := agent.WrongIdentity(cert, r.cfg.Car, r.opt.Now)
	switch {
	case why != "":
		r.Add(checkup.Fail, "certificate", why, remedy)
	case left < soon:
		r.Add(checkup.Warn, "certificate", fmt.Sprintf("expires in %d days", int(left.Hours()/24)), "receiver ca issue "+r.cfg.Car+" makes a new one")
	default:
		r.OK("certificate", "for %s, until %s", cert.Subject.CommonName, cert.NotAfter.Format(time.DateOnly))
	}
	r.authority(t, cert)
}

// authority looks at the CA that the receiver's certificate must come from.
func (r *report) authority(t *config.ClientTLS, own *x509.Certificate) {
	pem, err := os.ReadFile(t.CA)
	pool := x509.NewCertPool()
	switch {
	case err != nil:
		r.Add(checkup.Fail, "CA", err.Error(), "copy the team's CA certificate there")
	case !pool.AppendCertsFromPEM(pem):
		r.Add(checkup.Fail, "CA", t.CA+" holds no certificate", "copy the team's CA certificate there, as PEM")
	default:
		if _, err := own.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: r.opt.Now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			r.Add(checkup.Warn, "CA", fmt.Sprintf("the car's certificate does not come from it: %v", err), "make sure that the receiver trusts the car's CA")
			return
		}
		r.OK("CA", "%s", t.CA)
	}
}
