package deploycheck

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"telemetry/internal/config"
)

// kinds makes the type of each kind that is used, as Kubernetes' own API defines it.
var kinds = map[string]func() metav1.Object{
	"v1/Namespace":                           func() metav1.Object { return new(corev1.Namespace) },
	"v1/ServiceAccount":                      func() metav1.Object { return new(corev1.ServiceAccount) },
	"v1/ConfigMap":                           func() metav1.Object { return new(corev1.ConfigMap) },
	"v1/Service":                             func() metav1.Object { return new(corev1.Service) },
	"apps/v1/Deployment":                     func() metav1.Object { return new(appsv1.Deployment) },
	"apps/v1/StatefulSet":                    func() metav1.Object { return new(appsv1.StatefulSet) },
	"policy/v1/PodDisruptionBudget":          func() metav1.Object { return new(policyv1.PodDisruptionBudget) },
	"autoscaling/v2/HorizontalPodAutoscaler": func() metav1.Object { return new(autoscalingv2.HorizontalPodAutoscaler) },
	"networking.k8s.io/v1/NetworkPolicy":     func() metav1.Object { return new(networkingv1.NetworkPolicy) },
}

// objects decodes all manifests strictly.
func objects(t *testing.T) (all []metav1.Object) {
	t.Helper()
	seen := map[string]bool{}
	for _, path := range glob(t, "kubernetes/*.yaml") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, doc := range documents(t, b) {
			var k metav1.PartialObjectMetadata
			strict(t, path, metadata(t, path, doc), &k)
			kind := k.APIVersion + "/" + k.Kind
			if kinds[kind] == nil {
				t.Fatalf("%s: kind %s is not known here", path, kind)
			}
			o := kinds[kind]()
			strict(t, path+": "+kind, doc, o)
			if id := kind + " " + o.GetName(); seen[id] {
				t.Errorf("%s: %s stands twice", path, id)
			} else {
				seen[id] = true
			}
			if kind != "v1/Namespace" && o.GetNamespace() != "telemetry" {
				t.Errorf("%s: %s %s is in namespace %q", path, kind, o.GetName(), o.GetNamespace())
			}
			all = append(all, o)
		}
	}
	return all
}

// metadata cuts a document down to what every kind has.
func metadata(t *testing.T, path string, doc []byte) []byte {
	t.Helper()
	var v map[string]any
	strict(t, path, doc, &v)
	for k := range v {
		if k != "apiVersion" && k != "kind" && k != "metadata" {
			delete(v, k)
		}
	}
	return toYAML(t, v)
}

// only returns the objects of one type.
func only[T any](all []metav1.Object) (out []T) {
	for _, o := range all {
		if v, ok := o.(T); ok {
			out = append(out, v)
		}
	}
	return out
}

// workload is a role's pods, whatever makes them.
type workload struct {
	name     string
	replicas *int32
	selector *metav1.LabelSelector
	pod      corev1.PodTemplateSpec
}

func workloads(all []metav1.Object) (out []workload) {
	for _, d := range only[*appsv1.Deployment](all) {
		out = append(out, workload{d.Name, d.Spec.Replicas, d.Spec.Selector, d.Spec.Template})
	}
	for _, s := range only[*appsv1.StatefulSet](all) {
		out = append(out, workload{s.Name, s.Spec.Replicas, s.Spec.Selector, s.Spec.Template})
	}
	return out
}

func selects(want, labels map[string]string) bool {
	for k, v := range want {
		if labels[k] != v {
			return false
		}
	}
	return len(want) > 0
}

// What the receiver may take to end, beside the time before it is told: ingest waits 5 s for
// Kafka and its producer 5 s more.
const longestDrain = 10 * time.Second

