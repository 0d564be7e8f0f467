package postgres

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"varve/eventstore"
	"varve/eventstore/sqlite"
)

// BenchmarkCopy copies a store of 100,000 events of 220 bytes in 20,000 streams from
// SQLite to PostgreSQL and back, and compares them.
func BenchmarkCopy(b *testing.B) {
	const events = 100_000
	ctx, folder := context.Background(), b.TempDir()
	file := func(name string) eventstore.Owner {
		s, err := sqlite.Open(filepath.Join(folder, name), sqlite.Options{Shards: 2})
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { s.Close() })
		return s
	}
	from := file("from.db")
	data := fmt.Appendf(nil, `{"payload":%q}`, fmt.Sprintf("%0200d", 7))
	for n := 0; n < events; n += 1000 {
		a := eventstore.Append{Shard: 0}
		for i := n; i < n+1000; i += 5 {
			e := eventstore.Event{Type: "a.b", Data: data}
			a.Batches = append(a.Batches, eventstore.Batch{Log: eventstore.LogID(fmt.Sprint("log-", i/1000%10)), Stream: fmt.Sprint("s", i/5), Events: []eventstore.Event{e, e, e, e, e}})
		}
		if _, err := from.Append(ctx, a); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		shared, back := open(b, schema(b), eventstore.Options{}), file(fmt.Sprint("back", b.N, ".db"))
		for _, step := range []struct {
			name     string
			from, to eventstore.Owner
		}{{"to-postgres", from, shared}, {"to-sqlite", shared, back}} {
			began := b.Elapsed()
			if err := eventstore.Copy(ctx, step.from, step.to, nil); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(events/(b.Elapsed()-began).Seconds(), step.name+"/s")
			began = b.Elapsed()
			if err := eventstore.Compare(ctx, step.from, step.to, nil); err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(events/(b.Elapsed()-began).Seconds(), "compare-"+step.name+"/s")
		}
	}
}
