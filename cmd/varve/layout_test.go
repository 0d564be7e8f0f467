package main

import (
	"go/ast"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The rules by which the rooms stay rooms. A failure says what to do instead;
// a rule that turns out wrong is changed here, with its reason.

// rooms are the top-level folders, and what of ours each may import.
var rooms = map[string][]string{
	"domain":      {"domain"},
	"eventstore":  {"eventstore"},
	"commands":    {"domain", "eventstore", "commands"},
	"projections": {"domain", "eventstore", "projections"},
	"http":        {"domain", "eventstore", "commands", "projections", "http"},
	"cmd":         {"domain", "eventstore", "commands", "projections", "http", "cmd"},
	"deploy":      {"deploy"},
	"docs":        nil,
}

// impure are packages of the standard library that domain does without: it has
// no context, no clock and no input or output, so that every decision is a table test.
var impure = map[string]bool{
	"context": true, "os": true, "os/exec": true, "os/signal": true, "net": true, "net/http": true, "database/sql": true,
	"log": true, "log/slog": true, "io/fs": true, "math/rand": true, "math/rand/v2": true, "crypto/rand": true, "syscall": true,
}

// domainLibraries are what a folder below domain may import beside the standard library.
var domainLibraries = map[string][]string{
	"domain/text": {"golang.org/x/text/", "github.com/kljensen/snowball", "github.com/klauspost/compress/"},
}

// only says in which folder alone a library may be imported.
var only = map[string]string{
	"github.com/labstack/echo/v4": "http",
	"github.com/alecthomas/kong":  "cmd",
}

// testOnly are packages that exist to test others.
var testOnly = regexp.MustCompile(`/(storetest|projtest|vectortest|clienttest)$`)

// effects are the libraries whose blank import is their way of being used.
var effects = regexp.MustCompile(`^(embed|modernc\.org/sqlite|gocloud\.dev/blob/.*|time/tzdata)$`)

var (
	bannedPackages = regexp.MustCompile(`^(util|utils|common|helper|helpers|shared|base|types|models?|misc|lib)$`)
	bannedFiles    = regexp.MustCompile(`^(types?|models|utils?|helpers?|common|consts?|constants|misc|interfaces?|structs?)\.go$`)
	getter         = regexp.MustCompile(`^Get[A-Z0-9]`)
)

const maxLines = 450

func TestLayout(t *testing.T) {
	all := sources(t)
	for _, rule := range []struct {
		name  string
		check func(*testing.T, []source)
	}{
		{"top-level folders", topLevel},
		{"imports point one way", importRules},
		{"names of packages and files", packageNames},
		{"exported names promise something", docComments},
		{"file length", fileLength},
		{"error texts", errorTexts},
		{"domain has no clock", noClock},
		{"skips are named suites", skips},
		{"goroutines are raced", raced},
		{"nothing of this machine", machineTraces},
	} {
		t.Run(rule.name, func(t *testing.T) { rule.check(t, all) })
	}
}

func topLevel(t *testing.T, _ []source) {
	walk(t, func(name string, entry fs.DirEntry) {
		if !entry.IsDir() || name == "." || strings.Contains(name, "/") || strings.HasPrefix(name, ".") {
			return
		}
		if _, known := rooms[name]; !known {
			t.Errorf("%s/: a top-level folder that is no room. Put what it holds into the room whose subject it is (see README, The rooms); tests' data goes into testdata beside the test", name)
		}
	})
}

func importRules(t *testing.T, all []source) {
	for _, s := range all {
		for imported, name := range s.imports() {
			ours, isOurs := strings.CutPrefix(imported, "varve/")
			switch {
			case isOurs && !s.test && !allowed(s.room, ours):
				t.Errorf("%s imports %s: %s may import %s of ours. Take what you need as a function field that cmd/varve/serve.go sets, or move the code to the room that owns the subject", s.path, imported, s.room, strings.Join(rooms[s.room], ", "))
			case isOurs && !s.test && testOnly.MatchString(imported) && !testOnly.MatchString("varve/"+s.dir):
				t.Errorf("%s imports %s, which exists for tests: move the import into a _test.go file", s.path, imported)
			case !isOurs && s.room == "domain" && !s.test:
				domainImport(t, s, imported)
			}
			if name == "_" && !effects.MatchString(imported) && !s.test {
				t.Errorf("%s imports %s for its effect: call it by name, so that a reader finds it (drivers that know no other way are listed in layout_test.go)", s.path, imported)
			}
			if room, limited := only[imported]; limited && s.room != room {
				t.Errorf("%s imports %s, which only %s knows: give %s a plain function and call that", s.path, imported, room, room)
			}
		}
	}
}

func allowed(room, imported string) bool {
	for _, other := range rooms[room] {
		if imported == other || strings.HasPrefix(imported, other+"/") {
			return true
		}
	}
	return false
}

func domainImport(t *testing.T, s source, imported string) {
	if !strings.Contains(strings.Split(imported, "/")[0], ".") {
		if impure[imported] {
			t.Errorf("%s imports %s: domain is pure. Take the value (a time, random bytes, a reader's content) as a parameter", s.path, imported)
		}
		return
	}
	for _, library := range domainLibraries[s.dir] {
		if strings.HasPrefix(imported, library) {
			return
		}
	}
	t.Errorf("%s imports %s: domain uses the standard library only. Put the part that needs it into the room that calls domain, or into domain/text if it is about text", s.path, imported)
}

func packageNames(t *testing.T, all []source) {
	described := map[string]bool{}
	seen := map[string]string{}
	for _, s := range all {
		if base := path.Base(s.path); bannedFiles.MatchString(base) {
			t.Errorf("%s: a file is named after its subject, not after the kind of thing in it: one file per noun (bucket.go, lineage.go)", s.path)
		}
		name := strings.TrimSuffix(s.file.Name.Name, "_test")
		if bannedPackages.MatchString(name) || bannedPackages.MatchString(path.Base(s.dir)) {
			t.Errorf("%s: package %s says nothing of its subject. Name it after what it is about, or move each function beside its only caller", s.path, name)
		}
		if !s.test {
			seen[s.dir] = s.path
			if s.file.Doc != nil {
				described[s.dir] = true
			}
		}
	}
	for dir, file := range seen {
		if !described[dir] {
			t.Errorf("%s: package %s has no package comment. Say in one to five lines what it is responsible for, above the package clause of its main file", file, dir)
		}
	}
}

// conventional are methods that a well-known interface describes already, or
// that the command line's library calls by name.
var conventional = map[string]bool{
	"Error": true, "String": true, "Unwrap": true, "Is": true, "As": true, "MarshalJSON": true, "UnmarshalJSON": true,
	"MarshalText": true, "UnmarshalText": true, "Len": true, "Less": true, "Swap": true, "Push": true, "Pop": true,
	"Read": true, "Write": true, "Run": true, "AfterApply": true, "Help": true, "ServeHTTP": true,
	"Scan": true, "Value": true, "Describe": true, "Collect": true, "LogValue": true,
}

func docComments(t *testing.T, all []source) {
	for _, s := range all {
		if s.test {
			continue
		}
		for _, declaration := range s.file.Decls {
			switch d := declaration.(type) {
			case *ast.FuncDecl:
				if !d.Name.IsExported() || !exportedReceiver(d) {
					continue
				}
				if getter.MatchString(d.Name.Name) {
					t.Errorf("%s: %s: no Get prefix; call it %s", s.at(d), d.Name.Name, d.Name.Name[3:])
				}
				if d.Recv == nil || !conventional[d.Name.Name] {
					promise(t, s, d, d.Name.Name, d.Doc)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch one := spec.(type) {
					case *ast.TypeSpec:
						if one.Name.IsExported() {
							promise(t, s, one, one.Name.Name, first(one.Doc, d.Doc))
						}
					case *ast.ValueSpec:
						if name := one.Names[0]; name.IsExported() {
							promise(t, s, one, name.Name, first(one.Doc, d.Doc, one.Comment))
						}
					}
				}
			}
		}
	}
}

func first(groups ...*ast.CommentGroup) *ast.CommentGroup {
	for _, group := range groups {
		if group != nil {
			return group
		}
	}
	return nil
}

func exportedReceiver(d *ast.FuncDecl) bool {
	if d.Recv == nil {
		return true
	}
	kind := d.Recv.List[0].Type
	for {
		switch k := kind.(type) {
		case *ast.StarExpr:
			kind = k.X
		case *ast.IndexExpr:
			kind = k.X
		case *ast.IndexListExpr:
			kind = k.X
		case *ast.Ident:
			return k.IsExported()
		default:
			return true
		}
	}
}

var (
	word = regexp.MustCompile(`[A-Za-z0-9]+`)
	hump = regexp.MustCompile(`[A-Z]?[a-z0-9]+|[A-Z]+`)
)

// promise fails where a comment is missing, or has no word that the name has not.
func promise(t *testing.T, s source, at ast.Node, name string, doc *ast.CommentGroup) {
	if doc == nil || strings.TrimSpace(doc.Text()) == "" {
		t.Errorf("%s: %s is exported and has no comment. Say what its name does not: errors by code, concurrency, units, idempotency; or make it unexported", s.at(at), name)
		return
	}
	said := map[string]bool{"a": true, "an": true, "the": true, "is": true, "are": true, "of": true, "returns": true, "gets": true, "for": true, "this": true, "type": true, "function": true, "method": true, "struct": true}
	said[strings.ToLower(name)] = true
	for _, part := range hump.FindAllString(name, -1) {
		said[strings.ToLower(part)] = true
	}
	for _, w := range word.FindAllString(doc.Text(), -1) {
		if !said[strings.ToLower(w)] {
			return
		}
	}
	t.Errorf("%s: the comment of %s only repeats its name. Say what the name does not", s.at(at), name)
}

func fileLength(t *testing.T, all []source) {
	for _, s := range all {
		if !s.test && s.lines > maxLines {
			t.Errorf("%s has %d lines, more than %d: split it by subject (each new file named after its noun), not by kind", s.path, s.lines, maxLines)
		}
	}
}

func errorTexts(t *testing.T, all []source) {
	for _, s := range all {
		if s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, isCall := n.(*ast.CallExpr)
			if !isCall || len(call.Args) == 0 {
				return true
			}
			callee, literal := selector(call.Fun), call.Args[0]
			text, isText := literal.(*ast.BasicLit)
			if isText && (callee == "fmt.Errorf" || callee == "errors.New") && regexp.MustCompile(`(?i)\b(failed to|unable to|could not|error while)\b`).MatchString(text.Value) {
				t.Errorf("%s: %s: every error says that something failed. Name what was done and to what: \"append config-ns_x: %%w\"", s.at(call), text.Value)
			}
			return true
		})
	}
}

