package config

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// environment puts variables of the process into the plain values of a file:
// ${NAME}, or ${NAME:-default} where NAME may be unset or empty; $$ is a dollar.
// Keys stay as they are, and what comes in is never read as YAML: a variable
// cannot add keys, only be the value, or a part of it.
type environment struct {
	filled  map[ast.Node]bool // values that a variable is part of
	secrets []string          // old, new, … for strings.NewReplacer: what faults must not show
	report  func(n ast.Node, path, msg string)
}

// minSecret is the length from which the text of a variable is taken out of
// faults wherever it stands, in bytes: shorter ones are parts of other words.
const minSecret = 6

// fill puts variables into all values below n, which stands at path.
func (e *environment) fill(n ast.Node, path string) {
	switch v := n.(type) {
	case *ast.MappingNode:
		for _, m := range v.Values {
			e.fill(m, path)
		}
	case *ast.MappingValueNode:
		e.fill(v.Value, join(path, keyText(v.Key)))
	case *ast.SequenceNode:
		for i, x := range v.Values {
			e.fill(x, fmt.Sprintf("%s[%d]", path, i))
		}
	case *ast.AnchorNode:
		e.fill(v.Value, path)
	case *ast.TagNode:
		e.fill(v.Value, path)
	case *ast.LiteralNode:
		e.scalar(v, path, &v.Value.Value)
	case *ast.StringNode:
		e.scalar(v, path, &v.Token.Value)
		v.Value = v.Token.Value
	}
}

func (e *environment) scalar(n ast.Node, path string, text *string) {
	if !strings.Contains(*text, "$") {
		return
	}
	got, used, err := expand(*text, os.LookupEnv)
	if err != nil {
		e.report(n, path, err.Error())
		return
	}
	for name, value := range used {
		if len(value) >= minSecret {
			e.secrets = append(e.secrets, value, "${"+name+"}")
		}
	}
	if len(used) > 0 {
		e.filled[n] = true
		e.secrets = append([]string{strconv.Quote(got), strconv.Quote(*text)}, e.secrets...)
	}
	*text = got
}

// hide takes the text of variables out of a message, which may end up in a log.
func (e *environment) hide(msg string) string {
	if len(e.secrets) == 0 {
		return msg
	}
	return strings.NewReplacer(e.secrets...).Replace(msg)
}

// expand replaces the references in s and returns what each variable stood for,
// "" where a default did.
func expand(s string, lookup func(string) (string, bool)) (string, map[string]string, error) {
	var b strings.Builder
	used := map[string]string{}
	for {
		before, after, found := strings.Cut(s, "$")
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), used, nil
		case strings.HasPrefix(after, "$"):
			b.WriteByte('$')
			s = after[1:]
			continue
		case !strings.HasPrefix(after, "{"):
			b.WriteByte('$') // nothing is meant by it
			s = after
			continue
		}
		ref, rest, closed := strings.Cut(after[1:], "}")
		if !closed {
			return "", nil, fmt.Errorf("has ${ without its } (want ${NAME}, $$ for a dollar; between { } and [ ] the value needs quotes)")
		}
		name, def, hasDefault := strings.Cut(ref, ":-")
		if !variableName(name) {
			return "", nil, fmt.Errorf("${%s} names no variable (want ${NAME} or ${NAME:-default}, and $$ for a dollar)", ref)
		}
		value, set := lookup(name)
		switch {
		case hasDefault && value == "":
			used[name], value = "", def
		case !set:
			return "", nil, fmt.Errorf("environment variable %s is not set (set it, or write ${%s:-default})", name, name)
		default:
			used[name] = value
		}
		b.WriteString(value)
		s = rest
	}
}

func variableName(s string) bool {
	return s != "" && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == "" && (s[0] < '0' || s[0] > '9')
}
