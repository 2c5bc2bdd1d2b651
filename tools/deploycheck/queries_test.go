package deploycheck

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// query is one PromQL expression and where it stands.
type query struct{ where, expr string }

// variables are Grafana's, with what stands for them here.
var variables = strings.NewReplacer("$__rate_interval", "1m", "$instance", ".*", "$car", ".*", "$link", ".*")

// panel is the part of a panel that is checked.
type panel struct {
	ID      int    `json:"id"`
	Title   string `json:"title"`
	Type    string `json:"type"`
	GridPos struct{ H, W, X, Y int }
	Targets []struct {
		Expr       string `json:"expr"`
		Legend     string `json:"legendFormat"`
		Datasource struct{ UID string }
	} `json:"targets"`
}

type dashboard struct {
	UID        string  `json:"uid"`
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct{ Name, Definition string }
	} `json:"templating"`
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// dashboards reads all dashboards, strictly enough that Grafana shows them.
func dashboards(t *testing.T) (all []dashboard, qs []query) {
	t.Helper()
	uids, ids := map[string]bool{}, map[string]bool{}
	for _, path := range glob(t, "grafana/dashboards/*.json") {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		var d dashboard
		if err := json.Unmarshal(b, &d); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if d.UID == "" || d.Title == "" || uids[d.UID] {
			t.Errorf("%s: uid %q and title %q must be there, and no other's", path, d.UID, d.Title)
		}
		uids[d.UID] = true
		for _, v := range d.Templating.List {
			m := labelValues.FindStringSubmatch(v.Definition)
			if m == nil {
				t.Fatalf("%s: variable %s is %q", path, v.Name, v.Definition)
			}
			qs = append(qs, query{path + ": variable " + v.Name, m[1]})
		}
		for i := range d.Panels {
			p := &d.Panels[i]
			where := fmt.Sprintf("%s: %q", filepath.Base(path), p.Title)
			id := fmt.Sprint(d.UID, p.ID)
			if ids[id] || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W < 1 {
				t.Errorf("%s: id %d twice, or outside of the 24 columns: %+v", where, p.ID, p.GridPos)
			}
			ids[id] = true
			if (p.Type == "row") != (len(p.Targets) == 0) {
				t.Errorf("%s: a %s with %d queries", where, p.Type, len(p.Targets))
			}
			for _, q := range p.Targets {
				if q.Datasource.UID != "prometheus" {
					t.Errorf("%s asks %q, which the provisioning does not make", where, q.Datasource.UID)
				}
				qs = append(qs, query{where, q.Expr})
			}
		}
		all = append(all, d)
	}
	return all, qs
}

// rules reads a file of rules as Prometheus does.
func rules(t *testing.T, name string) []rulefmt.Rule {
	t.Helper()
	groups, errs := rulefmt.Parse(file(t, name), false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Errorf("%s: %v", name, err)
	}
	if groups == nil {
		t.FailNow()
	}
	var out []rulefmt.Rule
	for _, g := range groups.Groups {
		out = append(out, g.Rules...)
	}
	return out
}

// fromTargets are labels that a scrape's target adds, not the process.
var fromTargets = []string{"instance", "job", "namespace", "role", model.MetricNameLabel}

// checkSelector reports what a selector names and nobody exposes.
func checkSelector(s *parser.VectorSelector, recorded map[string]bool, receiver, agent exposed) error {
	name := s.Name
	if name == "up" || recorded[name] {
		return nil
	}
	from, target := receiver, fromTargets
	if strings.HasPrefix(name, "edgeagent_") {
		from, target = agent, append(slices.Clone(fromTargets), "car")
	}
	have, ok := from[name]
	if !ok {
		return fmt.Errorf("nothing exposes %s", name)
	}
	for _, m := range s.LabelMatchers {
		if slices.Contains(target, m.Name) || len(have) == 0 {
			continue
		}
		if have[m.Name] == nil {
			return fmt.Errorf("%s has no label %s", name, m.Name)
		}
		hit := false
		for v := range have[m.Name] {
			hit = hit || m.Matches(v)
		}
		if !hit {
			return fmt.Errorf("no value of %s's label %s fits %s", name, m.Name, m)
		}
	}
	return nil
}

