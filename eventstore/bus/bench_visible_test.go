package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/postgres"
	"varve/eventstore/state"
	"varve/eventstore/storetest"
	"varve/projections"
)

// BenchmarkVisible appends documents 500 times a second and measures from the call
// of Append until a process that answers queries has them in its read model:
// append, relay, Kafka, tail, documents model in PostgreSQL. Who answers, who
// relays and who projects have stores and connections of their own, as processes
// have. Every tenth time a document is fetched.
func BenchmarkVisible(b *testing.B) {
	dsn := benchDatabase(b)
	ctx, end := context.WithTimeout(context.Background(), 2*time.Minute) // where one of them stands still, all would wait
	defer end()
	k := broker(b)
	topic(b, k, 1)
	api, relaying, projecting := openPostgres(b, dsn), openPostgres(b, dsn), openPostgres(b, dsn)

	places, err := postgres.OpenState(ctx, dsn, postgres.StateOptions{})
	if err != nil {
		b.Fatal(err)
	}
	defer places.Close()
	x, err := NewTail(projecting, k, TailOptions{Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	defer running(b, x.Run)()
	live(b, x)
	r := &Relay{Store: relaying, Publisher: publisher(b, k), State: state.Place{Store: places, Consumer: "relay"}, Logger: quiet}
	defer running(b, r.Run)()
	follow := func(s eventstore.Follower, standby bool) (*projections.Runner, *projections.Documents) {
		r, d := projections.NewRunner(s, "", projections.Options{Database: dsn, Standby: standby, Logger: quiet}), projections.NewDocuments()
		r.Add(d)
		if err := r.Start(ctx); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = r.Stop() })
		return r, d
	}
	projector, _ := follow(x, false)
	reader, documents := follow(api, true)

	const warm = 2500 // 5 s: a broker that was just started is slow at first
	n := int(500 * storetest.Span().Seconds())
	seen := make([]time.Time, warm+n)
	fetched := make([]time.Duration, 0, n/10)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range seen {
			if err := reader.WaitApplied(ctx, 0, uint64(i+1)); err != nil {
				b.Error(err)
				return
			}
			seen[i] = time.Now()
			if i%10 > 0 || i < warm {
				continue
			}
			// One that is surely among the first i+1, though its turn may not have been exactly i.
			if _, err := documents.Document(ctx, projections.At{Log: visibleLog, Position: uint64(i + 1)}, documentID(i-warm/2)); err != nil {
				b.Error(err)
				return
			}
			fetched = append(fetched, time.Since(seen[i]))
		}
	}()
	published := passes(ctx, b, warm+n, r.Followers()[0].WaitApplied)
	applied := passes(ctx, b, warm+n, func(ctx context.Context, feed uint64) error { return projector.WaitApplied(ctx, 0, feed) })
	sent, acked := storetest.Paced(b, api, 500, warm+n, document)
	<-done
	stages := map[string][]time.Time{"published": published(), "applied": applied()}
	if b.Failed() {
		return
	}
	byKafka := x.Stats()
	answered := make([]time.Time, warm+n)
	for i := range acked {
		answered[acked[i].Feed-1] = acked[i].After
	}
	stages["acknowledged"] = answered
	var visible []time.Duration
	for i := warm; i < warm+n; i++ {
		visible = append(visible, seen[acked[i].Feed-1].Sub(sent[i]))
	}
	b.ReportMetric(0, "ns/op")
	storetest.ReportLatency(b, visible)
	b.ReportMetric(50, "p99_ms<=")
	slices.Sort(fetched)
	b.ReportMetric(storetest.Milliseconds(fetched[len(fetched)/2]), "fetch_p50_ms")
	for name, at := range stages { // since the same call
		var took []time.Duration
		for i := warm; i < warm+n; i++ {
			took = append(took, at[acked[i].Feed-1].Sub(sent[i]))
		}
		slices.Sort(took)
		b.ReportMetric(storetest.Milliseconds(took[len(took)/2]), name+"_p50_ms")
		b.ReportMetric(storetest.Milliseconds(took[len(took)*99/100]), name+"_p99_ms")
	}
	b.ReportMetric(100*float64(byKafka.Kafka)/float64(byKafka.Kafka+byKafka.Store), "by_kafka_%")
}

// passes notes when something has passed each feed position.
func passes(ctx context.Context, b *testing.B, n int, wait func(ctx context.Context, feed uint64) error) func() []time.Time {
	at := make([]time.Time, n)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range at {
			if err := wait(ctx, uint64(i+1)); err != nil {
				b.Error(err)
				return
			}
			at[i] = time.Now()
		}
	}()
	return func() []time.Time { <-done; return at }
}

const visibleLog = "log_0123456789abcdef"

func documentID(i int) string { return domain.DeriveID(domain.DocumentPrefix, "bench", i/2*2) }

// document writes a document anew, or the one before it again.
func document(i int) eventstore.Append {
	id := documentID(i)
	data, err := domain.EncodeEvent(&domain.DocumentWritten{Document: domain.Document{DocumentID: id, CollectionID: "col_0123456789", ConfigVersion: 1,
		Payload: map[string]json.RawMessage{"title": json.RawMessage(`"a title"`), "n": json.RawMessage(fmt.Sprint(i))},
		Lineage: domain.Lineage{SourceType: "bucket", RootObjectID: "obj_0123456789", RootBucketID: "bkt_12345678", SourceObjectID: "obj_0123456789", Path: "bkt_12345678/col_0123456789"}}})
	if err != nil {
		panic(err)
	}
	return eventstore.Append{Batches: []eventstore.Batch{{Log: visibleLog, Stream: domain.DocumentStream(id), Events: []eventstore.Event{{Type: "document.written", Data: data}}}}}
}
