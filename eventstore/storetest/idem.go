package storetest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"varve/eventstore"
)

func yield() { runtime.Gosched() }

func digest(n byte) eventstore.Hash { return eventstore.Hash{n} }

func idempotency(t *testing.T, w *world) {
	try := func(scope string, d byte, batches ...eventstore.Batch) (eventstore.Appended, error) {
		return w.s.Append(ctx(t), eventstore.Append{Batches: batches, Idempotency: &eventstore.Idempotency{Scope: scope, Digest: digest(d)}})
	}
	if _, ok, err := w.s.Replay(ctx(t), 0, eventstore.Idempotency{Scope: "k1", Digest: digest(1)}); ok || err != nil {
		t.Fatal(ok, err)
	}
	first, err := try("k1", 1, one(w.log, "x", exactly(0), event(1), event(2)), one(w.log, "a", w.at("a", 0), event(3)))
	if err != nil || first.Replayed {
		t.Fatal(first, err)
	}
	w.must(t, one(w.log, "x", exactly(2), event(4)))
	again, err := try("k1", 1, one(w.log, "x", exactly(0), event(1), event(2)))
	if err != nil || !again.Replayed {
		t.Fatalf("%+v %v", again, err)
	}
	if d := differ(first.Records, again.Records); d != "" {
		t.Fatal(d)
	}
	if _, err := try("k1", 2, one(w.log, "x", any(), event(9))); !errors.Is(err, eventstore.ErrIdempotency) {
		t.Fatalf("another request under the same key: %v", err)
	}
	if _, err := try("K1", 2, one(w.log, "x", exactly(3), event(9))); err != nil {
		t.Fatalf("a scope that differs in case: %v", err)
	}
	// An append that fails does not use up its key.
	if _, err := try("k2", 1, one(w.log, "x", exactly(0), event(9))); !isConflict(err, 4) {
		t.Fatal(err)
	}
	if a, err := try("k2", 1, one(w.log, "x", exactly(4), event(9))); err != nil || a.Replayed {
		t.Fatal(a, err)
	}
	// One without events is remembered as well.
	if a, err := try("k3", 1, one(w.log, "x", exactly(5))); err != nil || a.Replayed {
		t.Fatal(a, err)
	}
	if a, err := try("k3", 1, one(w.log, "x", exactly(99))); err != nil || !a.Replayed || len(a.Records) != 0 {
		t.Fatal(a, err)
	}
	got, ok, err := w.s.Replay(ctx(t), 0, eventstore.Idempotency{Scope: "k1", Digest: digest(1)})
	if err != nil || !ok || differ(got.Records, first.Records) != "" {
		t.Fatal(got, ok, err)
	}
	if _, _, err := w.s.Replay(ctx(t), 0, eventstore.Idempotency{Scope: "k1", Digest: digest(7)}); !errors.Is(err, eventstore.ErrIdempotency) {
		t.Fatal(err)
	}
}

// idempotencyRace: the same command many times at once is done once.
func idempotencyRace(t *testing.T, w *world) {
	const rounds, callers = 15, 6
	for i := range rounds {
		expect := []eventstore.Expect{any(), eventstore.New()}[i%2]
		var wg sync.WaitGroup
		answers := make([]eventstore.Appended, callers)
		errs := make([]error, callers)
		for k := range callers {
			wg.Add(1)
			go func() {
				defer wg.Done()
				d := byte(1)
				if i%5 == 4 && k == 0 {
					d = 2
				}
				answers[k], errs[k] = w.s.Append(ctx(t), eventstore.Append{
					Batches:     []eventstore.Batch{one(w.log, fmt.Sprint("race", i), expect, event(i))},
					Idempotency: &eventstore.Idempotency{Scope: fmt.Sprint("scope", i), Digest: digest(d)},
				})
			}()
		}
		wg.Wait()
		fresh := 0
		var id eventstore.ID
		for k, err := range errs {
			switch {
			case err == nil && !answers[k].Replayed:
				fresh++
			case i%5 == 4 && errors.Is(err, eventstore.ErrIdempotency):
				continue
			case err != nil:
				t.Fatalf("round %d: %v", i, err)
			}
			if len(answers[k].Records) != 1 || !id.IsZero() && answers[k].Records[0].ID != id {
				t.Fatalf("round %d: answers differ: %+v", i, answers[k])
			}
			id = answers[k].Records[0].ID
		}
		if n := len(collect(t, w.s.ReadStream(ctx(t), w.log, fmt.Sprint("race", i), 0))); fresh != 1 || n != 1 {
			t.Fatalf("round %d: %d appends say that they are the first, the stream has %d events", i, fresh, n)
		}
	}
}

func idempotencyExpires(t *testing.T, open Opener, _ Features) {
	clock := NewClock()
	s := open(t, eventstore.Options{Source: eventstore.Source{Now: clock.Now}})
	defer s.Close()
	try := func(scope string) bool {
		a, err := s.Append(context.Background(), eventstore.Append{
			Batches:     []eventstore.Batch{one("l", "s", any(), event(1))},
			Idempotency: &eventstore.Idempotency{Scope: scope, Digest: digest(1)},
		})
		if err != nil {
			t.Fatal(err)
		}
		return a.Replayed
	}
	if try("old") {
		t.Fatal("replayed at first")
	}
	clock.Add(7*24*time.Hour - time.Second)
	if !try("old") {
		t.Fatal("forgotten before 7 days")
	}
	clock.Add(2 * time.Second)
	if try("old") {
		t.Fatal("replayed after 7 days")
	}
	if !try("old") {
		t.Fatal("the new append under an expired key is not remembered")
	}
	for i := range 5 {
		try(fmt.Sprint("k", i))
		clock.Add(4 * 24 * time.Hour)
	}
	if try("old") {
		t.Fatal("replayed after 7 days")
	}
	Whole(t, s)
}
