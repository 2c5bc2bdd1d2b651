// Package config reads the YAML files of both binaries: strictly, with units in
// the values, and with every fault named by file, line and column.
//
// The entry points are [ReadAgent] and [ReadReceiver]. It is the only package
// of the module that decodes YAML. It never starts anything, and never returns
// a configuration together with an error.
package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
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

// read decodes the file at path into v, which must be a pointer to a struct, and
// validates it. All faults are returned together as Faults.
func read(path string, v validator) error {
	b, err := readBounded(path)
	if err != nil {
		return err
	}
	file, err := parser.ParseBytes(b, 0)
	if err != nil {
		return Faults{syntaxFault(path, err)}
	}
	body, fault := onlyDocument(path, file)
	if fault != nil {
		return Faults{*fault}
	}
	var faults Faults
	checkKeys(body, v, func(n ast.Node, p, msg string) {
		faults = append(faults, faultAt(path, n, p, msg))
	})
	if len(faults) > 0 {
		return faults.sorted()
	}
	if err := yaml.NodeToValue(body, v, yaml.Strict()); err != nil {
		return Faults{syntaxFault(path, err)}
	}
	v.validate(func(p, format string, args ...any) {
		n := nodeAt(body, p)
		faults = append(faults, faultAt(path, n, p, fmt.Sprintf(format, args...)))
	})
	if len(faults) > 0 {
		return faults.sorted()
	}
	return nil
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, MaxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("config: read %s: %w", path, err)
	}
	if len(b) > MaxFileBytes {
		return nil, Faults{{File: path, Message: fmt.Sprintf("has more than %d bytes: is this a configuration file?", MaxFileBytes)}}
	}
	return b, nil
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
	var v *valueError
	if errors.As(err, &v) {
		f.Line, f.Column, f.Message = v.line, v.column, v.message
	}
	return f
}

func faultAt(path string, n ast.Node, at, msg string) Fault {
	f := Fault{File: path, Path: at, Message: msg}
	if n != nil {
		if tk := n.GetToken(); tk != nil && tk.Position != nil {
			f.Line, f.Column = tk.Position.Line, tk.Position.Column
		}
	}
	return f
}

func (fs Faults) sorted() Faults {
	sort.SliceStable(fs, func(i, j int) bool { return fs[i].Line < fs[j].Line })
	return fs
}
