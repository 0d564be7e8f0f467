package postgres

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"varve/eventstore"
	"varve/eventstore/storetest"
)

// BenchmarkFeed appends 500 times a second, whatever the answers take, and
// measures from the call of Append until a follower in another store, as in
// another process, has the record. A record is durable before anybody sees it, so
// the disk's own time stands beside it.
func BenchmarkFeed(b *testing.B) {
	dsn, ctx := benchDatabase(b), context.Background()
	writer, err := Open(ctx, dsn, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer writer.Close()
	reader, err := Open(ctx, dsn, Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer reader.Close()
	head, err := reader.Head(ctx, 0)
	if err != nil {
		b.Fatal(err)
	}
	sync, syncP99 := syncTime(b)
	warm, n := 250, int(500*storetest.Span().Seconds())
	seen := make(chan []time.Time)
	go func() {
		var at []time.Time
		for after := head; len(at) < warm+n; {
			if err := reader.Wait(ctx, 0, after); err != nil {
				b.Error(err)
				break
			}
			for r, err := range reader.Feed(ctx, 0, after, 1000) {
				if err != nil {
					b.Error(err)
					break
				}
				at, after = append(at, time.Now()), r.Feed
			}
		}
		seen <- at
	}()
	sent, acked := storetest.Paced(b, writer, 500, warm+n, func(i int) eventstore.Append {
		return storetest.BenchAppend("paced", i%1000, i/1000, 1, storetest.BenchData(i))
	})
	all := <-seen
	if b.Failed() {
		return
	}
	var visible, appends []time.Duration
	for i := warm; i < warm+n; i++ {
		visible = append(visible, all[acked[i].Feed-head-1].Sub(sent[i]))
		appends = append(appends, acked[i].After.Sub(sent[i]))
	}
	slices.Sort(appends)
	b.ReportMetric(0, "ns/op")
	storetest.ReportLatency(b, visible)
	b.ReportMetric(5+storetest.Milliseconds(sync), "p99_ms<=")
	b.ReportMetric(storetest.Milliseconds(appends[len(appends)*99/100]), "append_p99_ms")
	b.ReportMetric(storetest.Milliseconds(sync), "sync_p50_ms")
	b.ReportMetric(storetest.Milliseconds(syncP99), "sync_p99_ms")
}

// syncTime is how long the disk takes to make a page durable: the median, and the
// 99th percentile, which says what others do to the disk at the same time.
func syncTime(b *testing.B) (median, p99 time.Duration) {
	f, err := os.CreateTemp(b.TempDir(), "sync")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var took []time.Duration
	for i := range 300 {
		began := time.Now()
		if _, err := f.WriteAt(make([]byte, 4096), int64(i)*4096); err != nil {
			b.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return took[len(took)/2], took[len(took)*99/100]
}
