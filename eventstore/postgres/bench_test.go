package postgres

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
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"varve/eventstore"
)

// The benchmarks work in a store with VARVE_BENCH_EVENTS events (20,000; make
// bench says 1,000,000) and measure each way for VARVE_BENCH_SECONDS (1) in three
// rounds. Read the ratios to the bare program, which writes the same rows and
// indexes through the same driver in the same batch sizes, without any checks.
func setting(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}

const (
	benchLogs  = 10
	perStream  = 10 // events of a stream
	benchBytes = 200
)

func benchData(n int) []byte {
	s := fmt.Sprintf(`{"n":%d,"collection_id":"col_1a2b3c","title":"A varve is one year's layer in lake sediment","score":0.125,"text":"`, n)
	return []byte(s + strings.Repeat("lorem ipsum ", 20)[:benchBytes-2-len(s)] + `"}`)
}

var benchMeta = eventstore.Metadata{Actor: "usr_2f9c1d7e55", Key: "key_9b1c2d3e4f", Correlation: "req_0123456789abcdef", Causation: "01890a5d-ac96-774b-bcce-b302099a8057", Origin: "http"}

// preload fills the database of this run, once; it is the template of all others.
var preload = sync.OnceValue(func() error {
	ctx := context.Background()
	s, err := Open(ctx, server, Options{})
	if err != nil {
		return err
	}
	for n := 0; n < setting("VARVE_BENCH_EVENTS", 20_000); n += 1000 {
		var batches []eventstore.Batch
		for st := range 1000 / perStream {
			b := eventstore.Batch{Log: eventstore.LogID(fmt.Sprint("ns_", st%benchLogs)), Stream: fmt.Sprint("document-doc_pre", n, "_", st), Meta: benchMeta}
			for k := range perStream {
				b.Events = append(b.Events, eventstore.Event{Type: "document.written", Data: benchData(n + k)})
			}
			batches = append(batches, b)
		}
		if _, err := s.Append(ctx, eventstore.Append{Batches: batches}); err != nil {
			return errors.Join(err, s.Close())
		}
	}
	return s.Close()
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
	run := func(sql string) {
		c, err := pgx.Connect(context.Background(), outside.String())
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close(context.Background())
		if _, err := c.Exec(context.Background(), sql); err != nil {
			b.Fatal(err)
		}
	}
	run("CREATE DATABASE " + name + " TEMPLATE " + template)
	b.Cleanup(func() { run("DROP DATABASE " + name + " WITH (FORCE)") })
	run("CHECKPOINT")
	u.Path = "/" + name
	return u.String()
}

// BenchmarkAppend prints events/s of the store and of the bare program, and their ratio.
func BenchmarkAppend(b *testing.B) {
	for _, way := range []struct {
		name           string
		writers, batch int
		target         float64
	}{{"1x1", 1, 1, 0.85}, {"16x1", 16, 1, 0.7}, {"256x1", 256, 1, 0.7}, {"1x100", 1, 100, 0.75}} {
		b.Run(way.name, func(b *testing.B) {
			var sizes []int
			s, err := Open(context.Background(), benchDatabase(b), Options{Options: eventstore.Options{OnCommit: func(_, _, records int) { sizes = append(sizes, records) }}})
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			other := openBare(b, benchDatabase(b))
			const rounds = 10
			slice := time.Duration(setting("VARVE_BENCH_SECONDS", 1)) * time.Second * 3 / rounds
			var ours, theirs time.Duration
			var ratios []float64
			var lat []time.Duration
			events, commits := 0, 0
			for round := range rounds + 1 {
				sizes = sizes[:0]
				began := time.Now()
				l := drive(b, []eventstore.Owner{s}, round, way.writers, way.batch, slice)
				mine := time.Since(began)
				began = time.Now()
				other.replay(b, sizes)
				bare := time.Since(began)
				if round == 0 { // warming up
					continue
				}
				for _, size := range sizes {
					events += size
				}
				commits += len(sizes)
				lat = append(lat, l...)
				ours, theirs = ours+mine, theirs+bare
				ratios = append(ratios, bare.Seconds()/mine.Seconds())
			}
			slices.Sort(ratios)
			slices.Sort(lat)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(events)/ours.Seconds(), "events/s")
			b.ReportMetric(float64(events)/theirs.Seconds(), "bare/s")
			b.ReportMetric(ratios[len(ratios)/2], "ratio")
			b.ReportMetric(way.target, "wanted")
			b.ReportMetric(float64(events)/float64(commits), "events/commit")
			b.ReportMetric(float64(lat[len(lat)/2].Microseconds())/1000, "p50_ms")
			b.ReportMetric(float64(lat[len(lat)*99/100].Microseconds())/1000, "p99_ms")
		})
	}
}

