package doctor

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"telemetry/internal/checkup"
	"telemetry/internal/config"
	"telemetry/receiver/live/guard"
)

// soon is when an expiring certificate is worth a warning: more than a race
// weekend's journey.
const soon = 14 * 24 * time.Hour

// certificates looks at every certificate and list that the configuration names.
func (r *report) certificates() {
	if t := r.cfg.MQTT.TLS; t != nil {
		r.pair("certificate of mqtt", t.Cert, t.Key, "receiver ca issue makes a new one")
		r.authority("CA of the cars", t.CA)
		r.revocations(t)
	} else if r.cfg.MQTT.Insecure && r.has("ingest") {
		r.Add(checkup.Warn, "mqtt", "insecure: anybody who reaches the port can send in any car's name", "receiver ca init makes a CA; set mqtt.tls")
	}
	if live := r.cfg.Live; r.has("live") && live.Listen != "off" {
		if live.TLS != nil {
			r.pair("certificate of the page", live.TLS.Cert, live.TLS.Key, "receiver ca issue makes a new one")
		}
		if live.Login.Tokens != "" {
			r.tokens(live.Login.Tokens)
		}
	}
	clients := []struct {
		what string
		t    *config.ClientTLS
	}{{"mqtt.client", r.cfg.MQTT.Client}, {"kafka", r.cfg.Kafka.TLS}}
	for _, c := range clients {
		if c.t == nil {
			continue
		}
		if c.t.Cert != "" {
			r.pair("certificate of "+c.what, c.t.Cert, c.t.Key, "get a new one from whoever issued it")
		}
		r.authority("CA of "+c.what, c.t.CA)
	}
}

// tokens looks at who may log in to the page.
func (r *report) tokens(path string) {
	const what, remedy = "tokens of the page", "receiver page token add NAME --role viewer"
	es, err := guard.ReadTokens(path)
	if err != nil {
		r.Add(checkup.Fail, what, err.Error(), remedy)
		return
	}
	valid := 0
	for i := range es {
		if !es[i].Expired(r.opt.Now) {
			valid++
		}
	}
	if valid == 0 {
		r.Add(checkup.Fail, what, path+" has no valid token: nobody can log in", remedy)
		return
	}
	r.OK(what, "%d valid, %d expired", valid, len(es)-valid)
}

func (r *report) has(role string) bool { return slices.Contains(r.cfg.Roles, role) }

func (r *report) pair(what, certFile, keyFile, remedy string) {
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		r.Add(checkup.Fail, what, err.Error(), remedy)
		return
	}
	cert, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		r.Add(checkup.Fail, what, err.Error(), remedy)
		return
	}
	r.expiry(what, cert, remedy)
}

func (r *report) expiry(what string, cert *x509.Certificate, remedy string) {
	left := cert.NotAfter.Sub(r.opt.Now)
	switch {
	case left < 0:
		r.Add(checkup.Fail, what, fmt.Sprintf("expired on %s: no connection is made with it", cert.NotAfter.UTC().Format(time.DateOnly)), remedy)
	case r.opt.Now.Before(cert.NotBefore):
		r.Add(checkup.Fail, what, fmt.Sprintf("not valid before %s: is this machine's clock right?", cert.NotBefore.UTC().Format(time.DateOnly)), "set the clock")
	case left < soon:
		r.Add(checkup.Warn, what, fmt.Sprintf("expires in %d days", int(left.Hours()/24)), remedy)
	default:
		r.OK(what, "%s, until %s", cert.Subject.CommonName, cert.NotAfter.UTC().Format(time.DateOnly))
	}
}

func (r *report) authority(what, path string) {
	b, err := os.ReadFile(path)
	if err != nil {
		r.Add(checkup.Fail, what, err.Error(), "copy the CA's certificate there")
		return
	}
	found := false
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			r.Add(checkup.Fail, what, fmt.Sprintf("%s: %v", path, err), "copy the CA's certificate there")
			return
		}
		found = true
		r.expiry(what, cert, "a new CA: issue new certificates, and let both be trusted meanwhile")
	}
	if !found {
		r.Add(checkup.Fail, what, path+" holds no certificate", "copy the CA's certificate there, as PEM")
	}
}

