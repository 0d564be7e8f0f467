package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"varve/eventstore"
	"varve/eventstore/follow"
	"varve/eventstore/memory"
)

var databases atomic.Int64

// inDatabase names a place in the PostgreSQL database of the tests, dropped afterwards.
func inDatabase(tb testing.TB, o Options) Options {
	tb.Helper()
	if o.Database = os.Getenv("VARVE_TEST_POSTGRES"); o.Database == "" {
		tb.Skip("VARVE_TEST_POSTGRES names no server")
	}
	o.Schema = fmt.Sprintf("m%d_%d", os.Getpid(), databases.Add(1))
	tb.Cleanup(func() {
		ctx := context.Background()
		c := connected(tb, o)
		rows, err := c.Query(ctx, `SELECT nspname FROM pg_namespace WHERE nspname = $1 OR starts_with(nspname, $1 || '_')`, o.Schema)
		if err != nil {
			tb.Fatal(err)
		}
		schemas, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			tb.Fatal(err)
		}
		for _, s := range schemas {
			if _, err := c.Exec(ctx, `DROP SCHEMA `+s+` CASCADE`); err != nil {
				tb.Error(err)
			}
		}
	})
	return o
}

func connected(tb testing.TB, o Options) *pgx.Conn {
	tb.Helper()
	c, err := pgx.Connect(context.Background(), o.Database)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// servesEmpty lets empty tables serve, as if they had been made when the store was empty.
func servesEmpty(tb testing.TB, r *Runner, p Projection) {
	tb.Helper()
	ctx := context.Background()
	d := r.database
	must := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	must(d.start(ctx))
	f, err := d.beside(ctx, p)
	must(err)
	must(f.finish(ctx, p))
	_, err = d.write.Exec(`UPDATE `+d.prefix+`.serving SET schema = $1, building = 0 WHERE base = $2`, f.path, base(p))
	must(err)
	d.hub.release(ctx, f.path)
	must(d.stop())
}

// Of two that fill the same tables from one checkpoint on, the second waits, and
// then fails before it writes.
func TestFillsTakeTurns(t *testing.T) {
	o := inDatabase(t, Options{})
	r, d := NewRunner(newStage(t).store, "", o), NewDocuments()
	r.Add(d)
	if err := r.database.start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer r.database.stop()
	f, err := r.database.beside(t.Context(), d)
	if err != nil {
		t.Fatal(err)
	}
	tx, err := f.beginFrom(t.Context(), 0, follow.Checkpoint{})
	if err != nil {
		t.Fatal(err)
	}
	defer rollback(tx)
	second := make(chan error, 1)
	go func() {
		tx, err := f.beginFrom(t.Context(), 0, follow.Checkpoint{})
		rollback(tx)
		second <- err
	}()
	c, key := connected(t, o), advisory("fill "+f.path)
	for waits := false; !waits; {
		select {
		case err := <-second:
			t.Fatalf("the second does not wait for the first: %v", err)
		default:
		}
		if err := c.QueryRow(t.Context(), `SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND (classid::bigint << 32 | objid::bigint) = $1)`, key).Scan(&waits); err != nil {
			t.Fatal(err)
		}
	}
	if err := moveCheckpoint(t.Context(), tx, follow.Move{To: follow.Checkpoint{Feed: 1, Record: eventstore.ID{1}}}); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if err := <-second; !errors.Is(err, follow.ErrMoved) {
		t.Errorf("a fill from where another one began: %v; want that it was moved", err)
	}
}

// TestOnPostgres runs the tests of this package whose models lie in a file by
// default again, with the models in PostgreSQL.
func TestOnPostgres(t *testing.T) {
	if os.Getenv("VARVE_TEST_POSTGRES") == "" {
		t.Skip("VARVE_TEST_POSTGRES names no server")
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^Test", "-test.skip", "^(TestOnPostgres|TestPostgresPlans|TestQueriesUseIndexes|TestInterruptedRebuildIsUsed|TestRaisedVersionBuildsAnewAndDropsTheOld)$", "-test.count", "1") //nolint:gosec // itself
	cmd.Env = append(os.Environ(), "VARVE_TEST_STAGE=postgres")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Texts may hold NULs and any other character; lists are in the order of bytes on both engines.
func TestTextsAreBytes(t *testing.T) {
	docs := NewDocuments()
	s := newStage(t, docs)
	ids := []string{"a", "a\x01", "a\x01\x01", "a\x01\x02", "a\x02", "a b", "aB", "ab", "ä", "\U0001F600", "Z", "z"}
	collections := []string{"c\x00", "c\x01", "c"}
	var at At
	for i, id := range ids {
		at = s.put(written(id, collections[i%3], i))
	}
	ctx := context.Background()
	for _, id := range ids {
		if row, err := docs.Document(ctx, at, id); err != nil || row.DocumentID != id {
			t.Errorf("%q is %q, %v", id, row.DocumentID, err)
		}
	}
	page, err := docs.List(ctx, at, DocumentQuery{})
	if err != nil {
		t.Fatal(err)
	}
	var order, want []string
	for _, row := range page.Items {
		order = append(order, row.CollectionID+"/"+row.DocumentID)
	}
	for _, c := range []string{"c", "c\x00", "c\x01"} {
		for i, id := range ids {
			if collections[i%3] == c {
				want = append(want, c+"/"+id)
			}
		}
	}
	expect(t, "the order", order, want)
	counts, err := docs.CountByCollection(ctx, at)
	if err != nil || counts["c\x00"] != 4 || len(counts) != 3 {
		t.Errorf("counts %v, %v", counts, err)
	}
}

// Every query of a request goes through an index, whatever the tables held when
// the plan was made, and the lists' own orders are not sorted.
func TestPostgresPlans(t *testing.T) {
	store := documentsStore(t, 100_000)
	docs, objects := NewDocuments(), NewObjects()
	r := NewRunner(store, "", inDatabase(t, Options{}))
	r.Add(docs, objects, NewDirectory(), NewBatches(), NewTraces())
	ctx := context.Background()
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	if err := r.WaitApplied(ctx, 0, 100_000); err != nil {
		t.Fatal(err)
	}
	conn, err := r.database.read.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for i, q := range plans {
		m, err := r.model(q.model)
		if err != nil {
			t.Fatal(err)
		}
		text := m.current().text(q.text)
		plan, err := explained(ctx, conn, fmt.Sprintf("q%d", i), text, strings.Count(q.text, "?"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		index := strings.TrimPrefix(q.index, "COVERING INDEX ")
		if !strings.Contains(plan, index) || strings.Contains(plan, "Seq Scan") || strings.Contains(plan, "Sort") {
			t.Errorf("%s\n\tis run by %s", text, plan)
		}
	}
	m, _ := r.model("documents")
	var types string
	values := []any{int64(1), "a", int64(1)}
	if err := documentHistory.superseding().unnest(values, func(text string, _ []any) error { types = text; return nil }); err != nil {
		t.Fatal(err)
	}
	plan, err := explained(ctx, conn, "superseding", m.current().text(types), 3)
	if err != nil || !strings.Contains(plan, "documents_key") || strings.Contains(plan, "Seq Scan") {
		t.Errorf("%s\n\tis run by %s, %v", types, plan, err)
	}
}

func explained(ctx context.Context, conn *sql.Conn, name, text string, args int) (string, error) {
	nulls := "NULL" + strings.Repeat(", NULL", args-1)
	if _, err := conn.ExecContext(ctx, `PREPARE `+name+` AS `+text); err != nil {
		return "", err
	}
	var plan []string
	rows, err := conn.QueryContext(ctx, `EXPLAIN EXECUTE `+name+`(`+nulls+`)`)
	if err != nil {
		return "", err
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		if err := rows.Scan(&line); err != nil {
			return "", err
		}
		plan = append(plan, strings.TrimSpace(line))
	}
	return strings.Join(plan, "; "), rows.Err()
}

// Whoever holds a schema holds it: also beside others, and after the connection was
// lost.
func TestHoldsSchemas(t *testing.T) {
	store, err := memory.Open(memory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	o := inDatabase(t, Options{Logger: slog.New(slog.DiscardHandler)})
	r := NewRunner(store, "", o)
	ctx := t.Context()
	if err := r.database.start(ctx); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.database.stop(); err != nil {
			t.Error(err)
		}
	}()
	hub, schema, c := r.database.hub, o.Schema+"_held", connected(t, o)
	defer c.Close(ctx)
	free := func(want bool) {
		t.Helper()
		var got bool
		if err := c.QueryRow(ctx, `SELECT pg_try_advisory_lock($1)`, advisory(schema)).Scan(&got); err != nil || got != want {
			t.Fatalf("free: %v, %v, want %v", got, err, want)
		}
		if got {
			if _, err := c.Exec(ctx, `SELECT pg_advisory_unlock($1)`, advisory(schema)); err != nil {
				t.Fatal(err)
			}
		}
	}
	var holders sync.WaitGroup
	for range 2 {
		holders.Go(func() {
			if err := hub.hold(ctx, schema); err != nil {
				t.Error(err)
			}
			free := false
			err := r.database.write.QueryRow(`SELECT pg_try_advisory_lock($1)`, advisory(schema)).Scan(&free)
			if err != nil || free {
				t.Errorf("who holds it does not: %v", err)
			}
		})
	}
	holders.Wait()
	var process uint32
	if err := hub.do(ctx, func(_ context.Context, c *pgx.Conn) error { process = c.PgConn().PID(); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Exec(ctx, `SELECT pg_terminate_backend($1)`, process); err != nil {
		t.Fatal(err)
	}
	if err := hub.hold(ctx, o.Schema+"_other"); err != nil { // on the new connection, or tried again
		if err = hub.hold(ctx, o.Schema+"_other"); err != nil {
			t.Fatal(err)
		}
	}
	free(false)
	hub.release(ctx, schema)
	free(false)
	hub.release(ctx, schema)
	free(true)
}