// drive appends from closed-loop writers, spread over stores, until the time is up.
func drive(b *testing.B, stores []eventstore.Owner, round, writers, batch int, long time.Duration) []time.Duration {
	end := time.Now().Add(long)
	var wg sync.WaitGroup
	all := make([][]time.Duration, writers)
	for w := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			log := eventstore.LogID(fmt.Sprint("ns_", w%benchLogs))
			data := benchData(w)
			for i := 0; ; i++ {
				began := time.Now()
				if began.After(end) {
					return
				}
				var a eventstore.Append
				for k := range max(1, batch/perStream) {
					bt := eventstore.Batch{Log: log, Stream: fmt.Sprintf("document-doc_%d_%d_%d_%d", round, w, i, k), Expect: eventstore.New(), Meta: benchMeta}
					if batch == 1 {
						bt.Stream, bt.Expect = fmt.Sprintf("document-doc_%d_%d_%d", round, w, i/perStream), eventstore.Exactly(uint64(i%perStream))
					}
					for range min(batch, perStream) {
						bt.Events = append(bt.Events, eventstore.Event{Type: "document.written", Data: data})
					}
					a.Batches = append(a.Batches, bt)
				}
				if _, err := stores[w%len(stores)].Append(context.Background(), a); err != nil {
					b.Error(err)
					return
				}
				all[w] = append(all[w], time.Since(began))
			}
		}()
	}
	wg.Wait()
	return slices.Concat(all...)
}

// bare writes rows as they come: one statement a commit, with nothing looked at.
type bare struct {
	c       *pgconn.PgConn
	sql     [1 << parts]string
	feed    uint64
	streams int64
	pos     [benchLogs]uint64
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
	x := &bare{c: c.PgConn(), feed: h.Feed, streams: h.Streams, data: benchData(1), meta: eventstore.AppendMetadata(nil, &benchMeta)}
	for with, sql := range e.sql.commit {
		sql, _, _ = strings.Cut(sql, "\n\tSELECT pg_notify")
		sql = strings.ReplaceAll(sql, " WHERE EXISTS (SELECT 1 FROM h)", "")
		sql = strings.ReplaceAll(sql, "WHERE shard = $1 AND token = $2", "WHERE shard = $1 AND $2::bigint IS NOT NULL")
		x.sql[with] = sql + "\n\tSELECT 1"
	}
	for i := range x.pos {
		x.pos[i] = h.Feed
	}
	return x
}

func (x *bare) replay(b *testing.B, sizes []int) {
	b.Helper()
	for _, size := range sizes {
		if err := x.commit(size); err != nil {
			b.Fatal(err)
		}
	}
}

func (x *bare) commit(size int) error {
	var streams []eventstore.NewStream
	rows := make([]*eventstore.Row, size)
	for k := range rows {
		r := &eventstore.Row{}
		if x.events%perStream == 0 {
			x.streams++
			streams = append(streams, eventstore.NewStream{Key: x.streams, LogKey: 1 + x.streams%benchLogs, Name: fmt.Sprintf("document-doc_%d_1_%d", x.streams%4, x.streams)})
		}
		log := x.streams % benchLogs
		x.feed++
		x.pos[log]++
		r.Feed, r.LogKey, r.Position, r.StreamKey, r.Version = x.feed, 1+log, x.pos[log], x.streams, uint64(x.events%perStream+1)
		r.Type, r.MetaBytes, r.Data = "document.written", x.meta, x.data
		rows[k] = r
		x.events++
	}
	with := withEvents
	params := [][]byte{number(0), number(0), number(x.feed), number(x.feed), number(benchLogs), number(x.streams), number(0), number(1)}
	if len(streams) > 0 {
		with |= withStreams
		params = append(params,
			numbers(streams, func(s *eventstore.NewStream) int64 { return s.Key }),
			numbers(streams, func(s *eventstore.NewStream) int64 { return s.LogKey }),
			texts(streams, func(s *eventstore.NewStream) string { return s.Name }),
			numbers(streams, func(s *eventstore.NewStream) uint64 { return s.Base }))
	}
	params = eventParams(params, rows)
	name := fmt.Sprint("bare_", with)
	if x.sql[with] != "" {
		if _, err := x.c.Prepare(context.Background(), name, x.sql[with], nil); err != nil {
			return err
		}
		x.sql[with] = ""
	}
	return x.c.ExecPrepared(context.Background(), name, params, []int16{1}, nil).Read().Err
}

