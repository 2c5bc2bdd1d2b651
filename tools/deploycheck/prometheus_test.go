package deploycheck

import (
	"bytes"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/relabel"
	yamlv3 "go.yaml.in/yaml/v3"
)

// prometheusConfig has the keys of Prometheus' configuration that are used here.
type prometheusConfig struct {
	Global struct {
		ScrapeInterval     time.Duration     `yaml:"scrape_interval"`
		EvaluationInterval time.Duration     `yaml:"evaluation_interval"`
		ExternalLabels     map[string]string `yaml:"external_labels"`
	} `yaml:"global"`
	RuleFiles     []string `yaml:"rule_files"`
	ScrapeConfigs []struct {
		JobName        string        `yaml:"job_name"`
		ScrapeInterval time.Duration `yaml:"scrape_interval"`
		Static         []struct {
			Targets []string          `yaml:"targets"`
			Labels  map[string]string `yaml:"labels"`
		} `yaml:"static_configs"`
		File []struct {
			Files []string `yaml:"files"`
		} `yaml:"file_sd_configs"`
		Kubernetes []struct {
			Role       string `yaml:"role"`
			Namespaces struct {
				Names []string `yaml:"names"`
			} `yaml:"namespaces"`
		} `yaml:"kubernetes_sd_configs"`
		Relabel       []*relabel.Config `yaml:"relabel_configs"`
		MetricRelabel []*relabel.Config `yaml:"metric_relabel_configs"`
	} `yaml:"scrape_configs"`
}

// TestScrapeConfigurations: both files have known keys only, their relabelling is
// Prometheus' own, their rules exist, and the alerts find the jobs that they name.
func TestScrapeConfigurations(t *testing.T) {
	for name, jobs := range map[string][]string{"prometheus.yml": {"receiver", "edgeagent"}, "kubernetes.yml": {"receiver"}} {
		var c prometheusConfig
		d := yamlv3.NewDecoder(bytes.NewReader(file(t, "prometheus/"+name)))
		d.KnownFields(true)
		if err := d.Decode(&c); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(c.RuleFiles) != 2 {
			t.Errorf("%s has %d files of rules, want 2", name, len(c.RuleFiles))
		}
		for _, f := range c.RuleFiles {
			glob(t, filepath.Join("prometheus", f))
		}
		if len(c.ScrapeConfigs) != len(jobs) {
			t.Fatalf("%s has %d jobs, want %v", name, len(c.ScrapeConfigs), jobs)
		}
		for i, s := range c.ScrapeConfigs {
			if s.JobName != jobs[i] || len(s.Static)+len(s.File)+len(s.Kubernetes) != 1 {
				t.Errorf("%s: job %q finds its targets in %d ways", name, s.JobName, len(s.Static)+len(s.File)+len(s.Kubernetes))
			}
			for _, r := range append(s.Relabel, s.MetricRelabel...) {
				if err := r.Validate(model.UTF8Validation); err != nil {
					t.Errorf("%s: job %s: %v", name, s.JobName, err)
				}
			}
		}
	}
}
