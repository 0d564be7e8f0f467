package projtest

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver of the read models' files

	"varve/eventstore"
	"varve/projections"
)

// Models gives new instances of all projections of the main store.
func Models() []projections.Projection {
	return []projections.Projection{projections.NewDirectory(), projections.NewDocuments(), projections.NewObjects(), projections.NewBatches()}
}

// Dump gives what Place.Dump does of the files in a directory.
func Dump(t testing.TB, dir string) map[string][]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.db"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	all := map[string][]string{}
	for _, f := range files {
		db, err := sql.Open("sqlite", "file:"+f+"?mode=ro")
		if err != nil {
			t.Fatal(err)
		}
		for _, table := range texts(t, db, `SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT IN ('varve_parked', 'varve_skipped')`) {
			all[modelOf(f)+" "+table] = tableRows(t, db, table)
		}
		all[modelOf(f)+" indexes"] = texts(t, db, `SELECT name FROM sqlite_master WHERE type = 'index' AND name NOT LIKE 'sqlite%'`)
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func texts(t testing.TB, db *sql.DB, query string) []string {
	t.Helper()
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	var all []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

func tableRows(t testing.TB, db *sql.DB, table string) []string {
	t.Helper()
	rows, err := db.Query(`SELECT * FROM ` + table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	all := []string{}
	for rows.Next() {
		values := make([]any, len(names))
		for i := range values {
			values[i] = new(any)
		}
		if err := rows.Scan(values...); err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for i, v := range values {
			fmt.Fprintf(&b, "%s=%v ", names[i], *(v.(*any)))
		}
		all = append(all, b.String())
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// Follow runs all models over the store's present history in a place and gives the dump.
func Follow(t testing.TB, store eventstore.Follower, p Place, o projections.Options) map[string][]string {
	t.Helper()
	r := projections.NewRunner(store, p.Dir, p.Options(o))
	r.Add(Models()...)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	CatchUp(t, store, r)
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	return p.Dump(t)
}

// CatchUp waits until every model of a runner has applied what the store holds.
func CatchUp(t testing.TB, store eventstore.Follower, r *projections.Runner) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for shard := range store.Shards() {
		head, err := store.Head(ctx, shard)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.WaitApplied(ctx, shard, head); err != nil {
			t.Fatalf("catch up with shard %d: %v: %+v", shard, err, r.Status())
		}
	}
}