func TestPodsAreHardenedProbedAndDrained(t *testing.T) {
	ws := workloads(objects(t))
	if len(ws) != 3 {
		t.Fatalf("%d workloads, want one per role", len(ws))
	}
	for _, w := range ws {
		spec := w.pod.Spec
		if !selects(w.selector.MatchLabels, w.pod.Labels) {
			t.Errorf("%s does not select its own pods", w.name)
		}
		sc := spec.SecurityContext
		if sc == nil || sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot || *sc.RunAsUser != 65532 || sc.SeccompProfile == nil {
			t.Errorf("%s: pods may run as root or without seccomp", w.name)
		}
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			t.Errorf("%s: pods hold a token of the cluster", w.name)
		}
		for _, c := range spec.Containers {
			checkContainer(t, w.name, &c)
			grace := time.Duration(*spec.TerminationGracePeriodSeconds) * time.Second
			before := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds) * time.Second
			if before+longestDrain+5*time.Second > grace {
				t.Errorf("%s: %v of grace for %v and a drain of up to %v", w.name, grace, before, longestDrain)
			}
			for _, m := range c.VolumeMounts {
				if !slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) || !m.ReadOnly {
					t.Errorf("%s: volume %s is not there, or may be written", w.name, m.Name)
				}
			}
		}
	}
}

func checkContainer(t *testing.T, name string, c *corev1.Container) {
	t.Helper()
	sc := c.SecurityContext
	if sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem || *sc.AllowPrivilegeEscalation || !slices.Contains(sc.Capabilities.Drop, "ALL") {
		t.Errorf("%s: the container is not shut in", name)
	}
	for kind, p := range map[string]*corev1.Probe{"startup": c.StartupProbe, "liveness": c.LivenessProbe, "readiness": c.ReadinessProbe} {
		if p == nil || p.HTTPGet == nil || p.HTTPGet.Port.StrVal != "health" {
			t.Fatalf("%s has no %s probe on port health", name, kind)
		}
		if want := map[bool]string{true: "/readyz", false: "/healthz"}[kind == "readiness"]; p.HTTPGet.Path != want {
			t.Errorf("%s: %s asks %s, want %s", name, kind, p.HTTPGet.Path, want)
		}
	}
	if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
		t.Errorf("%s: no limit of memory or no share of the processor", name)
	}
}

func TestEveryRoleHasItsBudgetPolicyAndService(t *testing.T) {
	all := objects(t)
	for _, w := range workloads(all) {
		budgets := slices.DeleteFunc(only[*policyv1.PodDisruptionBudget](all), func(p *policyv1.PodDisruptionBudget) bool {
			return !selects(p.Spec.Selector.MatchLabels, w.pod.Labels)
		})
		if len(budgets) != 1 {
			t.Errorf("%s has %d disruption budgets, want 1", w.name, len(budgets))
		}
		var in, out bool
		for _, p := range only[*networkingv1.NetworkPolicy](all) {
			if selects(p.Spec.PodSelector.MatchLabels, w.pod.Labels) {
				in = in || slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeIngress)
				out = out || slices.Contains(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
			}
		}
		if !in || !out {
			t.Errorf("%s: traffic in %t and out %t is bounded by a policy", w.name, in, out)
		}
	}
	for _, s := range only[*corev1.Service](all) {
		for _, p := range s.Spec.Ports {
			if !slices.ContainsFunc(workloads(all), func(w workload) bool {
				return selects(s.Spec.Selector, w.pod.Labels) && slices.ContainsFunc(w.pod.Spec.Containers[0].Ports, func(c corev1.ContainerPort) bool { return c.Name == p.TargetPort.StrVal })
			}) {
				t.Errorf("service %s: no pod has a port %q", s.Name, p.TargetPort.StrVal)
			}
		}
	}
	for _, s := range only[*appsv1.StatefulSet](all) {
		if !slices.ContainsFunc(only[*corev1.Service](all), func(v *corev1.Service) bool { return v.Name == s.Spec.ServiceName && v.Spec.ClusterIP == "None" }) {
			t.Errorf("%s has no headless service %q", s.Name, s.Spec.ServiceName)
		}
	}
}

