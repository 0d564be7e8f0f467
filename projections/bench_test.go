package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/memory"
)

// documentsStore is a store of n events: half create documents of ~600 bytes
// with lineage, half change one.
func documentsStore(tb testing.TB, n int) eventstore.Owner {
	tb.Helper()
	store, err := memory.Open(memory.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	filler := strings.Repeat("the quick brown fox ", 12)
	var ids []string
	const group = 500
	for start := 0; start < n; start += group {
		var a eventstore.Append
		for i := start; i < min(start+group, n); i++ {
			var id string
			if i%2 == 0 || len(ids) == 0 {
				id = domain.DeriveID(domain.DocumentPrefix, "bench", i)
				ids = append(ids, id)
			} else {
				id = ids[rng.IntN(len(ids))]
			}
			object := domain.DeriveID(domain.ObjectPrefix, i%10_000)
			data, err := domain.EncodeEvent(&domain.DocumentWritten{Document: domain.Document{DocumentID: id, CollectionID: fmt.Sprintf("col_%010d", i%5), ConfigVersion: 9,
				Payload:   map[string]json.RawMessage{"title": json.RawMessage(`"a title"`), "text": json.RawMessage(`"` + filler + `"`), "n": json.RawMessage(fmt.Sprint(i))},
				Lineage:   domain.Lineage{SourceType: "bucket", RootObjectID: object, RootBucketID: "bkt_12345678", SourceObjectID: object, Ordinal: i % 7, Path: "bkt_12345678/col_0123456789"},
				Extractor: "text_extractor@v1", BatchID: "btch_0123456789ab"}})
			if err != nil {
				tb.Fatal(err)
			}
			a.Batches = append(a.Batches, eventstore.Batch{Log: "log_0123456789abcdef", Stream: domain.DocumentStream(id), Events: []eventstore.Event{{Type: "document.written", Data: data}}})
		}
		if _, err := store.Append(context.Background(), a); err != nil {
			tb.Fatal(err)
		}
	}
	tb.Cleanup(func() { _ = store.Close() })
	return store
}

// BenchmarkDocuments measures the documents model over one history, half of it
// updates: followed in pages, and filled anew, in a file and in PostgreSQL, there
// also while somebody reads. One operation is one event.
func BenchmarkDocuments(b *testing.B) {
	const events = 200_000
	store := documentsStore(b, events)
	files := func(b *testing.B) (*Runner, *Documents) {
		r, d := NewRunner(store, b.TempDir(), Options{}), NewDocuments()
		r.Add(d)
		return r, d
	}
	database := func(b *testing.B) (*Runner, *Documents) {
		r, d := NewRunner(store, "", inDatabase(b, Options{})), NewDocuments()
		r.Add(d)
		return r, d
	}
	b.Run("incremental", func(b *testing.B) {
		for b.Loop() {
			r, d := files(b)
			f, err := openFile(b.Context(), r.path(d), d)
			if err != nil {
				b.Fatal(err)
			}
			if err := f.finish(b.Context(), d); err != nil { // as if it had been filled when it was empty
				b.Fatal(err)
			}
			if err := f.close(); err != nil {
				b.Fatal(err)
			}
			follows(b, r, events)
		}
	})
	b.Run("rebuild", func(b *testing.B) {
		for b.Loop() {
			r, _ := files(b)
			rebuilds(b, r, events)
		}
	})
	b.Run("postgres-incremental", func(b *testing.B) {
		for b.Loop() {
			r, d := database(b)
			servesEmpty(b, r, d)
			follows(b, r, events)
		}
	})
	b.Run("postgres-incremental-read", func(b *testing.B) {
		for b.Loop() {
			r, d := database(b)
			servesEmpty(b, r, d)
			defer readBeside(b, r, d)()
			follows(b, r, events)
		}
	})
	b.Run("postgres-rebuild", func(b *testing.B) {
		for b.Loop() {
			r, _ := database(b)
			rebuilds(b, r, events)
		}
	})
	b.Run("postgres-rebuild-read", func(b *testing.B) {
		for b.Loop() {
			r, d := database(b)
			if err := r.Start(b.Context()); err != nil {
				b.Fatal(err)
			}
			if err := r.WaitApplied(b.Context(), 0, events); err != nil {
				b.Fatal(err)
			}
			stop := readBeside(b, r, d)
			rebuilds(b, r, events)
			stop()
			if err := r.Stop(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func follows(b *testing.B, r *Runner, events uint64) {
	start, cpu := time.Now(), processorTime()
	if err := r.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	if err := r.WaitApplied(b.Context(), 0, events); err != nil {
		b.Fatal(err)
	}
	report(b, start, cpu, float64(events))
	if err := r.Stop(); err != nil {
		b.Fatal(err)
	}
}

func rebuilds(b *testing.B, r *Runner, events float64) {
	start, cpu := time.Now(), processorTime()
	if err := r.Rebuild(b.Context(), "documents", nil); err != nil {
		b.Fatal(err)
	}
	report(b, start, cpu, events)
}

// readBeside reads a document and a page, about a thousand times a second, until
// the function that it gives is called.
func readBeside(b *testing.B, r *Runner, d *Documents) func() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n, failed := 0, 0; ; n++ {
			pause(ctx, time.Millisecond)
			if ctx.Err() != nil {
				b.ReportMetric(float64(failed), "failed-reads")
				return
			}
			if r.models[0].applied(0) == 0 { // it does not run yet
				continue
			}
			at := At{"log_0123456789abcdef", max(1, r.models[0].applied(0))}
			_, err := d.Document(ctx, at, domain.DeriveID(domain.DocumentPrefix, "bench", 2*(n%1000)))
			if err == nil && n%10 == 0 {
				_, err = d.List(ctx, at, DocumentQuery{Collections: []string{"col_0000000001"}})
			}
			if err != nil && ctx.Err() == nil && domain.CodeOf(err) != domain.CodeNotFound {
				failed++
				b.Log(err)
			}
		}
	}()
	return func() { stop(); <-done }
}

func processorTime() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func report(b *testing.B, start time.Time, cpu time.Duration, events float64) {
	b.ReportMetric(events/time.Since(start).Seconds(), "events/s")
	b.ReportMetric(float64((processorTime()-cpu).Microseconds())/events, "cpu-µs/event")
}

// BenchmarkReads measures what a request does: pin, read one, read a page, count;
// in a file and in PostgreSQL.
func BenchmarkReads(b *testing.B) {
	store := documentsStore(b, 100_000)
	b.Run("files", func(b *testing.B) { benchmarkReads(b, NewRunner(store, b.TempDir(), Options{})) })
	b.Run("postgres", func(b *testing.B) { benchmarkReads(b, NewRunner(store, "", inDatabase(b, Options{}))) })
}

func benchmarkReads(b *testing.B, r *Runner) {
	d := NewDocuments()
	r.Add(d)
	if err := r.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	defer r.Stop()
	if err := r.WaitApplied(b.Context(), 0, 100_000); err != nil {
		b.Fatal(err)
	}
	const log = "log_0123456789abcdef"
	pin, err := r.Pin(b.Context(), log)
	if err != nil {
		b.Fatal(err)
	}
	id := domain.DeriveID(domain.DocumentPrefix, "bench", 500)
	for name, read := range map[string]func() error{
		"pin":      func() error { _, err := r.Pin(b.Context(), log); return err },
		"document": func() error { _, err := d.Document(b.Context(), pin.At, id); return err },
		"list-100": func() error {
			_, err := d.List(b.Context(), pin.At, DocumentQuery{Collections: []string{"col_0000000001"}})
			return err
		},
		"count-10000": func() error {
			_, err := d.Count(b.Context(), pin.At, DocumentQuery{Collections: []string{"col_0000000001"}})
			return err
		},
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := read(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
