package config

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

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