func selector(e ast.Expr) string {
	sel, isSelector := e.(*ast.SelectorExpr)
	if !isSelector {
		return ""
	}
	if x, isIdent := sel.X.(*ast.Ident); isIdent {
		return x.Name + "." + sel.Sel.Name
	}
	return "." + sel.Sel.Name
}

func noClock(t *testing.T, all []source) {
	for _, s := range all {
		if s.room != "domain" || s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if e, isExpr := n.(ast.Expr); isExpr {
				if name := selector(e); name == "time.Now" || name == "time.Since" || name == "time.Until" || name == "time.Sleep" {
					t.Errorf("%s: %s in domain: take the time as a parameter, so that replay sees the recorded one", s.at(n), name)
				}
			}
			return true
		})
	}
}

// skips holds that a test which may skip stands in deploy/suites.txt, where
// make test sees to it that it ran.
func skips(t *testing.T, all []source) {
	suites, packages := map[string]bool{}, map[string]bool{}
	for _, line := range listed(t, "suites.txt") {
		name, _, _ := strings.Cut(line[1], "/")
		suites[line[0]+" "+name] = true
		packages[line[0]] = true
	}
	for _, s := range all {
		if _, tests := s.imports()["testing"]; !tests {
			continue
		}
		for _, declaration := range s.file.Decls {
			function, isFunction := declaration.(*ast.FuncDecl)
			if !isFunction || function.Body == nil {
				continue
			}
			ast.Inspect(function.Body, func(n ast.Node) bool {
				call, isCall := n.(*ast.CallExpr)
				if !isCall {
					return true
				}
				switch selector(call.Fun) {
				case "t.Skip", "t.Skipf", "t.SkipNow", "tb.Skip", "tb.Skipf", "tb.SkipNow", "b.Skip", "b.Skipf":
				default:
					return true
				}
				pkg, name := "varve/"+s.dir, function.Name.Name
				named := suites[pkg+" "+name]
				if !strings.HasPrefix(name, "Test") && !strings.HasPrefix(name, "Fuzz") {
					named = packages[pkg]
				}
				if !named {
					t.Errorf("%s: %s may skip and is no named suite. Run something real instead; if it needs a server or a tool, let make test provide it and name the test in deploy/suites.txt. What an engine cannot do, its contract suite leaves out by a declared capability, without Skip", s.at(call), name)
				}
				return true
			})
		}
	}
}