// counted counts lost races.
type counted struct {
	*Engine
	commits, moved atomic.Int64
}

func (c *counted) Commit(ctx context.Context, x *eventstore.Commit) error {
	err := c.Engine.Commit(ctx, x)
	c.commits.Add(1)
	if errors.Is(err, eventstore.ErrMoved) {
		c.moved.Add(1)
	}
	return err
}

// BenchmarkProcesses appends to one shard from one, two and four stores, as as
// many processes would, with 16 writers each.
func BenchmarkProcesses(b *testing.B) {
	for _, n := range []int{1, 2, 4} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			dsn := benchDatabase(b)
			var stores []eventstore.Owner
			var engines []*counted
			shares := make([]int, n)
			for i := range n {
				e, err := OpenEngine(context.Background(), dsn, Options{})
				if err != nil {
					b.Fatal(err)
				}
				c := &counted{Engine: e}
				s, err := eventstore.NewOwner(c, eventstore.Options{OnCommit: func(_, _, records int) { shares[i] += records }})
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				stores, engines = append(stores, s), append(engines, c)
			}
			drive(b, stores, 0, 16*n, 1, time.Second/2)
			clear(shares)
			for _, e := range engines {
				e.commits.Store(0)
				e.moved.Store(0)
			}
			began := time.Now()
			lat := drive(b, stores, 1, 16*n, 1, 3*time.Duration(setting("VARVE_BENCH_SECONDS", 1))*time.Second)
			took := time.Since(began)
			var commits, moved int64
			for _, e := range engines {
				commits, moved = commits+e.commits.Load(), moved+e.moved.Load()
			}
			slices.Sort(lat)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(len(lat))/took.Seconds(), "events/s")
			b.ReportMetric(float64(slices.Min(shares))/float64(len(lat)), "least_share")
			b.ReportMetric(100*float64(moved)/float64(commits), "lost_%")
			b.ReportMetric(float64(lat[len(lat)/2].Microseconds())/1000, "p50_ms")
			b.ReportMetric(float64(lat[len(lat)*99/100].Microseconds())/1000, "p99_ms")
		})
	}
}

// BenchmarkRead reads one log beside a bare program that pages through the same rows.
func BenchmarkRead(b *testing.B) {
	dsn := benchDatabase(b)
	e, err := OpenEngine(context.Background(), dsn, Options{})
	if err != nil {
		b.Fatal(err)
	}
	s, err := eventstore.NewOwner(e, eventstore.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	c, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close(context.Background())
	if err := e.prepareSession(context.Background(), c); err != nil {
		b.Fatal(err)
	}
	var ours, theirs time.Duration
	n, m := 0, 0
	for b.Loop() {
		began := time.Now()
		for _, err := range s.Read(context.Background(), "ns_3", 0, 0) {
			if err != nil {
				b.Fatal(err)
			}
			n++
		}
		ours += time.Since(began)
		began = time.Now()
		for after, more := int64(0), true; more; {
			more = false
			if err := each(context.Background(), c, func(v [][]byte) error {
				row := make([][]byte, len(v))
				for i := range v {
					row[i] = slices.Clone(v[i])
				}
				after, more = toInt(row[1]), true
				m++
				return nil
			}, `SELECT e.key, e.position, e.version, e.type, e.frame, e.data, e.packed, s.name FROM varve.events e JOIN varve.streams s ON s.stream = e.stream
				WHERE e.log = (SELECT log FROM varve.logs WHERE name = 'ns_3') AND e.position > $1 ORDER BY e.position LIMIT 1000`, after); err != nil {
				b.Fatal(err)
			}
		}
		theirs += time.Since(began)
	}
	if n != m || n == 0 {
		b.Fatalf("%d and %d records", n, m)
	}
	b.ReportMetric(float64(n)/ours.Seconds(), "events/s")
	b.ReportMetric(float64(m)/theirs.Seconds(), "bare/s")
	b.ReportMetric(theirs.Seconds()/ours.Seconds(), "ratio")
	b.ReportMetric(0.7, "wanted")
}
