package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// presetter is a struct with defaults of its own: they are set before its keys
// are read, so that a zero in the file stays a zero and is judged as one.
type presetter interface{ preset() }

// loneScalar is a list that may be written as its only entry.
type loneScalar interface{ loneScalar() }

// unmarshaler is a scalar that reads itself from its node.
type unmarshaler interface{ UnmarshalYAML(n ast.Node) error }

// decoder sets a Go value from a document and reports everything that does not
// fit: unknown keys, and mappings, lists and values in the wrong place. The YAML
// library's own decoding would stop at the first.
type decoder struct {
	anchors map[string]ast.Node
	filled  map[ast.Node]bool // texts that may be of any type: variables of the process are part of them
	report  func(n ast.Node, path, msg string)
	covered []string // paths that a misspelt key was meant for
	vague   []string // mappings with a key that means nothing: something else may be missing in them
}

// decode reads body into the struct that into points to and tells which other
// faults would only follow from those that it reports.
func decode(body ast.Node, into any, filled map[ast.Node]bool, report func(n ast.Node, path, msg string)) (follows func(path string) bool) {
	d := &decoder{anchors: map[string]ast.Node{}, filled: filled}
	d.report = func(n ast.Node, path, msg string) {
		d.covered = append(d.covered, path)
		report(n, path, msg)
	}
	ast.Walk(d, body)
	d.node(body, reflect.ValueOf(into).Elem(), "")
	return func(path string) bool {
		return slices.Contains(d.vague, path) || slices.ContainsFunc(d.covered, func(c string) bool { return within(path, c) })
	}
}

// within reports whether path is outer or lies inside it.
func within(path, outer string) bool {
	rest, ok := strings.CutPrefix(path, outer)
	return ok && (rest == "" || outer == "" || rest[0] == '.' || rest[0] == '[')
}

// Visit collects anchors, for ast.Walk.
func (d *decoder) Visit(n ast.Node) ast.Visitor {
	if a, ok := n.(*ast.AnchorNode); ok {
		d.anchors[a.Name.GetToken().Value] = a.Value
	}
	return d
}

// resolve follows anchors, tags and aliases to the node that holds the value, or
// nil for an alias of nothing.
func (d *decoder) resolve(n ast.Node) ast.Node {
	n = unwrap(n)
	for range len(d.anchors) + 1 {
		a, ok := n.(*ast.AliasNode)
		if !ok {
			return n
		}
		n = unwrap(d.anchors[a.Value.GetToken().Value])
	}
	return nil
}

func (d *decoder) node(at ast.Node, v reflect.Value, path string) {
	n := d.resolve(at)
	if n == nil {
		d.report(at, path, "is an alias of no anchor before it")
		return
	}
	if isNull(n) {
		return
	}
	if v.Kind() == reflect.Pointer {
		p := reflect.New(v.Type().Elem())
		d.node(n, p.Elem(), path)
		v.Set(p)
		return
	}
	if isScalarType(v.Type()) {
		d.scalar(n, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		m, ok := n.(ast.MapNode)
		if !ok {
			d.report(n, path, fmt.Sprintf("is a %s (want a mapping with %s)", nodeKind(n), strings.Join(keysOf(v.Type()), ", ")))
			return
		}
		d.fields(m, v, path)
	case reflect.Slice:
		s, ok := n.(*ast.SequenceNode)
		if _, lone := v.Interface().(loneScalar); lone && !ok && isScalar(n) {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			d.node(n, v.Index(0), path)
			return
		}
		if !ok {
			want := "a list"
			if _, lone := v.Interface().(loneScalar); lone {
				want = wantOf(v.Type().Elem()) + ", or a list"
			}
			d.report(n, path, fmt.Sprintf("is a %s (want %s)", nodeKind(n), want))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), len(s.Values), len(s.Values)))
		for i, e := range s.Values {
			d.node(e, v.Index(i), fmt.Sprintf("%s[%d]", path, i))
		}
	case reflect.Map:
		m, ok := n.(ast.MapNode)
		if !ok {
			d.report(n, path, fmt.Sprintf("is a %s (want a mapping)", nodeKind(n)))
			return
		}
		v.Set(reflect.MakeMap(v.Type()))
		for it := m.MapRange(); it.Next(); {
			e := reflect.New(v.Type().Elem()).Elem()
			d.node(it.Value(), e, join(path, keyText(it.Key())))
			v.SetMapIndex(reflect.ValueOf(keyText(it.Key())), e)
		}
	}
}

func (d *decoder) fields(m ast.MapNode, v reflect.Value, path string) {
	if p, ok := v.Addr().Interface().(presetter); ok {
		p.preset()
	}
	fields := fieldsOf(v.Type())
	for it := m.MapRange(); it.Next(); {
		key := keyText(it.Key())
		i, known := fields[key]
		if known {
			d.node(it.Value(), v.FieldByIndex(i), join(path, key))
			continue
		}
		keys := keysOf(v.Type())
		msg := fmt.Sprintf("unknown key (want one of %s)", strings.Join(keys, ", "))
		if near := nearest(key, keys); near != "" {
			msg = fmt.Sprintf("unknown key, did you mean %q?", near)
			d.covered = append(d.covered, join(path, near))
		} else {
			d.vague = append(d.vague, path)
		}
		d.report(it.Key(), join(path, key), msg)
	}
}

// scalar reads one plain value. Texts are taken as they stand in the file: 0123
// is the text "0123", not a number.
func (d *decoder) scalar(n ast.Node, v reflect.Value, path string) {
	if !isScalar(n) {
		d.report(n, path, fmt.Sprintf("is a %s (want %s)", nodeKind(n), wantOf(v.Type())))
		return
	}
	if u, ok := v.Addr().Interface().(unmarshaler); ok {
		if err := u.UnmarshalYAML(n); err != nil {
			d.report(n, path, message(err))
		}
		return
	}
	t := text(n)
	switch v.Kind() {
	case reflect.String:
		v.SetString(t)
		return
	case reflect.Bool:
		if b, ok := n.(*ast.BoolNode); ok {
			v.SetBool(b.Value)
			return
		}
		if d.filled[n] && (t == "true" || t == "false") {
			v.SetBool(t == "true")
			return
		}
	case reflect.Float64:
		if f, err := strconv.ParseFloat(t, 64); err == nil && (n.Type() == ast.IntegerType || n.Type() == ast.FloatType || d.filled[n]) {
			v.SetFloat(f)
			return
		}
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(t, 10, v.Type().Bits())
		if err == nil && (n.Type() == ast.IntegerType || d.filled[n]) {
			v.SetInt(i)
			return
		}
	}
	d.report(n, path, fmt.Sprintf("is %q (want %s)", t, wantOf(v.Type())))
}

func message(err error) string {
	var v *valueError
	if errors.As(err, &v) {
		return v.message
	}
	return err.Error()
}

// keyText returns a key without its quotes.
func keyText(k ast.MapKeyNode) string {
	if tk := k.GetToken(); tk != nil {
		return tk.Value
	}
	return k.String()
}
