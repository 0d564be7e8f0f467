package main

import (
	"bufio"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const root = "../.." // of the module, from this package

// source is one Go file of the module, parsed.
type source struct {
	path  string // slash-separated, from the module's root: "domain/bucket.go"
	dir   string // "domain"
	room  string // "domain", also for "domain/text"
	lines int
	file  *ast.File
	fset  *token.FileSet
	test  bool
}

// imports gives the file's import paths, each with its name ("" where none is written).
func (s source) imports() map[string]string {
	found := map[string]string{}
	for _, spec := range s.file.Imports {
		name := ""
		if spec.Name != nil {
			name = spec.Name.Name
		}
		found[strings.Trim(spec.Path.Value, `"`)] = name
	}
	return found
}

// at gives "path:line" of a node.
func (s source) at(n ast.Node) string {
	position := s.fset.Position(n.Pos())
	return s.path + ":" + strconv.Itoa(position.Line)
}

// walk calls visit for every file of the module that people write: no caches,
// no built binaries, no data of a running server.
func walk(t *testing.T, visit func(name string, entry fs.DirEntry)) {
	t.Helper()
	skipped := map[string]bool{".git": true, ".cache": true, "bin": true, "varve-data": true, "__pycache__": true}
	err := filepath.WalkDir(root, func(full string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && skipped[entry.Name()] {
			return fs.SkipDir
		}
		name, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		visit(filepath.ToSlash(name), entry)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// sources parses every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	walk(t, func(name string, entry fs.DirEntry) {
		if entry.IsDir() || !strings.HasSuffix(name, ".go") || strings.Contains(name, "/testdata/") {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		file, err := parser.ParseFile(fset, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		if ast.IsGenerated(file) {
			return
		}
		room, _, _ := strings.Cut(name, "/")
		all = append(all, source{
			path: name, dir: path.Dir(name), room: room, file: file, fset: fset,
			lines: strings.Count(string(text), "\n"), test: strings.HasSuffix(name, "_test.go"),
		})
	})
	if len(all) == 0 {
		t.Fatal("no Go files found: the test must run in cmd/varve of the module")
	}
	return all
}

// listed reads a list of deploy: the first two words of each line that is no comment.
func listed(t *testing.T, name string) [][2]string {
	t.Helper()
	file, err := os.Open(filepath.Join(root, "deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var all [][2]string
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := append(strings.Fields(text), "", "")
		if words[0] != "" {
			all = append(all, [2]string{words[0], words[1]})
		}
	}
	return all
}
