package fire

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"telemetry/lab/pki"
	"telemetry/lab/stack"
)

// stackConfig lays out the car in its namespace and the receiver. Nothing is
// given up: the sequencer's windows are open for ever.
func (r *run) stackConfig() stack.Config {
	cfg := stack.Config{
		Dir: r.dir, Bin: r.Bin, Car: carName, Brokers: r.Brokers, Prefix: prefix, LiveListen: "off",
		MQTTHost: r.bed.FarAddr().String(), StartAgent: r.bed.Car.Start, ReadyLimit: readyLimit,
		Windows: map[string]string{"critical": "none", "full": "none"},
		Sources: fmt.Sprintf("- name: %s\n  slcan:\n    port: %q\n    dialect: %s\n    bitrate: %dbit/s\n    dbc: %q\n",
			sourceName, r.bus.Path(), r.bus.dialect(), busRate, r.DBC),
	}
	for _, p := range r.bed.Paths() {
		cfg.Links = append(cfg.Links, stack.Link{Name: p.Device(), Interface: p.Device()})
	}
	return cfg
}

// mosquitto is a real broker with mTLS and access rules.
type mosquitto struct {
	run *run
	dir string
}

// startMosquitto starts one at the address that the car reaches over every link,
// and has car and receiver use it with certificates of their own.
func (r *run) startMosquitto(ctx context.Context, cfg *stack.Config) (*mosquitto, error) {
	m := &mosquitto{run: r, dir: filepath.Join(r.dir, "mosquitto")}
	host := r.bed.FarAddr().String()
	certs := filepath.Join(m.dir, "certs")
	if _, err := pki.Write(certs, []string{host}, carName, "receiver"); err != nil {
		return nil, err
	}
	port, err := freePort(host)
	if err != nil {
		return nil, err
	}
	if err := m.script(ctx, "start", m.dir, port, host); err != nil {
		return nil, err
	}
	address := "tls://" + net.JoinHostPort(host, port)
	identity := func(name string) string {
		return fmt.Sprintf("{ca: %q, cert: %q, key: %q}", filepath.Join(certs, "ca.crt"), filepath.Join(certs, name+".crt"), filepath.Join(certs, name+".key"))
	}
	for i := range cfg.Links {
		cfg.Links[i].Address = address
	}
	cfg.Agent += "receiver:\n  tls: " + identity(carName) + "\n"
	cfg.MQTT = fmt.Sprintf("broker: %q\nclient: %s\n", address, identity("receiver"))
	return m, nil
}

// script runs scripts/mosquitto.sh. What it starts outlives it and must not hold
// our output open.
func (m *mosquitto) script(ctx context.Context, args ...string) error {
	out, err := os.Create(filepath.Join(m.dir, "script.log"))
	if err != nil {
		return fmt.Errorf("fire: mosquitto: %w", err)
	}
	defer out.Close()
	cmd := exec.CommandContext(ctx, m.run.Mosquitto, args...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("fire: mosquitto: %w\n%s", err, said)
	}
	return nil
}

func (m *mosquitto) stop() {
	if err := m.script(context.Background(), "stop", m.dir); err != nil {
		m.run.say("%v", err)
	}
}

// freePort returns a port of an address of this machine that nobody listens on.
func freePort(host string) (string, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("fire: free port: %w", err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port), nil
}
