package sqlite_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"varve/eventstore"
	"varve/eventstore/memory"
	"varve/eventstore/sqlite"
	"varve/eventstore/storetest"
)

func TestMain(m *testing.M) {
	storetest.CrashMain(openCrash)
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if sqlite.PreloadDir != "" {
			_ = os.RemoveAll(sqlite.PreloadDir)
		}
		os.Exit(code)
	}))
}

func openCrash(where string) (eventstore.Owner, error) { return sqlite.Open(where, sqlite.Options{}) }

// files remembers which file lies under a store, for Reopen and Second.
var files sync.Map

func open(t *testing.T, path string, opts eventstore.Options) eventstore.Owner {
	t.Helper()
	s, err := sqlite.Open(path, sqlite.Options{Options: opts, Shards: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	files.Store(s, path)
	return s
}

func fileOf(s eventstore.Owner) string {
	path, _ := files.Load(s)
	return path.(string)
}

func fresh(t *testing.T, opts eventstore.Options) eventstore.Owner {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "store ?%")
	if err != nil {
		t.Fatal(err)
	}
	return open(t, filepath.Join(dir, "log.db"), opts)
}

// TestMetamorphic: the same operations on memory and SQLite give equal hashes.
func TestMetamorphic(t *testing.T) {
	seeds := 10
	if raceOn || testing.Short() {
		seeds = 1
	}
	storetest.Metamorphic(t, seeds, func(t *testing.T, opts eventstore.Options) eventstore.Owner {
		s, err := memory.Open(memory.Options{Options: opts, Shards: 2})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, fresh)
}
