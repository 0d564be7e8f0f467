package memory_test

import (
	"context"
	"testing"

	"varve/eventstore"
	"varve/eventstore/memory"
)

func TestSearchLog(t *testing.T) {
	ctx := context.Background()
	store, err := memory.Open(memory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for range 9 {
		if _, err := store.Append(ctx, eventstore.Append{Batches: []eventstore.Batch{{Log: "l", Stream: "s", Events: []eventstore.Event{{Type: "a.b", Data: []byte("{}")}}}}}); err != nil {
			t.Fatal(err)
		}
	}
	for last := range uint64(10) {
		got, err := eventstore.SearchLog(ctx, store, "l", 9, func(r eventstore.Record) bool { return r.Version > last })
		if err != nil || got != last {
			t.Errorf("the last of %d is %d, %v", last, got, err)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := eventstore.SearchLog(ended, store, "l", 9, func(eventstore.Record) bool { return false }); err == nil {
		t.Error("a read that failed went unseen")
	}
}
