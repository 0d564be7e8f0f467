package serve

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"varve/eventstore"
	"varve/eventstore/sqlite"
)

// Verify recomputes the hash chains of every log of a directory that no server
// uses: those of the store, then those of the execution records.
func Verify(ctx context.Context, data string) (reports []eventstore.VerifyReport, err error) {
	if _, err := os.Stat(filepath.Join(data, "log.db")); err != nil {
		return nil, fmt.Errorf("%s holds no log: name the directory of a server with --data", data)
	}
	d, err := lock(data)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.release()) }()
	for _, name := range []string{"log.db", "executions.db"} {
		found, err := verifyFile(ctx, d.file(name))
		if err != nil {
			return reports, err
		}
		for _, r := range found {
			if name != "log.db" {
				r.Log = "executions " + r.Log
			}
			reports = append(reports, r)
		}
	}
	return reports, nil
}

func verifyFile(ctx context.Context, path string) (reports []eventstore.VerifyReport, err error) {
	store, err := sqlite.Open(path, sqlite.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	seen := map[eventstore.LogID]bool{}
	for shard := range store.Shards() {
		for r, err := range store.Feed(ctx, shard, 0, 0) {
			var damaged *eventstore.DamagedError
			if err != nil && !errors.As(err, &damaged) {
				return reports, err
			}
			if err != nil || seen[r.Log] {
				continue
			}
			seen[r.Log] = true
			report, err := eventstore.Verify(ctx, store, r.Log)
			if err != nil {
				return reports, err
			}
			reports = append(reports, report)
		}
	}
	return reports, nil
}