func TestEveryQueryAsksForWhatIsExposed(t *testing.T) {
	receiver, agent := scrape(t)
	_, qs := dashboards(t)
	recorded := map[string]bool{}
	for _, name := range []string{"prometheus/rules.yml", "prometheus/alerts.yml"} {
		for _, r := range rules(t, name) {
			if r.Record != "" {
				recorded[r.Record] = true
			}
			qs = append(qs, query{name + ": " + r.Record + r.Alert, r.Expr})
		}
	}
	if len(qs) < 100 {
		t.Fatalf("only %d queries were found", len(qs))
	}
	p := parser.NewParser(parser.Options{})
	for _, q := range qs {
		expr, err := p.ParseExpr(variables.Replace(q.expr))
		if err != nil {
			t.Errorf("%s: %v in %s", q.where, err, q.expr)
			continue
		}
		parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
			if s, ok := n.(*parser.VectorSelector); ok {
				if err := checkSelector(s, recorded, receiver, agent); err != nil {
					t.Errorf("%s: %v", q.where, err)
				}
			}
			return nil
		})
	}
}

// TestSelectorsThatNobodyServesAreFound: the check above can fail.
func TestSelectorsThatNobodyServesAreFound(t *testing.T) {
	have := exposed{}
	if err := have.add("# TYPE telemetry_x gauge\ntelemetry_x{state=\"ok\"} 1\n# TYPE telemetry_later gauge\n"); err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string]string{
		`telemetry_x{state="ok",instance="a"}`: "",
		`telemetry_x{state=~"ok|bad"}`:         "",
		`telemetry_later{anything="at all"}`:   "",
		`up{job="x"}`:                          "",
		`telemetry_y`:                          "nothing exposes telemetry_y",
		`edgeagent_x`:                          "nothing exposes edgeagent_x",
		`telemetry_x{stat="ok"}`:               "telemetry_x has no label stat",
		`telemetry_x{state="fine"}`:            `no value of telemetry_x's label state fits state="fine"`,
	} {
		e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
		if err != nil {
			t.Fatal(err)
		}
		s, ok := e.(*parser.VectorSelector)
		if !ok {
			t.Fatalf("%s is a %T", expr, e)
		}
		got := ""
		if err := checkSelector(s, nil, have, exposed{}); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}

// TestEveryAlertHasARunbook: with what it means, what to look at and what to do; and
// no runbook is of an alert that is gone.
func TestEveryAlertHasARunbook(t *testing.T) {
	b, err := os.ReadFile("../../docs/deploy.md")
	if err != nil {
		t.Fatal(err)
	}
	entries := map[string]string{}
	for _, part := range strings.Split(string(b), "\n#### ")[1:] {
		name, body, _ := strings.Cut(part, "\n")
		body, _, _ = strings.Cut(body, "\n#")
		entries[name] = body
	}
	for _, r := range rules(t, "prometheus/alerts.yml") {
		body, ok := entries[r.Alert]
		delete(entries, r.Alert)
		for _, word := range []string{"**Means**", "**Look**", "**Do**"} {
			if !ok || !strings.Contains(body, word) {
				t.Errorf("docs/deploy.md: alert %s has no %s", r.Alert, word)
			}
		}
		if want := "docs/deploy.md#" + strings.ToLower(r.Alert); r.Annotations["runbook"] != want {
			t.Errorf("alert %s points to %q, want %q", r.Alert, r.Annotations["runbook"], want)
		}
		if s := r.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("alert %s has severity %q (want page or ticket)", r.Alert, s)
		}
		if r.Annotations["summary"] == "" {
			t.Errorf("alert %s has no summary", r.Alert)
		}
	}
	for name := range entries {
		t.Errorf("docs/deploy.md has a runbook of %s, which is no alert", name)
	}
}
