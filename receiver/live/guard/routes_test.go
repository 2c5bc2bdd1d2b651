package guard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// routePattern is how a pattern of net/http looks in source.
var routePattern = regexp.MustCompile(`^(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) /`)

// served finds the patterns that the page's packages register.
func served(t *testing.T) (patterns []string) {
	t.Helper()
	for _, dir := range []string{"..", "../../past"} {
		err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
			switch {
			case err != nil && p == dir:
				return filepath.SkipDir // this package is not there
			case err != nil:
				return err
			case d.IsDir() && d.Name() == "guard":
				return filepath.SkipDir
			case d.IsDir() || filepath.Ext(p) != ".go" || strings.HasSuffix(p, "_test.go"):
				return nil
			}
			f, err := parser.ParseFile(token.NewFileSet(), p, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if s, ok := registered(n); ok && !routePattern.MatchString(s) && s != "/" && s != "/api/v1/" {
					t.Errorf("%s: %q is served with any method: name the methods, or nobody can say who may use it", p, s)
				}
				lit, ok := n.(*ast.BasicLit)
				if !ok || lit.Kind != token.STRING {
					return true
				}
				if s, err := strconv.Unquote(lit.Value); err == nil && routePattern.MatchString(s) {
					patterns = append(patterns, s)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return patterns
}

// registered returns the pattern that a call of Handle or HandleFunc has.
func registered(n ast.Node) (string, bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok || len(call.Args) != 2 {
		return "", false
	}
	sel, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != "Handle" && sel.Sel.Name != "HandleFunc" {
		return "", false
	}
	lit, ok := call.Args[0].(*ast.BasicLit)
	if !ok || lit.Kind != token.STRING {
		return "", false
	}
	s, err := strconv.Unquote(lit.Value)
	return s, err == nil
}

// Every route of the page's mux stands in the table, so that somebody has thought
// about who may use it.
func TestEveryRouteIsInTheTable(t *testing.T) {
	var known []string
	for _, r := range Routes {
		known = append(known, r.Pattern)
	}
	all := served(t)
	if len(all) < 6 || !slices.Contains(all, "GET /api/v1/events") {
		t.Fatalf("found only %q", all)
	}
	for _, p := range all {
		if !slices.Contains(known, p) && p != "GET /{$}" {
			t.Errorf("%q is served, and not in Routes: it needs an admin until somebody decides", p)
		}
	}
}

// The roles that people were promised.
func TestWhoMayDoWhat(t *testing.T) {
	table := newTable(Routes)
	for _, tt := range []struct {
		role Role
		asks []string
	}{
		{Nobody, []string{"GET /", "GET /app.js", "GET /vendor/uplot.js", "HEAD /", "GET /healthz", "GET /readyz", "POST /api/v1/login", "POST /api/v1/logout"}},
		{Viewer, []string{"GET /api/v1/me", "GET /api/v1/cars", "GET /api/v1/cars/a%2Fb", "GET /api/v1/cars/c/laps", "GET /api/v1/events", "HEAD /api/v1/events"}},
		{Engineer, []string{"GET /api/v1/cars/c/export", "GET /api/v1/cars/c/past", "POST /api/v1/replays", "DELETE /api/v1/replays/r1"}},
		{Admin, []string{"GET /api/v1/status", "GET /metrics", "GET /api/v2/cars", "GET /api/v1/cars/c/new", "POST /api/v1/cars", "PUT /", "DELETE /api/v1/login", "OPTIONS /api/v1/events", "TRACE /"}},
	} {
		for _, ask := range tt.asks {
			method, path, _ := strings.Cut(ask, " ")
			if got := table.find(httptest.NewRequest(method, path, http.NoBody)); got.Role != tt.role {
				t.Errorf("%s needs %v, want %v", ask, got.Role, tt.role)
			}
		}
	}
	for _, r := range Routes {
		if r.Bearer != (r.Pattern == "GET /metrics") {
			t.Errorf("%s: any token is enough: %t", r.Pattern, r.Bearer)
		}
	}
}

func TestRoles(t *testing.T) {
	for _, r := range []Role{Viewer, Engineer, Admin} {
		if got, err := ParseRole(r.String()); err != nil || got != r {
			t.Errorf("%v: %v, %v", r, got, err)
		}
	}
	for _, s := range []string{"", "none", "root", "Viewer"} {
		if _, err := ParseRole(s); err == nil {
			t.Errorf("%q is a role", s)
		}
	}
}
