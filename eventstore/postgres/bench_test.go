package postgres

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"varve/eventstore"
	"varve/eventstore/storetest"
)

// preload fills the database of this run, once; it is the template of all others.
var preload = sync.OnceValue(func() error {
	s, err := Open(context.Background(), server, Options{})
	if err != nil {
		return err
	}
	return errors.Join(storetest.Preload(s), s.Close())
})

var copies atomic.Int64

// benchDatabase is a copy of the preloaded one.
func benchDatabase(b *testing.B) string {
	b.Helper()
	database(b)
	if err := preload(); err != nil {
		b.Fatal(err)
	}
	u, err := url.Parse(server)
	if err != nil {
		b.Fatal(err)
	}
	template := strings.TrimPrefix(u.Path, "/")
	name := fmt.Sprintf("%s_%d", template, copies.Add(1))
	outside := *u
	outside.Path = "/postgres"
	run := func(sql string) error {
		c, err := pgx.Connect(context.Background(), outside.String())
		if err != nil {
			return err
		}
		defer c.Close(context.Background())
		_, err = c.Exec(context.Background(), sql)
		return err
	}
	again(b, func() error { // autovacuum may be in the template
		return run("CREATE DATABASE " + name + " TEMPLATE " + template + strategy(b))
	})
	b.Cleanup(func() { again(b, func() error { return run("DROP DATABASE " + name + " WITH (FORCE)") }) })
	again(b, func() error { return run("CHECKPOINT") })
	u.Path = "/" + name
	return u.String()
}

func again(b *testing.B, do func() error) {
	b.Helper()
	err := do()
	for deadline := time.Now().Add(time.Minute); err != nil; err = do() {
		if time.Now().After(deadline) {
			b.Fatal(err)
		}
	}
}

// strategy copies files instead of writing every page to the log too, where the server knows both ways.
func strategy(b *testing.B) string {
	c, err := pgx.Connect(context.Background(), server)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close(context.Background())
	if c.PgConn().ParameterStatus("server_version") < "15" {
		return ""
	}
	return " STRATEGY FILE_COPY"
}

// BenchmarkAppend prints events/s of the store and of the bare program, which
// writes the same rows and indexes through the same driver in the same batch
// sizes, without any checks. Read their ratio.
func BenchmarkAppend(b *testing.B) {
	for _, way := range []storetest.Way{{Writers: 1, Batch: 1, Wanted: 0.85}, {Writers: 16, Batch: 1, Wanted: 0.7}, {Writers: 256, Batch: 1, Wanted: 0.7}, {Writers: 1, Batch: 100, Wanted: 0.75}} {
		b.Run(way.String(), func(b *testing.B) {
			dsn := benchDatabase(b)
			bare := openBare(b, benchDatabase(b))
			storetest.CompareAppends(b, way, func(o eventstore.Options) eventstore.Owner {
				s, err := Open(context.Background(), dsn, Options{Options: o})
				if err != nil {
					b.Fatal(err)
				}
				b.Cleanup(func() { s.Close() })
				return s
			}, bare)
		})
	}
}

// bare writes rows as they come: one statement a commit, with nothing looked at.
type bare struct {
	c       *pgconn.PgConn
	sql     [1 << parts]string
	feed    uint64
	streams int64
	pos     [storetest.BenchLogs]uint64
	events  int
	data    []byte
	meta    []byte
}

func openBare(b *testing.B, dsn string) *bare {
	b.Helper()
	e, err := newEngine(dsn, Options{}, steps)
	if err != nil {
		b.Fatal(err)
	}
	c, err := pgx.ConnectConfig(context.Background(), e.config.ConnConfig)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { c.Close(context.Background()) })
	if err := e.prepareSession(context.Background(), c); err != nil {
		b.Fatal(err)
	}
	h, _, err := scanHead(c.QueryRow(context.Background(), e.sql.head, int64(0)))
	if err != nil {
		b.Fatal(err)
	}
	x := &bare{c: c.PgConn(), feed: h.Feed, streams: h.Streams, data: storetest.BenchData(1), meta: eventstore.AppendMetadata(nil, &storetest.BenchMeta)}
	for with, sql := range e.sql.commit {
		sql, _, _ = strings.Cut(sql, "\n\tSELECT FROM h")
		sql = strings.ReplaceAll(sql, " WHERE EXISTS (SELECT 1 FROM h)", "")
		sql = strings.ReplaceAll(sql, "WHERE shard = $1 AND token = $2", "WHERE shard = $1 AND $2::bigint IS NOT NULL")
		x.sql[with] = sql + "\n\tSELECT 1"
	}
	for i := range x.pos {
		x.pos[i] = h.Feed
	}
	return x
}

// Commit writes the next rows.
func (x *bare) Commit(size int) error {
	var streams []eventstore.NewStream
	rows := make([]*eventstore.NewRow, size)
	for k := range rows {
		r := &eventstore.NewRow{Record: &eventstore.Record{}}
		if x.events%storetest.PerStream == 0 {
			x.streams++
			streams = append(streams, eventstore.NewStream{Key: x.streams, LogKey: 1 + x.streams%storetest.BenchLogs, Name: fmt.Sprintf("document-doc_%d_1_%d", x.streams%4, x.streams)})
		}
		log := x.streams % storetest.BenchLogs
		x.feed++
		x.pos[log]++
		r.Feed, r.LogKey, r.Position, r.StreamKey, r.Version = x.feed, 1+log, x.pos[log], x.streams, uint64(x.events%storetest.PerStream+1)
		r.Type, r.MetaBytes, r.Data = "document.written", x.meta, x.data
		rows[k] = r
		x.events++
	}
	with := withEvents
	p := newParameters()
	defer p.done()
	for _, n := range []int64{0, 0, int64(x.feed), int64(x.feed), storetest.BenchLogs, x.streams, 0, 1} {
		number(p, n)
	}
	if len(streams) > 0 {
		with |= withStreams
		p.streams(streams)
	}
	p.events(rows)
	name := fmt.Sprint("bare_", with)
	if x.sql[with] != "" {
		if _, err := x.c.Prepare(context.Background(), name, x.sql[with], nil); err != nil {
			return err
		}
		x.sql[with] = ""
	}
	return x.c.ExecPrepared(context.Background(), name, p.list, []int16{1}, nil).Read().Err
}

// BenchmarkRead reads one log beside a bare program that pages through the same rows.
func BenchmarkRead(b *testing.B) {
	dsn, ctx := benchDatabase(b), context.Background()
	e, err := OpenEngine(ctx, dsn, Options{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := eventstore.NewOwner(e, eventstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close(ctx)
	if err := e.prepareSession(ctx, c); err != nil {
		b.Fatal(err)
	}
	storetest.CompareReads(b, func() (n int, err error) {
		for _, err := range s.Read(ctx, "ns_3", 0, 0) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}, func() (n int, err error) {
		for after, more := int64(0), true; more; {
			more = false
			if err := each(ctx, c, func(v [][]byte) error {
				row := make([][]byte, len(v))
				for i := range v {
					row[i] = slices.Clone(v[i])
				}
				after, more = toInt(row[1]), true
				n++
				return nil
			}, `SELECT e.key, e.position, e.version, e.type, e.frame, e.data, e.packed, s.name FROM varve.events e JOIN varve.streams s ON s.stream = e.stream
				WHERE e.log = (SELECT log FROM varve.logs WHERE name = 'ns_3') AND e.position > $1 ORDER BY e.position LIMIT 1000`, after); err != nil {
				return n, err
			}
		}
		return n, nil
	}, 0.7)
}
