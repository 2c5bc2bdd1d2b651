// Package config reads the YAML files of both binaries: strictly, with units in
// the values, and with every fault named by file, line and column. A value may
// have variables of the process in it: ${NAME} or ${NAME:-default}.
//
// The entry points are [ReadAgent] and [ReadReceiver]. It is the only package
// of the module that decodes YAML. It never starts anything, and never returns
// a configuration together with an error.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// Version is the only schema version that this build reads.
const Version = 1

// MaxFileBytes bounds a configuration file; real ones have a few kilobytes.
const MaxFileBytes = 1 << 20

// Fault is one thing wrong with a file. Line and Column count from 1; both are
// 0 when the fault has no place of its own.
type Fault struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Path    string `json:"path"`    // as "links[0].interface"; may be empty
	Message string `json:"message"` // what is wrong and what was expected
}

// Error returns "file:line:column: path: message".
func (f Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": ")
	if f.Path != "" {
		b.WriteString(f.Path + ": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// Faults is every fault found in one file, in the order of their lines.
type Faults []Fault

// Error returns one line per fault.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// validator reports semantic faults by the path of the value at fault.
type validator interface {
	validate(report func(path, format string, args ...any))
}

// places finds where a value stands in the file that it was read from. The zero
// value knows no place.
type places struct {
	file string
	body ast.Node
	hide func(message string) string // nil: there is nothing to hide
}

// fault returns a fault of the value at path, or of the nearest mapping around
// it.
func (p places) fault(path, format string, args ...any) Fault {
	if i := strings.LastIndexByte(path, '['); p.body != nil && i > 0 && strings.HasSuffix(path, "]") && isScalar(nodeAt(p.body, path[:i])) {
		path = path[:i] // a list that is written as its only entry
	}
	f := Fault{File: p.file, Path: path, Message: fmt.Sprintf(format, args...)}
	if p.hide != nil {
		f.Message = p.hide(f.Message)
	}
	if p.body != nil {
		f = faultAt(p.file, nodeAt(p.body, path), path, f.Message)
	}
	return f
}

// read decodes the file at path into v, which must be a pointer to a struct, and
// validates it. All faults are returned together as Faults.
func read(path string, v validator) (places, error) {
	b, err := readBounded(path)
	if err != nil {
		return places{}, err
	}
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return places{}, Faults{syntaxFault(path, err)}
	}
	body, fault := onlyDocument(path, file)
	if fault != nil {
		return places{}, Faults{*fault}
	}
	var faults Faults
	env := &environment{filled: map[ast.Node]bool{}, report: func(n ast.Node, p, msg string) {
		faults = append(faults, faultAt(path, n, p, msg))
	}}
	if env.fill(body, ""); len(faults) > 0 {
		return places{}, faults.Sorted() // what the values are is not known
	}
	follows := decode(body, v, env.filled, func(n ast.Node, p, msg string) {
		faults = append(faults, faultAt(path, n, p, env.hide(msg)))
	})
	at := places{file: path, body: body, hide: env.hide}
	v.validate(func(p, format string, args ...any) {
		if !follows(p) { // what follows from another fault is not worth a line
			faults = append(faults, at.fault(p, format, args...))
		}
	})
	if len(faults) > 0 {
		return places{}, faults.Sorted()
	}
	return at, nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	if len(b) > MaxFileBytes {
		return nil, Faults{{File: path, Message: fmt.Sprintf("has more than %d bytes: is this a configuration file?", MaxFileBytes)}}
	}
	return b, nil
}

// unreadable says that there is no configuration: without one nothing can start.
func unreadable(path string, err error) Faults {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return Faults{{File: path, Message: fmt.Sprintf("cannot be read: %v (name the file with --config)", err)}}
}

// onlyDocument returns the body of the single document of file: a second one
// would be ignored in silence by the decoder.
func onlyDocument(path string, file *ast.File) (ast.Node, *Fault) {
	var body ast.Node
	for _, d := range file.Docs {
		if d.Body == nil {
			continue
		}
		if _, comment := d.Body.(*ast.CommentGroupNode); comment {
			continue
		}
		if body != nil {
			f := faultAt(path, d.Body, "", "a second document in one file (want exactly one)")
			return nil, &f
		}
		body = d.Body
	}
	if body == nil {
		return nil, &Fault{File: path, Message: "is empty (want at least `version: 1`)"}
	}
	return body, nil
}

func syntaxFault(path string, err error) Fault {
	f := Fault{File: path, Message: err.Error()}
	var placed yaml.Error
	if errors.As(err, &placed) {
		f.Message = placed.GetMessage()
		if tk := placed.GetToken(); tk != nil && tk.Position != nil {
			f.Line, f.Column = tk.Position.Line, tk.Position.Column
		}
	}
	return f
}

func faultAt(path string, n ast.Node, at, msg string) Fault {
	f := Fault{File: path, Path: at, Message: msg}
	if n != nil {
		if tk := placeOf(n); tk != nil && tk.Position != nil {
			f.Line, f.Column = tk.Position.Line, tk.Position.Column
		}
	}
	return f
}

// placeOf returns the token that a reader looks for: of a block mapping its first
// key, not the colon behind it.
func placeOf(n ast.Node) *token.Token {
	if m, ok := n.(*ast.MappingNode); ok && !m.IsFlowStyle && len(m.Values) > 0 {
		return m.Values[0].Key.GetToken()
	}
	if m, ok := n.(*ast.MappingValueNode); ok {
		return m.Key.GetToken()
	}
	return n.GetToken()
}

// Sorted orders fs by line and column, in place, and returns it.
func (fs Faults) Sorted() Faults {
	slices.SortStableFunc(fs, func(a, b Fault) int { return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column)) })
	return fs
}
