package sqlite_test

import (
	"bytes"
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
	goleak.VerifyTestMain(m)
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

func TestContract(t *testing.T) {
	if raceOn {
		t.Skip("see raceOn")
	}
	storetest.Run(t, fresh, storetest.Features{
		Shards: 2,
		Light:  true,
		Reopen: func(t *testing.T, s eventstore.Owner, opts eventstore.Options) eventstore.Owner {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, fileOf(s), opts)
		},
		Second: func(t *testing.T, s eventstore.Owner, opts eventstore.Options) eventstore.Owner {
			return open(t, fileOf(s), opts)
		},
		Bytes: func(t *testing.T, s eventstore.Owner, needle []byte) bool {
			found := false
			for _, suffix := range []string{"", "-wal"} {
				b, err := os.ReadFile(fileOf(s) + suffix)
				if err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
				found = found || bytes.Contains(b, needle)
			}
			return found
		},
	})
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

func TestCrash(t *testing.T) {
	if raceOn {
		t.Skip("see raceOn")
	}
	storetest.Crash(t, filepath.Join(t.TempDir(), "log.db"), openCrash, []string{
		"commit.before", "sqlite.after-head", "sqlite.after-streams", "sqlite.between-events", "sqlite.after-events",
		"sqlite.before-commit", "sqlite.after-commit", "commit.after", "append.before-queue", "append.before-answer",
	})
}
