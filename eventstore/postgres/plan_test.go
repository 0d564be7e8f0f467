package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"varve/eventstore"
)

// TestPlansUseIndexes prepares every statement in a session of ours, in an empty
// store and in one with rows, with and without statistics, and looks at the
// generic plans: none may scan or sort a table.
func TestPlansUseIndexes(t *testing.T) {
	name := schema(t)
	e, err := OpenEngine(context.Background(), database(t), Options{Schema: name})
	if err != nil {
		t.Fatal(err)
	}
	s, err := eventstore.NewOwner(e, eventstore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	statements := map[string]string{
		"head": e.sql.head, "head, locked": e.sql.headFor, "logs": e.sql.logs, "changed": e.sql.changed, "since": e.sql.since,
		"record": e.sql.record, "streams": e.sql.streams, "last": e.sql.last,
	}
	for what, p := range map[string]paged{"log": e.sql.readLog, "stream": e.sql.stream, "one": e.sql.one, "feed": e.sql.feed} {
		statements[what+", light"], statements[what+", sized"] = p.light, p.sized
	}
	for with, sql := range e.sql.commit {
		statements[fmt.Sprintf("commit %06b", with)] = sql
	}
	look := func(when string) {
		t.Helper()
		if err := e.read(context.Background(), func(c *pgx.Conn) error {
			for what, sql := range statements {
				n := strings.Count(sql, "$") // an upper bound
				for n > 0 && !strings.Contains(sql, fmt.Sprintf("$%d", n)) {
					n--
				}
				text := "PREPARE looked AS " + sql + "; EXPLAIN EXECUTE looked(" + strings.TrimSuffix(strings.Repeat("NULL,", n), ",") + "); DEALLOCATE looked"
				results, err := c.PgConn().Exec(context.Background(), text).ReadAll()
				if err != nil {
					return fmt.Errorf("%s: %w", what, err)
				}
				var plan strings.Builder
				for _, row := range results[1].Rows {
					plan.Write(append(row[0], '\n'))
				}
				for _, bad := range []string{"Seq Scan", "Bitmap", "Hash Join", "Merge Join", "Sort"} {
					if strings.Contains(plan.String(), bad) {
						t.Errorf("%s, %s: the plan has a %s:\n%s", what, when, bad, plan.String())
					}
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	look("empty")
	for i := range 20 {
		var batches []eventstore.Batch
		for k := range 50 {
			batches = append(batches, eventstore.Batch{Log: eventstore.LogID(fmt.Sprint("l", k%5)), Stream: fmt.Sprint("s", k, "_", i%4), Events: []eventstore.Event{event(k), event(i)}})
		}
		if _, err := s.Append(context.Background(), eventstore.Append{Batches: batches}); err != nil {
			t.Fatal(err)
		}
	}
	look("with rows")
	execute(t, "ANALYZE")
	look("with statistics")
}
