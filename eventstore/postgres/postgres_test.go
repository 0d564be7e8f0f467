package postgres

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"varve/eventstore"
	"varve/eventstore/memory"
	"varve/eventstore/sqlite"
	"varve/eventstore/storetest"
)

// server is the DSN of a database that is made for this run.
var server string

func TestMain(m *testing.M) {
	storetest.CrashMain(openCrash)
	appendingMain()
	status := 1
	if drop, err := makeDatabase(); err != nil {
		fmt.Println("VARVE_TEST_POSTGRES:", err)
	} else {
		status = m.Run()
		drop()
	}
	if err := goleak.Find(); err != nil && status == 0 {
		fmt.Println(err)
		status = 1
	}
	os.Exit(status)
}

func makeDatabase() (drop func(), err error) {
	dsn := os.Getenv("VARVE_TEST_POSTGRES")
	if dsn == "" {
		return func() {}, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, err
	}
	run := func(sql string) error {
		c, err := pgx.Connect(context.Background(), dsn)
		if err != nil {
			return err
		}
		defer c.Close(context.Background())
		_, err = c.Exec(context.Background(), sql)
		return err
	}
	name := fmt.Sprintf("varve_test_%d_%d", os.Getpid(), os.Getppid())
	if err := run("CREATE DATABASE " + name + " ENCODING 'UTF8' TEMPLATE template0"); err != nil {
		return nil, err
	}
	u.Path = "/" + name
	server = u.String()
	return func() {
		if err := run("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			fmt.Println(err)
		}
	}, nil
}

// database is the DSN for a test; without a server the test is skipped.
func database(t testing.TB) string {
	t.Helper()
	if server == "" {
		t.Skip("VARVE_TEST_POSTGRES is not set: `make up` starts a server and says how it is reached")
	}
	return server
}

var schemas atomic.Int64

// schema is a new one, dropped with the test.
func schema(t testing.TB) string {
	t.Helper()
	database(t)
	name := fmt.Sprintf("s%d", schemas.Add(1))
	t.Cleanup(func() { execute(t, "DROP SCHEMA IF EXISTS "+name+" CASCADE") })
	return name
}

func execute(t testing.TB, sql string) {
	t.Helper()
	c, err := pgx.Connect(context.Background(), database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	if _, err := c.PgConn().Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatal(err)
	}
}

// places remembers which schema lies under a store, for Reopen and Second.
var places sync.Map

func open(t testing.TB, schema string, opts eventstore.Options) eventstore.Owner {
	t.Helper()
	s, err := Open(context.Background(), database(t), Options{Options: opts, Schema: schema, Shards: 2, Readers: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	places.Store(s, schema)
	return s
}

func placeOf(s eventstore.Owner) string {
	name, _ := places.Load(s)
	return name.(string)
}

func fresh(t *testing.T, opts eventstore.Options) eventstore.Owner {
	t.Helper()
	return open(t, schema(t), opts)
}

func TestContract(t *testing.T) {
	database(t)
	storetest.Run(t, fresh, storetest.Features{
		Shards: 2,
		Reopen: func(t *testing.T, s eventstore.Owner, opts eventstore.Options) eventstore.Owner {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			return open(t, placeOf(s), opts)
		},
		Second: func(t *testing.T, s eventstore.Owner, opts eventstore.Options) eventstore.Owner {
			return open(t, placeOf(s), opts)
		},
		Bytes: func(t *testing.T, s eventstore.Owner, needle []byte) bool { return holds(t, placeOf(s), needle) },
	})
}

// holds looks for bytes in all rows of all tables. (In the files they lie until
// the server uses the space again: see the package's comment.)
func holds(t *testing.T, schema string, needle []byte) bool {
	t.Helper()
	c, err := pgx.Connect(context.Background(), database(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	rows, _ := c.Query(context.Background(), "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname = $1", schema)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(tables) < 7 {
		t.Fatal(tables, err)
	}
	var all bytes.Buffer
	for _, table := range tables {
		if _, err := c.PgConn().CopyTo(context.Background(), &all, "COPY "+table+" TO STDOUT (FORMAT binary)"); err != nil {
			t.Fatal(err)
		}
	}
	return bytes.Contains(all.Bytes(), needle)
}

// TestMetamorphic: the same operations on memory, SQLite and PostgreSQL give
// equal answers, feeds and hashes.
func TestMetamorphic(t *testing.T) {
	database(t)
	seeds := 6
	if testing.Short() {
		seeds = 1
	}
	storetest.Metamorphic(t, seeds, func(t *testing.T, opts eventstore.Options) eventstore.Owner {
		s, err := memory.Open(memory.Options{Options: opts, Shards: 2})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, func(t *testing.T, opts eventstore.Options) eventstore.Owner {
		s, err := sqlite.Open(t.TempDir()+"/log.db", sqlite.Options{Options: opts, Shards: 2})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}, fresh)
}

// openCrash opens "schema dsn".
func openCrash(where string) (eventstore.Owner, error) {
	schema, dsn, _ := strings.Cut(where, " ")
	return Open(context.Background(), dsn, Options{Schema: schema})
}

// TestCrash kills processes that append. A statement that was under way when its
// process died may still commit: the heads are locked once before looking.
func TestCrash(t *testing.T) {
	dsn, name := database(t), schema(t)
	storetest.Crash(t, name+" "+dsn, func(where string) (eventstore.Owner, error) {
		s, err := openCrash(where)
		if err == nil {
			execute(t, "SELECT * FROM "+name+".heads FOR UPDATE")
		}
		return s, err
	}, []string{
		"commit.before", "postgres.before-commit", "postgres.after-commit", "commit.after", "append.before-queue", "append.before-answer",
	})
}
