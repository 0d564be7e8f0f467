// Command goes appends to the PostgreSQL event store of github.com/modernice/goes
// what Varve's BenchmarkAppend appends to its own, as often and from as many
// writers, and prints events/s in the form of Go's benchmarks. It stands in a
// module of its own, so that nothing of it is needed to build Varve.
//
//	VARVE_TEST_POSTGRES=postgres://… go run .
//
// Sizes are BenchmarkAppend's: VARVE_BENCH_EVENTS (20,000), VARVE_BENCH_SECONDS (1).
package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/modernice/goes/backend/postgres"
	"github.com/modernice/goes/event"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "goes:", err)
		os.Exit(1)
	}
}

const perStream = 10 // events of an aggregate

// data is as long as that of Varve's bench.
func data(n int) []byte {
	s := fmt.Sprintf(`{"n":%d,"collection_id":"col_1a2b3c","title":"A varve is one year's layer in lake sediment","score":0.125,"text":"`, n)
	return []byte(s + strings.Repeat("lorem ipsum ", 20)[:200-2-len(s)] + `"}`)
}

// encoding hands JSON through: what encoding costs is not the store's.
type encoding struct{}

func (encoding) Marshal(v any) ([]byte, error)             { return v.([]byte), nil }
func (encoding) Unmarshal(b []byte, _ string) (any, error) { return b, nil }

func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

func run(ctx context.Context) (err error) {
	dsn := os.Getenv("VARVE_TEST_POSTGRES")
	if dsn == "" {
		return errors.New("VARVE_TEST_POSTGRES is not set")
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return err
	}
	admin, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer admin.Close(ctx)
	name := fmt.Sprintf("varve_goes_%d", os.Getpid())
	if _, err := admin.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return err
	}
	defer func() {
		_, dropped := admin.Exec(ctx, "DROP DATABASE "+name+" WITH (FORCE)")
		err = errors.Join(err, dropped)
	}()
	u.Path = "/" + name
	if err := preload(ctx, u.String(), setting("VARVE_BENCH_EVENTS", 20_000)); err != nil {
		return err
	}
	if _, err := admin.Exec(ctx, "CHECKPOINT"); err != nil {
		return err
	}
	for _, way := range []struct{ writers, batch int }{{1, 1}, {16, 1}, {256, 1}, {1, 100}} {
		if err := measure(ctx, u.String(), way.writers, way.batch); err != nil {
			return err
		}
	}
	return nil
}

// open gives the store a connection for each writer, as far as a server has them:
// its pool has 4 otherwise, for which the writers would queue.
func open(ctx context.Context, dsn string, writers int) (*postgres.EventStore, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	config.MaxConns = int32(min(max(writers, 4), 64))
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, err
	}
	store := postgres.NewEventStore(encoding{}, postgres.Pool(pool))
	if err := store.Connect(ctx); err != nil {
		pool.Close()
		return nil, err
	}
	return store, nil
}

// preload fills the table in one statement.
func preload(ctx context.Context, dsn string, events int) error {
	store, err := open(ctx, dsn, 1)
	if err != nil {
		return err
	}
	defer store.Pool().Close()
	_, err = store.Pool().Exec(ctx, `INSERT INTO events (id, name, time, aggregate_id, aggregate_name, aggregate_version, data)
		SELECT gen_random_uuid(), 'document.written', 1700000000000000000 + i, md5('aggregate ' || i / 10)::uuid, 'document', i % 10 + 1, $2::jsonb
		FROM generate_series(0, $1::bigint - 1) AS i`, events, string(data(0)))
	return err
}

func measure(ctx context.Context, dsn string, writers, batch int) error {
	store, err := open(ctx, dsn, writers)
	if err != nil {
		return err
	}
	defer store.Pool().Close()
	if _, err := drive(ctx, store, writers, batch, time.Second/2); err != nil {
		return err
	}
	began := time.Now()
	lat, err := drive(ctx, store, writers, batch, 3*time.Duration(setting("VARVE_BENCH_SECONDS", 1))*time.Second)
	if err != nil {
		return err
	}
	took := time.Since(began)
	slices.Sort(lat)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	fmt.Printf("BenchmarkGoes/%dx%d 1 %.0f events/s %.3f p50_ms %.3f p99_ms\n", writers, batch,
		float64(len(lat)*batch)/took.Seconds(), ms(lat[len(lat)/2]), ms(lat[len(lat)*99/100]))
	return nil
}

// drive inserts from closed-loop writers until the time is up.
func drive(ctx context.Context, store *postgres.EventStore, writers, batch int, long time.Duration) ([]time.Duration, error) {
	end := time.Now().Add(long)
	all, errs := make([][]time.Duration, writers), make([]error, writers)
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			content := data(w)
			var aggregate uuid.UUID
			for n := 0; errs[w] == nil; {
				began := time.Now()
				if began.After(end) {
					return
				}
				events := make([]event.Event, batch)
				for i := range events {
					if n%perStream == 0 {
						aggregate = uuid.New()
					}
					events[i] = event.New[any]("document.written", content, event.Aggregate(aggregate, "document", n%perStream+1))
					n++
				}
				errs[w] = store.Insert(ctx, events...)
				all[w] = append(all[w], time.Since(began))
			}
		})
	}
	wg.Wait()
	return slices.Concat(all...), errors.Join(errs...)
}
