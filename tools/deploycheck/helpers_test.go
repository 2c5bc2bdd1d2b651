package deploycheck

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	yamlv3 "go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// deploy is the folder that is checked.
const deploy = "../../deploy"

// file reads one file below deploy.
func file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deploy, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// glob lists files below deploy; none is an error.
func glob(t *testing.T, pattern string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(deploy, pattern))
	if err != nil || len(all) == 0 {
		t.Fatalf("no file %s: %v", pattern, err)
	}
	return all
}

// documents splits a YAML stream; each document comes back alone.
func documents(t *testing.T, b []byte) [][]byte {
	t.Helper()
	var out [][]byte
	for d := yamlv3.NewDecoder(bytes.NewReader(b)); ; {
		var n yamlv3.Node
		if err := d.Decode(&n); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			t.Fatal(err)
		}
		one, err := yamlv3.Marshal(&n)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, one)
	}
}

// strict decodes YAML as an API server does: unknown and double keys are errors, and
// so is a key whose capitals differ.
func strict(t *testing.T, name string, b []byte, into any) {
	t.Helper()
	if err := decode(b, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func decode(b []byte, into any) error {
	j, err := yaml.YAMLToJSONStrict(b)
	if err != nil {
		return fmt.Errorf("yaml: %w", err)
	}
	faults, err := json.UnmarshalStrict(j, into)
	return errors.Join(append(faults, err)...)
}

// TestDecodingIsStrict: what must not pass does not.
func TestDecodingIsStrict(t *testing.T) {
	for name, text := range map[string]string{
		"unknown key":    "metadata: {nam: a}",
		"other capitals": "metadata: {Name: a}",
		"double key":     "metadata: {name: a, name: b}",
		"wrong type":     "metadata: {name: [a]}",
	} {
		if err := decode([]byte(text), new(corev1.Service)); err == nil {
			t.Errorf("%s is taken: %s", name, text)
		}
	}
	if err := decode([]byte("metadata: {name: a}"), new(corev1.Service)); err != nil {
		t.Error(err)
	}
}

// TestEveryYAMLFileParses: also those that no other test knows, without double keys.
func TestEveryYAMLFileParses(t *testing.T) {
	n := 0
	err := filepath.WalkDir(deploy, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(p) != ".yaml" && filepath.Ext(p) != ".yml" {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		for _, doc := range documents(t, b) {
			var v any
			strict(t, p, doc, &v)
			n++
		}
		return nil
	})
	if err != nil || n < 10 {
		t.Fatalf("%d documents: %v", n, err)
	}
}

func toYAML(t *testing.T, v any) []byte {
	t.Helper()
	b, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func itoa(n int32) string { return strconv.Itoa(int(n)) }