// TestConfigurationsAreTheReceivers: the receiver's own reader takes each file of the
// ConfigMap, and ports and mounts are those that it names.
func TestConfigurationsAreTheReceivers(t *testing.T) {
	all := objects(t)
	maps := only[*corev1.ConfigMap](all)
	if len(maps) != 1 {
		t.Fatalf("%d config maps", len(maps))
	}
	partitions := 0
	for _, w := range workloads(all) {
		c := w.pod.Spec.Containers[0]
		var key string
		var mounts []string
		for _, m := range c.VolumeMounts {
			mounts = append(mounts, m.MountPath)
			if m.MountPath == "/etc/receiver/receiver.yaml" {
				key = m.SubPath
			}
		}
		text, ok := maps[0].Data[key]
		if !ok {
			t.Fatalf("%s mounts %q, which the map does not have", w.name, key)
		}
		cfg, err := config.ReadReceiver(write(t, t.TempDir(), key, text))
		if err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		if want := w.pod.Labels["app.kubernetes.io/component"]; len(cfg.Roles) != 1 || cfg.Roles[0] != want {
			t.Errorf("%s has roles %v, want %s", w.name, cfg.Roles, want)
		}
		listens := map[string]string{"health": cfg.Health.Listen, "mqtt": cfg.MQTT.Listen, "page": cfg.Live.Listen}
		for _, p := range c.Ports {
			if _, port, _ := strings.Cut(listens[p.Name], ":"); port != itoa(p.ContainerPort) {
				t.Errorf("%s: port %s is %d, the receiver listens on %q", w.name, p.Name, p.ContainerPort, listens[p.Name])
			}
		}
		used := []string{cfg.Kafka.TLS.CA, cfg.Kafka.SASL.Password.File}
		if tls := cfg.MQTT.TLS; tls != nil {
			used = append(used, tls.CA, tls.Cert, tls.Key, tls.CRL)
		}
		if live := cfg.Live; live.TLS != nil {
			used = append(used, live.TLS.Cert, live.TLS.Key, live.Login.Tokens)
		} else if !config.Loopback(live.Listen) && live.Listen != "off" {
			t.Errorf("%s shows the page without TLS", w.name)
		}
		for _, f := range used {
			if !slices.Contains(mounts, filepath.Dir(f)) {
				t.Errorf("%s reads %s, which nothing mounts", w.name, f)
			}
		}
		if partitions != 0 && cfg.Kafka.Partitions != partitions {
			t.Errorf("%s makes topics of %d partitions, another role of %d", w.name, cfg.Kafka.Partitions, partitions)
		}
		partitions = cfg.Kafka.Partitions
	}
	checkScaler(t, all, partitions)
}

func checkScaler(t *testing.T, all []metav1.Object, partitions int) {
	t.Helper()
	scalers := only[*autoscalingv2.HorizontalPodAutoscaler](all)
	if len(scalers) != 1 {
		t.Fatalf("%d autoscalers", len(scalers))
	}
	s := scalers[0].Spec
	if int(s.MaxReplicas) > partitions {
		t.Errorf("up to %d sequencers for %d partitions", s.MaxReplicas, partitions)
	}
	for _, w := range workloads(all) {
		if scaled := w.name == s.ScaleTargetRef.Name; scaled != (w.replicas == nil) {
			t.Errorf("%s: scaled %t, and replicas set %t: they would fight", w.name, scaled, w.replicas != nil)
		}
	}
	if !strings.Contains(string(file(t, "prometheus/prometheus-adapter.yaml")), "as: "+s.Metrics[0].External.Metric.Name+"}") {
		t.Errorf("the adapter makes no metric %s", s.Metrics[0].External.Metric.Name)
	}
	for _, r := range rules(t, "prometheus/rules.yml") {
		if strings.Contains(string(file(t, "prometheus/prometheus-adapter.yaml")), "'"+r.Record+"{") {
			return
		}
	}
	t.Error("the adapter reads no recorded rule")
}
