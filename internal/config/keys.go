package config

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// keyOf returns the key of a field; "" for one that is not in the file.
func keyOf(f reflect.StructField) string {
	tag, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	if tag == "-" {
		return ""
	}
	return tag
}

// inlined reports that a field's own fields stand beside it in the file.
func inlined(f reflect.StructField) bool { return f.Tag.Get("yaml") == ",inline" }

func keysOf(t reflect.Type) []string {
	var ks []string
	for i := range t.NumField() {
		switch f := t.Field(i); {
		case inlined(f):
			ks = append(ks, keysOf(f.Type)...)
		case keyOf(f) != "":
			ks = append(ks, keyOf(f))
		}
	}
	return ks
}

// fieldsOf returns the place of each key's field.
func fieldsOf(t reflect.Type) map[string][]int {
	out := map[string][]int{}
	for i := range t.NumField() {
		f := t.Field(i)
		if inlined(f) {
			for k, at := range fieldsOf(f.Type) {
				out[k] = append([]int{i}, at...)
			}
		} else if k := keyOf(f); k != "" {
			out[k] = []int{i}
		}
	}
	return out
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
	case reflect.Float64:
		return "a number"
	default:
		return "a whole number"
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
		step, path = nextStep(n, path)
		next := child(n, step)
		if next == nil {
			return at
		}
		n = unwrap(next)
		at = n
	}
	return at
}

// nextStep takes the first step off a path: an index, or the longest key of n
// that it begins with, as keys may hold dots.
func nextStep(n ast.Node, path string) (step, rest string) {
	path = strings.TrimPrefix(path, ".")
	if strings.HasPrefix(path, "[") {
		end := strings.IndexByte(path, ']')
		return path[:end+1], path[end+1:]
	}
	if m, ok := n.(ast.MapNode); ok {
		for it := m.MapRange(); it.Next(); {
			if k := keyText(it.Key()); len(k) > len(step) && within(path, k) {
				step = k
			}
		}
	}
	if step == "" {
		step = path
		if i := strings.IndexAny(path, ".["); i >= 0 {
			step = path[:i]
		}
	}
	return step, path[len(step):]
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
		if keyText(it.Key()) == step {
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
