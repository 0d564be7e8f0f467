package projections

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
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
