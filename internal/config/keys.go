package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// checkKeys walks the document beside the Go type that it is meant for and
// reports every unknown key and every mapping, list or scalar in the wrong
// place. The decoder alone would stop at the first.
func checkKeys(body ast.Node, into any, report func(n ast.Node, path, msg string)) {
	checkNode(body, reflect.TypeOf(into).Elem(), "", report)
}

func checkNode(n ast.Node, t reflect.Type, path string, report func(ast.Node, string, string)) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	n = unwrap(n)
	if n == nil || isNull(n) || isScalarType(t) {
		if n != nil && isScalarType(t) && !isScalar(n) && !isNull(n) {
			report(n, path, fmt.Sprintf("is a %s (want %s)", nodeKind(n), wantOf(t)))
		}
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		m, ok := n.(ast.MapNode)
		if !ok {
			report(n, path, fmt.Sprintf("is a %s (want a mapping with %s)", nodeKind(n), strings.Join(keysOf(t), ", ")))
			return
		}
		checkStruct(m, t, path, report)
	case reflect.Slice:
		s, ok := n.(*ast.SequenceNode)
		if !ok {
			report(n, path, fmt.Sprintf("is a %s (want a list)", nodeKind(n)))
			return
		}
		for i, v := range s.Values {
			checkNode(v, t.Elem(), fmt.Sprintf("%s[%d]", path, i), report)
		}
	case reflect.Map:
		m, ok := n.(ast.MapNode)
		if !ok {
			report(n, path, fmt.Sprintf("is a %s (want a mapping)", nodeKind(n)))
			return
		}
		for it := m.MapRange(); it.Next(); {
			checkNode(it.Value(), t.Elem(), join(path, it.Key().String()), report)
		}
	}
}

func checkStruct(m ast.MapNode, t reflect.Type, path string, report func(ast.Node, string, string)) {
	fields := map[string]reflect.Type{}
	for i := range t.NumField() {
		if k := keyOf(t.Field(i)); k != "" {
			fields[k] = t.Field(i).Type
		}
	}
	for it := m.MapRange(); it.Next(); {
		key := it.Key().String()
		ft, known := fields[key]
		if !known {
			msg := "unknown key"
			if near := nearest(key, keysOf(t)); near != "" {
				msg += fmt.Sprintf(", did you mean %q?", near)
			} else {
				msg += fmt.Sprintf(" (want one of %s)", strings.Join(keysOf(t), ", "))
			}
			report(it.Key(), join(path, key), msg)
			continue
		}
		checkNode(it.Value(), ft, join(path, key), report)
	}
}

func keyOf(f reflect.StructField) string {
	tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if tag == "-" {
		return ""
	}
	return tag
}

func keysOf(t reflect.Type) []string {
	var ks []string
	for i := range t.NumField() {
		if k := keyOf(t.Field(i)); k != "" {
			ks = append(ks, k)
		}
	}
	return ks
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func unwrap(n ast.Node) ast.Node {
	for {
		switch v := n.(type) {
		case *ast.AnchorNode:
			n = v.Value
		case *ast.TagNode:
			n = v.Value
		default:
			return n
		}
	}
}

func isNull(n ast.Node) bool { return n.Type() == ast.NullType }

func isScalar(n ast.Node) bool {
	switch n.Type() {
	case ast.StringType, ast.IntegerType, ast.FloatType, ast.BoolType, ast.LiteralType, ast.InfinityType, ast.NanType, ast.AliasType:
		return true
	}
	return false
}

var scalarType = reflect.TypeFor[scalar]()

func isScalarType(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Struct, reflect.Slice, reflect.Map:
		return reflect.PointerTo(t).Implements(scalarType)
	}
	return true
}

func wantOf(t reflect.Type) string {
	if s, ok := reflect.New(t).Interface().(scalar); ok {
		return s.want()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a text"
	default:
		return "a number"
	}
}

func nodeKind(n ast.Node) string {
	switch {
	case n.Type() == ast.SequenceType:
		return "list"
	case isScalar(n):
		return "plain value"
	}
	if _, ok := n.(ast.MapNode); ok {
		return "mapping"
	}
	return strings.ToLower(n.Type().String())
}

// nodeAt returns the node of a path as validate reports it, or the nearest
// enclosing one.
func nodeAt(body ast.Node, path string) ast.Node {
	n := unwrap(body)
	at := n
	for path != "" {
		var step string
		step, path = nextStep(path)
		next := child(n, step)
		if next == nil {
			return at
		}
		n = unwrap(next)
		at = n
	}
	return at
}

func nextStep(path string) (step, rest string) {
	path = strings.TrimPrefix(path, ".")
	if strings.HasPrefix(path, "[") {
		end := strings.IndexByte(path, ']')
		return path[:end+1], path[end+1:]
	}
	if i := strings.IndexAny(path, ".["); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

func child(n ast.Node, step string) ast.Node {
	if strings.HasPrefix(step, "[") {
		s, ok := n.(*ast.SequenceNode)
		i, err := strconv.Atoi(strings.Trim(step, "[]"))
		if !ok || err != nil || i >= len(s.Values) {
			return nil
		}
		return s.Values[i]
	}
	m, ok := n.(ast.MapNode)
	if !ok {
		return nil
	}
	for it := m.MapRange(); it.Next(); {
		if it.Key().String() == step {
			return it.Value()
		}
	}
	return nil
}

// nearest returns the candidate within two edits of word, or "".
func nearest(word string, candidates []string) string {
	best, at := 3, ""
	for _, c := range candidates {
		if d := distance(word, c); d < best {
			best, at = d, c
		}
	}
	return at
}

// distance is the Levenshtein distance of two short words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diag := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diag
			if a[i] != b[j] {
				cost++
			}
			diag = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
