package deploy_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"varve/cmd/varve/serve"
)

// pages are the texts for people, by path.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	read := func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".md" {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	}
	for _, root := range []string{"../docs", "../README.md", "../CHANGELOG.md"} {
		if err := filepath.WalkDir(root, read); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Every test and benchmark that a page names is there: it is what a promise or a
// number rests on.
func TestDocsNameTests(t *testing.T) {
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz)\w+)\(`)
	there := map[string]bool{}
	if err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() && path != ".." && strings.HasPrefix(e.Name(), ".") {
			return fs.SkipDir
		}
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			there[string(m[1])] = true
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Benchmark|Fuzz)[A-Z]\\w*)")
	n := 0
	for path, text := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(text, -1) {
			if n++; !there[m[1]] {
				t.Errorf("%s names %s, which is not there", path, m[1])
			}
		}
	}
	if n < 40 {
		t.Errorf("pages name %d tests: too few to be all", n)
	}
}

// Whoever makes a backup finds every file of a data directory in the table.
func TestDocsNameFiles(t *testing.T) {
	dir := t.TempDir()
	v, err := serve.Open(t.Context(), serve.Config{Data: dir, LogLevel: "error", Workers: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	made, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(pages(t)["../docs/operations.md"], "## Files in the data directory")
	table, _, _ = strings.Cut(table, "\n## ")
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| (`[^|]*) \\|").FindAllStringSubmatch(table, -1) {
		for name := range strings.SplitSeq(m[1], ", ") {
			told[strings.Trim(name, "`/")] = true
		}
	}
	for _, e := range made {
		name, _, _ := strings.Cut(e.Name(), "-") // log.db-wal is log.db's
		if !told[name] && !told[e.Name()] {
			t.Errorf("docs/operations.md does not tell of %s; it tells of %v", e.Name(), slices.Sorted(maps.Keys(told)))
		}
	}
}
