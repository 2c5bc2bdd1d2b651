package config

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// fit reports where a document is not as a schema says, as an editor would.
func fit(s map[string]any, v any, at string) (faults []string) {
	if choice, ok := s["anyOf"].([]any); ok {
		for _, x := range choice {
			if len(fit(x.(map[string]any), v, at)) == 0 {
				return nil
			}
		}
		return []string{at}
	}
	var types []string
	switch t := s["type"].(type) {
	case string:
		types = []string{t}
	case []any:
		for _, x := range t {
			types = append(types, x.(string))
		}
	}
	switch v := v.(type) {
	case map[string]any:
		if !slices.Contains(types, "object") {
			return []string{at}
		}
		properties, _ := s["properties"].(map[string]any)
		for k, x := range v {
			p, ok := properties[k].(map[string]any)
			if !ok {
				p, ok = s["additionalProperties"].(map[string]any)
			}
			if !ok {
				faults = append(faults, at+"."+k)
				continue
			}
			faults = append(faults, fit(p, x, at+"."+k)...)
		}
		required, _ := s["required"].([]any)
		for _, k := range required {
			if _, ok := v[k.(string)]; !ok {
				faults = append(faults, at+" lacks "+k.(string))
			}
		}
	case []any:
		if !slices.Contains(types, "array") {
			return []string{at}
		}
		for _, x := range v {
			faults = append(faults, fit(s["items"].(map[string]any), x, at+"[]")...)
		}
	default:
		kind := "number"
		switch v.(type) {
		case string:
			kind = "string"
		case bool:
			kind = "boolean"
		}
		if !slices.Contains(types, kind) && !(kind == "number" && slices.Contains(types, "integer")) {
			return []string{at}
		}
	}
	return faults
}

func TestSchema(t *testing.T) {
	b, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	var s map[string]any
	if err := json.Unmarshal(b, &s); err != nil {
		t.Fatal(err)
	}
	const rules = "version: 1\ncar: c\nspool: {dir: s}\nsources:\n  - name: can\n    socketcan: {dbc: [a, b]}\n    include: 'x*'\n    rename: {a: b}\n    channels: [{match: [x], deadband: 0.5, preview: {rate: 5Hz}}]\n"
	for _, tt := range []struct{ name, text, want string }{
		{"good", goodAgent, ""},
		{"channel rules", rules, ""},
		{"one file", strings.Replace(rules, "[a, b]", "a", 1), ""},
		{"unknown key", strings.Replace(rules, "deadband", "deadbnd", 1), ".sources[].channels[].deadbnd"},
		{"a mapping of files", strings.Replace(rules, "[a, b]", "{a: b}", 1), ".sources[].socketcan.dbc"},
		{"a text for a number", strings.Replace(rules, "0.5", "half", 1), ".sources[].channels[].deadband"},
		{"no car", strings.Replace(rules, "car: c\n", "", 1), " lacks car"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var doc any
			if err := yaml.Unmarshal([]byte(tt.text), &doc); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(fit(s, doc, ""), ","); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			path := filepath.Join(t.TempDir(), "a.yaml")
			if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := ReadAgent(path); (err == nil) != (tt.want == "") {
				t.Errorf("the reader says %v", err)
			}
		})
	}
}