func raced(t *testing.T, all []source) {
	known := map[string]bool{}
	for _, line := range listed(t, "race.txt") {
		known[strings.TrimPrefix(line[0], "-")] = true
		known[line[1]] = true // "- package"
	}
	told := map[string]bool{}
	for _, s := range all {
		if s.test || told[s.dir] || known["varve/"+s.dir] {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if statement, isGo := n.(*ast.GoStmt); isGo && !told[s.dir] {
				told[s.dir] = true
				t.Errorf("%s starts a goroutine, but varve/%s is not in deploy/race.txt: add it, or a line \"- varve/%s # reason\"", s.at(statement), s.dir, s.dir)
			}
			return true
		})
	}
}

// machineTraces looks for what belongs to one machine: its folders, and the
// hosts from which it takes packages. (Written in parts, to not find itself.)
func machineTraces(t *testing.T, _ []source) {
	trace := regexp.MustCompile(strings.Join([]string{
		`/wo` + `rk/(main|shared|steering)`, `/tmp/te` + `am`, `/ro` + `ot/\.`, `proxy\.go` + `lang`, `py` + `pi\.org`, `pythonho` + `sted`,
		`registry\.np` + `m`, `repo1?\.ma` + `ven`, `deb\.deb` + `ian`, `BEGIN [A-Z ]*PRIV` + `ATE KEY`,
	}, "|"))
	walk(t, func(name string, entry fs.DirEntry) {
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() || info.Size() > 1<<20 || name == "go.sum" {
			return
		}
		text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
		if err != nil {
			t.Error(err)
			return
		}
		if found := trace.FindIndex(text); found != nil {
			line := 1 + strings.Count(string(text[:found[0]]), "\n")
			t.Errorf("%s:%d has %q: files must hold on every machine. Take it from the environment or a parameter", name, line, text[found[0]:found[1]])
		}
	})
}