// revocations looks at the list of what the CA has taken back.
func (r *report) revocations(t *config.ServerTLS) {
	const what, remedy = "revocation list", "copy the CA's list again (receiver ca revoke and list write it)"
	if t.CRL == "" {
		r.Add(checkup.Warn, what, "none is configured: a lost car's certificate works until it expires", "set mqtt.tls.crl")
		return
	}
	b, err := os.ReadFile(t.CRL)
	if err != nil {
		r.Add(checkup.Fail, what, err.Error(), remedy)
		return
	}
	if block, _ := pem.Decode(b); block != nil {
		b = block.Bytes
	}
	list, err := x509.ParseRevocationList(b)
	if err != nil {
		r.Add(checkup.Fail, what, fmt.Sprintf("%s: %v", t.CRL, err), remedy)
		return
	}
	age := r.opt.Now.Sub(list.ThisUpdate)
	days := int(age.Hours() / 24)
	switch {
	case !list.NextUpdate.IsZero() && r.opt.Now.After(list.NextUpdate):
		r.Add(checkup.Warn, what, fmt.Sprintf("is %d days old and past its time (%s): what was taken back since is not known", days, list.NextUpdate.UTC().Format(time.DateOnly)), remedy)
	case age < -time.Minute:
		r.Add(checkup.Warn, what, "is from the future: is this machine's clock right?", "set the clock")
	default:
		r.OK(what, "%d certificates taken back, %d days old", len(list.RevokedCertificateEntries), max(days, 0))
	}
}

// ports looks at what this process listens on, or at the external broker.
func (r *report) ports(ctx context.Context) {
	switch {
	case r.has("ingest") && r.cfg.MQTT.Broker != "":
		r.external(ctx)
	case r.has("ingest"):
		r.port(ctx, "mqtt port", r.cfg.MQTT.Listen)
	}
	if r.has("live") && r.cfg.Live.Listen != "off" {
		r.port(ctx, "page port", r.cfg.Live.Listen)
	}
	if r.cfg.Health.Listen != "" {
		r.port(ctx, "health port", r.cfg.Health.Listen)
	}
}

// port looks at whether a port is free, or answers for the running receiver.
func (r *report) port(ctx context.Context, what, addr string) {
	if _, p, err := net.SplitHostPort(addr); err == nil && p == "0" {
		r.OK(what, "any free one")
		return
	}
	l, err := net.Listen("tcp", addr)
	if err == nil {
		if err = l.Close(); err == nil && r.opt.Running == nil {
			r.OK(what, "%s is free", addr)
			return
		}
		if err == nil {
			r.Add(checkup.Fail, what, addr+": the receiver runs, but nobody listens there", "does the running receiver have this configuration? reload it")
			return
		}
	}
	if errors.Is(err, fs.ErrPermission) {
		r.Add(checkup.Fail, what, err.Error(), "use a port above 1023, or AmbientCapabilities=CAP_NET_BIND_SERVICE")
		return
	}
	if !errors.Is(err, unix.EADDRINUSE) {
		r.Add(checkup.Fail, what, err.Error(), "use an address of this machine")
		return
	}
	if r.opt.Running == nil {
		r.Add(checkup.Fail, what, addr+" is in use, and not by a receiver that answers on the socket: the receiver will not start", "find who has it: ss -ltnp")
		return
	}
	host, port, _ := net.SplitHostPort(addr) // listened on above: it is well formed
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	d := net.Dialer{Timeout: r.opt.Timeout}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, port))
	if err != nil {
		r.Add(checkup.Fail, what, fmt.Sprintf("%s is taken but does not answer: %v", addr, err), "restart the receiver")
		return
	}
	_ = conn.Close() // it was only looked at
	r.OK(what, "%s answers", addr)
}

