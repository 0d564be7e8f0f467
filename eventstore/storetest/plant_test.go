//go:build plant

package storetest_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPlantedBugs changes a copy of the source, one bug at a time, and runs the
// tests that must notice.
func TestPlantedBugs(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	only := os.Getenv("VARVE_PLANT") // part of a name
	dir := t.TempDir()
	for _, f := range []string{"go.mod", "go.sum"} {
		copyFile(t, filepath.Join(root, f), filepath.Join(dir, f))
	}
	for _, pkg := range []string{"", "failpoint", "memory", "sqlite", "storetest"} {
		files, err := filepath.Glob(filepath.Join(root, "eventstore", pkg, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			copyFile(t, f, filepath.Join(dir, "eventstore", pkg, filepath.Base(f)))
		}
	}
	for _, b := range bugs {
		if only != "" && !strings.Contains(b.name, only) {
			continue
		}
		t.Run(b.name, func(t *testing.T) {
			for _, e := range b.edits {
				path := filepath.Join(dir, "eventstore", e.file)
				before, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				if n := strings.Count(string(before), e.old); n != 1 {
					t.Fatalf("%s has %q %d times: the bug must be planted anew", e.file, e.old, n)
				}
				if err := os.WriteFile(path, []byte(strings.Replace(string(before), e.old, e.new, 1)), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			defer func() {
				for _, e := range b.edits {
					copyFile(t, filepath.Join(root, "eventstore", e.file), filepath.Join(dir, "eventstore", e.file))
				}
			}()
			c, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(c, "go", "test", "-vet=off", "-count=1", "-failfast", "-timeout=40s", "-run", b.run, b.test)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "VARVE_CRASH_ROUNDS=25")
			out, err := cmd.CombinedOutput()
			if strings.Contains(string(out), "[build failed]") || strings.Contains(string(out), "[setup failed]") || strings.Contains(string(out), "no tests to run") {
				t.Fatalf("the bug does not compile or nothing ran:\n%s", out)
			}
			if err == nil {
				t.Fatalf("nobody noticed:\n%s", out)
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
