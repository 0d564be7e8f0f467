package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A data directory that cannot be opened gives an error that says why, releases
// what was opened before, and serves again once it is mended.
func TestUnusableDirectory(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if _, errs, code := varve(t, "init", "--data", data, "--organization", "Example", "--email", "ada@example.com"); code != 0 {
		t.Fatal(errs)
	}
	for _, c := range []struct {
		file      string
		directory bool // in place of a file, else a file of rubbish
		want      string
	}{
		{"log.db", false, "not a database"}, {"log.db", true, "log.db"}, {"executions.db", false, "not a database"}, {"blobs", false, "blob"},
		{"pepper", false, "restore it from a backup"}, {"index", false, "index"}, {"models", false, "models"},
	} {
		path := filepath.Join(data, c.file)
		if err := os.Rename(path, path+".kept"); err != nil {
			t.Fatal(err)
		}
		err := os.WriteFile(path, []byte(strings.Repeat("rubbish ", 1000)), 0o600)
		if c.directory {
			_ = os.Remove(path)
			err = os.Mkdir(path, 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		_, errs, code := varve(t, "serve", "--data", data, "--listen", "127.0.0.1:0")
		if code == 0 || !strings.Contains(errs, c.want) || strings.Contains(errs, "goroutine") {
			t.Errorf("%s is unusable: status %d, %q does not say %q", c.file, code, errs, c.want)
		}
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".kept", path); err != nil {
			t.Fatal(err)
		}
	}
	start(t, data).stop(t)
}
