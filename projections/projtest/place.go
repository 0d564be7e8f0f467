package projtest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"varve/projections"
)

// Place is where read models are kept: a directory, or a database under a name of its own.
type Place struct {
	Dir      string
	Database string
	Schema   string
}

// Files is a new directory.
func Files(t testing.TB) Place { return Place{Dir: t.TempDir()} }

var databases atomic.Int64

// Database is a new name in the PostgreSQL database that VARVE_TEST_POSTGRES
// names, dropped after the test. ok is false where there is none.
func Database(t testing.TB) (p Place, ok bool) {
	dsn := os.Getenv("VARVE_TEST_POSTGRES")
	if dsn == "" {
		return p, false
	}
	p = Place{Schema: fmt.Sprintf("t%d_%d", os.Getpid(), databases.Add(1))}
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set("application_name", p.Schema)
	u.RawQuery = q.Encode()
	p.Database = u.String()
	t.Cleanup(func() {
		for _, schema := range p.Schemas(t) {
			p.exec(t, `DROP SCHEMA `+schema+` CASCADE`)
		}
	})
	return p, true
}

// Options are options of a runner whose models are kept here.
func (p Place) Options(o projections.Options) projections.Options {
	o.Database, o.Schema = p.Database, p.Schema
	return o
}

func (p Place) connect(t testing.TB) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), p.Database)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p Place) exec(t testing.TB, text string, args ...any) {
	t.Helper()
	c := p.connect(t)
	defer c.Close(context.Background())
	if _, err := c.Exec(context.Background(), text, args...); err != nil {
		t.Error(err)
	}
}

// Schemas lists the schemas of a database's place.
func (p Place) Schemas(t testing.TB) []string {
	t.Helper()
	c := p.connect(t)
	defer c.Close(context.Background())
	return column(t, c, `SELECT nspname FROM pg_namespace WHERE nspname = $1 OR starts_with(nspname, $1 || '_') ORDER BY nspname`, p.Schema)
}

func column(t testing.TB, c *pgx.Conn, text string, args ...any) []string {
	t.Helper()
	rows, err := c.Query(context.Background(), text, args...)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Dump gives all rows of all tables that serve, by model and table, sorted;
// checkpoints and the names of indexes too. What is parked has a time and is left
// out. Equal models have equal dumps, wherever they are kept.
func (p Place) Dump(t testing.TB) map[string][]string {
	t.Helper()
	if p.Database == "" {
		return Dump(t, p.Dir)
	}
	c := p.connect(t)
	defer c.Close(context.Background())
	all := map[string][]string{}
	for _, row := range column(t, c, `SELECT model || ' ' || schema FROM `+p.Schema+`.serving WHERE schema <> ''`) {
		model, schema, _ := strings.Cut(row, " ")
		for _, table := range column(t, c, `SELECT tablename FROM pg_tables WHERE schemaname = $1 AND tablename NOT IN ('varve_parked', 'varve_skipped')`, schema) {
			all[model+" "+table] = schemaRows(t, c, schema+"."+table)
		}
		all[model+" indexes"] = column(t, c, `SELECT indexname FROM pg_indexes WHERE schemaname = $1 AND indexname NOT LIKE '%\_pkey' ORDER BY indexname COLLATE "C"`, schema)
	}
	if len(all) == 0 {
		t.Fatalf("nothing serves in %s", p.Schema)
	}
	return all
}

func schemaRows(t testing.TB, c *pgx.Conn, table string) []string {
	t.Helper()
	rows, err := c.Query(context.Background(), `SELECT * FROM `+table)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	all := []string{}
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		for i, f := range rows.FieldDescriptions() {
			fmt.Fprintf(&b, "%s=%v ", f.Name, values[i])
		}
		all = append(all, b.String())
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(all)
	return all
}

// modelOf is the model that a file is of.
func modelOf(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".")
	return name
}
