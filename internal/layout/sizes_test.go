package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Limits of HACKING.md. A longer file or function hides more than one concept.
const (
	maxFileLines = 600
	maxFuncLines = 70
)

// longFuncs are the functions over the limit, each with its reason.
var longFuncs = map[string]string{}

// root returns the module's root folder.
func root(t *testing.T) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			t.Fatal("no go.mod above the test's folder")
		}
		dir = up
	}
}

// goFiles calls fn with every Go file of the module, parsed with comments.
func goFiles(t *testing.T, fn func(rel string, set *token.FileSet, f *ast.File)) {
	t.Helper()
	top := root(t)
	set := token.NewFileSet()
	err := filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() {
			if p != top && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "dist") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(name) != ".go" {
			return nil
		}
		f, err := parser.ParseFile(set, p, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(top, p)
		if err != nil {
			return err
		}
		fn(filepath.ToSlash(rel), set, f)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFilesAndFunctionsStaySmall(t *testing.T) {
	goFiles(t, func(rel string, set *token.FileSet, f *ast.File) {
		if ast.IsGenerated(f) {
			return
		}
		if n := set.Position(f.End()).Line; n > maxFileLines {
			t.Errorf("%s has %d lines (limit %d)", rel, n, maxFileLines)
		}
		if strings.HasSuffix(rel, "_test.go") {
			return
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			n := set.Position(fn.End()).Line - set.Position(fn.Pos()).Line + 1
			key := rel + ":" + fn.Name.Name
			if _, known := longFuncs[key]; n > maxFuncLines && !known {
				t.Errorf("%s has %d lines (limit %d)", key, n, maxFuncLines)
			}
		}
	})
}

func TestEveryPackageHasOneDoc(t *testing.T) {
	docs := map[string][]string{}
	goFiles(t, func(rel string, _ *token.FileSet, f *ast.File) {
		if strings.HasSuffix(f.Name.Name, "_test") {
			return
		}
		dir := filepath.Dir(rel)
		if _, seen := docs[dir]; !seen {
			docs[dir] = nil
		}
		if f.Doc != nil && !strings.HasSuffix(rel, "_test.go") {
			docs[dir] = append(docs[dir], rel)
		}
	})
	for dir, files := range docs {
		if len(files) != 1 {
			t.Errorf("package %s has %d doc comments %v (want 1)", dir, len(files), files)
		}
	}
}

func TestNoScratchFilesInTheTree(t *testing.T) {
	top := root(t)
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		n := strings.ToLower(e.Name())
		for _, bad := range []string{"todo", "notes", "scratch", "plan"} {
			if strings.Contains(n, bad) {
				t.Errorf("%s: scratch notes do not belong in the tree", e.Name())
			}
		}
	}
}