// external looks at an MQTT broker that is not ours.
func (r *report) external(ctx context.Context) {
	u, err := url.Parse(r.cfg.MQTT.Broker)
	if err != nil {
		r.Add(checkup.Fail, "mqtt broker", err.Error(), "correct mqtt.broker")
		return
	}
	d := net.Dialer{Timeout: r.opt.Timeout}
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		r.Add(checkup.Fail, "mqtt broker", err.Error()+": no car's data comes in", "start it, or correct mqtt.broker; look at the way there")
		return
	}
	_ = conn.Close() // it was only looked at
	r.OK("mqtt broker", "%s answers", u.Host)
}

// Room on the embedded cluster's disk, in bytes.
const (
	roomWarn = 5 << 30
	roomFail = 512 << 20
)

// disk looks at the embedded cluster's directory.
func (r *report) disk() {
	if len(r.cfg.Kafka.Brokers) > 0 {
		return
	}
	dir := r.cfg.Kafka.Embedded.Dir
	for { // the receiver makes what is missing
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err := unix.Access(dir, unix.W_OK); err != nil {
		r.Add(checkup.Fail, "disk", fmt.Sprintf("%s may not be written by this user: %v", dir, err), "chown it to the receiver's user")
		return
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		r.Add(checkup.Fail, "disk", fmt.Sprintf("%s: %v", dir, err), "set kafka.embedded.dir to a directory on a local disk")
		return
	}
	room := int64(st.Bavail) * int64(st.Bsize)
	const tmpfs, overlay = 0x01021994, 0x794c7630
	switch t := int64(st.Type); {
	case room < roomFail:
		r.Add(checkup.Fail, "disk", fmt.Sprintf("%d MiB free under %s: the embedded kafka stops when it is full", room>>20, dir), "free space, or move kafka.embedded.dir")
	case t == tmpfs || t == overlay:
		r.Add(checkup.Warn, "disk", dir+" lives in memory or in a container's layer: a restart of the machine or container takes all records", "put kafka.embedded.dir on a real disk, or mount a volume there")
	case room < roomWarn:
		r.Add(checkup.Warn, "disk", fmt.Sprintf("%d MiB free under %s; topics keep records for 1 to 30 days", room>>20, dir), "free space, or use a cluster")
	default:
		r.OK("disk", "%d MiB free under %s", room>>20, dir)
	}
}

// registry asks the schema registry for its subjects.
func (r *report) registry(ctx context.Context) {
	c := r.cfg.Kafka.Registry
	if c == nil {
		return
	}
	const what, remedy = "schema registry", "start it, or correct kafka.registry; outputs in format protobuf write nothing before it has answered once"
	client := &http.Client{Timeout: r.opt.Timeout, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	if c.CA != "" {
		b, err := os.ReadFile(c.CA)
		pool := x509.NewCertPool()
		if err != nil || !pool.AppendCertsFromPEM(b) {
			r.Add(checkup.Fail, what, fmt.Sprintf("its CA %s cannot be read (%v)", c.CA, err), "copy the CA's certificate there, as PEM")
			return
		}
		client.Transport = &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(c.URL, "/")+"/subjects", http.NoBody)
	if err != nil {
		r.Add(checkup.Fail, what, err.Error(), remedy)
		return
	}
	if c.User != "" {
		password, err := secret(c.Password)
		if err != nil {
			r.Add(checkup.Fail, what, err.Error(), "put the password where kafka.registry.password says")
			return
		}
		req.SetBasicAuth(c.User, password)
	}
	resp, err := client.Do(req)
	if err != nil {
		r.Add(checkup.Fail, what, err.Error(), remedy)
		return
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)); err != nil || resp.StatusCode != http.StatusOK {
		r.Add(checkup.Fail, what, fmt.Sprintf("%s answers %s", c.URL, resp.Status), remedy)
		return
	}
	r.OK(what, "%s answers", c.URL)
}

func secret(s *config.Secret) (string, error) {
	if s == nil {
		return "", nil
	}
	if s.File == "" {
		return os.Getenv(s.Env), nil
	}
	b, err := os.ReadFile(s.File)
	return strings.TrimRight(string(b), "\r\n"), err
}
