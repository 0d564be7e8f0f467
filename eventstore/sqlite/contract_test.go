//go:build !race

// Under the race detector SQLite's translated C is a hundred times slower; the
// memory engine carries the concurrency there.

package sqlite_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"varve/eventstore"
	"varve/eventstore/storetest"
)

func TestContract(t *testing.T) {
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

func TestCrash(t *testing.T) {
	storetest.Crash(t, filepath.Join(t.TempDir(), "log.db"), openCrash, []string{
		"commit.before", "sqlite.after-head", "sqlite.after-streams", "sqlite.between-events", "sqlite.after-events",
		"sqlite.before-commit", "sqlite.after-commit", "commit.after", "append.before-queue", "append.before-answer",
	})
}
