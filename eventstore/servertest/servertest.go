// Package servertest gives tests what they need of real servers: a database of
// their own, and a server that they may do anything to.
package servertest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
)

// Database makes a database on the PostgreSQL server of a URL, dropped with the
// test, and gives its URL.
func Database(t testing.TB, server string) string {
	t.Helper()
	u, err := url.Parse(server)
	if err != nil {
		t.Fatal("the address of the PostgreSQL server is no URL")
	}
	admin, err := pgx.Connect(t.Context(), server)
	if err != nil {
		t.Fatal(err)
	}
	name := "test_" + strings.ToLower(rand.Text())
	if _, err := admin.Exec(t.Context(), "CREATE DATABASE "+name+" ENCODING 'UTF8' TEMPLATE template0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := admin.Exec(context.Background(), "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)")
		if err != nil {
			t.Error(err)
		}
		_ = admin.Close(context.Background())
	})
	u.Path = "/" + name
	return u.String()
}

// Start starts a server of the test's own by deploy/services/NAME.service, the
// script that starts the others too. It gives what the script tells of it, by the
// names of environment variables; do does another word of the script: kill, restart,
// pause, resume. The server ends with the test.
func Start(t testing.TB, name string) (told map[string]string, do func(word string)) {
	t.Helper()
	script, err := filepath.Abs(filepath.Join(root(t), "deploy", "services", name+".service"))
	if err != nil {
		t.Fatal(err)
	}
	folder, err := os.MkdirTemp("", "varve-"+name+"-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(folder, 0o755); err != nil { // a server that runs as another user must reach what is below
		t.Fatal(err)
	}
	do = func(word string) {
		t.Helper()
		cmd := exec.Command(script, word, folder)
		cmd.Stderr = os.Stderr // not a pipe: the server would hold it open
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s %s: %v", name, word, err)
		}
	}
	t.Cleanup(func() {
		do("stop")
		_ = os.RemoveAll(folder)
	})
	do("start")
	env, err := os.ReadFile(filepath.Join(folder, "env"))
	if err != nil {
		t.Fatal(err)
	}
	told = map[string]string{}
	for field := range strings.FieldsSeq(string(env)) { // export NAME=VALUE, VALUE perhaps in quotes
		if key, value, ok := strings.Cut(field, "="); ok {
			told[key] = strings.Trim(value, "'")
		}
	}
	return told, do
}

// root is the project's folder, above the package whose tests run.
func root(t testing.TB) string {
	t.Helper()
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(folder, "go.mod")); err == nil {
			return folder
		}
		above := filepath.Dir(folder)
		if above == folder {
			t.Fatal("no go.mod above the test's folder")
		}
		folder = above
	}
}
