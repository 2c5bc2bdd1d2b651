package deploycheck

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"

	"telemetry/internal/config"
)

// project loads compose.yaml as Compose does: schema, interpolation, consistency.
func project(t *testing.T, env types.Mapping, profiles ...string) *types.Project {
	t.Helper()
	dir, err := filepath.Abs(deploy)
	if err != nil {
		t.Fatal(err)
	}
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: dir, Environment: env,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "compose.yaml")}},
	}, func(o *loader.Options) { o.Profiles = profiles })
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// env is an operator's environment.
func env(config string) types.Mapping {
	return types.Mapping{"GRAFANA_PASSWORD": "secret", "RECEIVER_CONFIG": config}
}

func TestComposeHasWhatItNames(t *testing.T) {
	for name, c := range map[string]struct {
		env      types.Mapping
		profiles []string
		services []string
		config   string
	}{
		"plain":     {env("receiver.yaml"), nil, []string{"grafana", "kafka", "prometheus", "receiver"}, "receiver.yaml"},
		"mosquitto": {env("receiver-mosquitto.yaml"), []string{"mosquitto"}, []string{"grafana", "kafka", "mosquitto", "prometheus", "receiver"}, "receiver-mosquitto.yaml"},
	} {
		t.Run(name, func(t *testing.T) {
			p := project(t, c.env, c.profiles...)
			names := p.ServiceNames()
			slices.Sort(names)
			if !slices.Equal(names, c.services) {
				t.Fatalf("services %v, want %v", names, c.services)
			}
			for _, s := range p.Services {
				for _, v := range s.Volumes {
					if v.Type != types.VolumeTypeBind || strings.HasSuffix(v.Source, "/certs") || strings.HasSuffix(v.Source, "/tokens") {
						continue // certificates and tokens are made by the user
					}
					if m, err := filepath.Glob(v.Source); err != nil || len(m) != 1 {
						t.Errorf("%s mounts %s, which is not there", s.Name, v.Source)
					}
				}
			}
			r := p.Services["receiver"]
			if !r.ReadOnly || r.User != "65532:65532" || !slices.Contains(r.CapDrop, "ALL") || r.StopGracePeriod == nil || time.Duration(*r.StopGracePeriod) < longestDrain+5*time.Second {
				t.Errorf("the receiver is not shut in, or has no time to drain: %+v", r)
			}
			checkReceiver(t, p, c.config)
		})
	}
}

// checkReceiver compares the receiver's own configuration with what is around it.
func checkReceiver(t *testing.T, p *types.Project, name string) {
	t.Helper()
	r := p.Services["receiver"]
	if !slices.ContainsFunc(r.Volumes, func(v types.ServiceVolumeConfig) bool {
		return filepath.Base(v.Source) == name && v.Target == "/etc/receiver/receiver.yaml"
	}) {
		t.Fatalf("%s is not mounted: %+v", name, r.Volumes)
	}
	cfg, err := config.ReadReceiver(filepath.Join(deploy, "receiver", name))
	if err != nil {
		t.Fatal(err)
	}
	used := []string{cfg.Live.TLS.Cert, cfg.Live.TLS.Key, cfg.Live.Login.Tokens}
	if tls := cfg.MQTT.TLS; tls != nil {
		used = append(used, tls.CA, tls.Cert, tls.Key, tls.CRL)
	}
	for _, f := range used { // as the file's folder is called in the container
		in := strings.Replace(f, filepath.Join(deploy, "receiver"), "/etc/receiver", 1)
		if !slices.ContainsFunc(r.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == filepath.Dir(in) && v.ReadOnly }) {
			t.Errorf("the receiver reads %s, which nothing mounts: %+v", in, r.Volumes)
		}
	}
	host, _, _ := strings.Cut(cfg.Kafka.Brokers[0], ":")
	if _, ok := p.Services[host]; !ok {
		t.Errorf("no service is the broker %s", cfg.Kafka.Brokers[0])
	}
	if !slices.Contains(r.HealthCheck.Test, cfg.Socket) || !strings.HasPrefix(r.Tmpfs[0], filepath.Dir(cfg.Socket)+":") {
		t.Errorf("socket %s is not what the health check asks (%v) or has no place (%v)", cfg.Socket, r.HealthCheck.Test, r.Tmpfs)
	}
	for _, port := range r.Ports {
		_, live, _ := strings.Cut(cfg.Live.Listen, ":")
		_, mqtt, _ := strings.Cut(cfg.MQTT.Listen, ":")
		if at := strconv.Itoa(int(port.Target)); at != live && at != mqtt {
			t.Errorf("port %s is published, the receiver does not listen there", at)
		}
	}
	if !strings.Contains(string(file(t, "prometheus/prometheus.yml")), `["receiver`+cfg.Health.Listen+`"]`) {
		t.Errorf("prometheus does not ask receiver%s", cfg.Health.Listen)
	}
}

// TestGrafanaWantsAPassword: nothing starts with a known one.
func TestGrafanaWantsAPassword(t *testing.T) {
	dir, err := filepath.Abs(deploy)
	if err != nil {
		t.Fatal(err)
	}
	_, err = loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir: dir, Environment: types.Mapping{},
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "compose.yaml")}},
	})
	if err == nil || !strings.Contains(err.Error(), "set a password") {
		t.Errorf("without a password: %v", err)
	}
}
