package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"varve/eventstore"
)

func shardsApart(t *testing.T, open Opener, f Features) {
	s := open(t, eventstore.Options{})
	defer func() { s.Close() }()
	if s.Shards() != f.Shards {
		t.Fatalf("%d shards", s.Shards())
	}
	add := func(shard, n int) eventstore.Appended {
		t.Helper()
		a, err := s.Append(ctx(t), eventstore.Append{Shard: shard, Batches: []eventstore.Batch{
			one(eventstore.LogID(fmt.Sprint("log", shard)), "s", exactly(uint64(n)), event(n))}})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	for n := range 5 {
		for shard := range f.Shards {
			if a := add(shard, n); a.Feed != uint64(n+1) || a.Records[0].Shard != shard || a.Records[0].Feed != uint64(n+1) {
				t.Fatalf("%+v", a)
			}
		}
	}
	if f.Reopen != nil {
		s = f.Reopen(t, s, eventstore.Options{})
		add(1, 5)
	}
	// A log stays on its shard.
	var invalid *eventstore.InvalidError
	if _, err := s.Append(ctx(t), eventstore.Append{Shard: 0, Batches: []eventstore.Batch{one("log1", "s", any(), event(1))}}); !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	// Two shards that make the same log at once: one wins.
	for i := range 10 {
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for shard := range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, errs[shard] = s.Append(ctx(t), eventstore.Append{Shard: shard, Batches: []eventstore.Batch{
					one(eventstore.LogID(fmt.Sprint("both", i)), "s", any(), event(1))}})
			}()
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Fatalf("%v", errs)
		}
	}
	for shard := range 2 {
		if err := s.Wait(ctx(t), shard, 3); err != nil {
			t.Fatal(err)
		}
	}
	Whole(t, s)
}

// twoProcesses: two stores over the same data, each with its own committer.
func twoProcesses(t *testing.T, open Opener, f Features) {
	a := open(t, eventstore.Options{})
	defer a.Close()
	b := f.Second(t, a, eventstore.Options{})
	defer b.Close()
	stores := []eventstore.Owner{a, b}
	const writers, each = 4, 30
	var wg sync.WaitGroup
	won := make([]int, 2)
	var mu sync.Mutex
	for k := range 2 * writers {
		s := stores[k%2]
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range each {
				if _, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{
					one("l", fmt.Sprint("own", k), exactly(uint64(i)), event(1000*k+i)), one("l", fmt.Sprint("shared", k/2), any(), event(i)),
				}}); err != nil {
					t.Errorf("writer %d: %v", k, err)
					return
				}
				// And one that exactly one of all writers may win.
				_, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", "race", exactly(uint64(i)), event(k))}})
				var c *eventstore.ConflictError
				switch {
				case err == nil:
					mu.Lock()
					won[k%2]++
					mu.Unlock()
				case !errors.As(err, &c):
					t.Errorf("writer %d: %v", k, err)
					return
				case c.Actual == c.Expected:
					t.Errorf("a conflict of equal versions: %v", err)
				}
			}
		}()
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	race := collect(t, a.ReadStream(ctx(t), "l", "race", 0))
	if won[0]+won[1] != len(race) {
		t.Errorf("%d and %d wins, %d events", won[0], won[1], len(race))
	}
	if n := len(collect(t, b.Read(ctx(t), "l", 0, 0))); n != 2*writers*each*2+len(race) {
		t.Errorf("%d records", n)
	}
	Whole(t, a)
	Whole(t, b)
}

// staleMemory: what one process remembers is wrong as soon as another wrote.
func staleMemory(t *testing.T, open Opener, f Features) {
	a := open(t, eventstore.Options{})
	defer a.Close()
	b := f.Second(t, a, eventstore.Options{})
	defer b.Close()
	put(t, a, one("l", "s", exactly(0), event(1)))
	put(t, b, one("l", "s", exactly(1), event(2)))
	put(t, a, one("l", "s", exactly(2), event(3)))
	// b remembers version 2: the conflict must say 3, and success must not be refused.
	if _, err := b.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", "s", exactly(2), event(9))}}); !isConflict(err, 3) {
		t.Fatalf("a conflict from stale memory: %v", err)
	}
	put(t, a, one("l", "s", exactly(3), event(4)))
	put(t, b, one("l", "s", exactly(4), event(5)))
	put(t, a, one("l", "s", exactly(5))) // a check only, with stale memory
	if _, err := a.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", "s", exactly(4))}}); !isConflict(err, 5) {
		t.Fatal(err)
	}
	// A stream that the other one made, thought new.
	put(t, b, one("l", "fresh", exactly(0), event(1)))
	if _, err := a.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", "fresh", exactly(0), event(1))}}); !isConflict(err, 1) {
		t.Fatal(err)
	}
	// A log that the other one closed.
	put(t, b, eventstore.Batch{Log: "l", Close: true})
	if _, err := a.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", "s", any(), event(1))}}); !errors.Is(err, eventstore.ErrClosed) {
		t.Fatal(err)
	}
	// An idempotency key that the other one used.
	id := &eventstore.Idempotency{Scope: "k", Digest: digest(1)}
	first, err := a.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("m", "s", any(), event(1))}, Idempotency: id})
	if err != nil {
		t.Fatal(err)
	}
	again, err := b.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("m", "s", any(), event(1))}, Idempotency: id})
	if err != nil || !again.Replayed || again.Records[0].ID != first.Records[0].ID {
		t.Fatal(again, err)
	}
	Whole(t, a)
}

func twoProcessForks(t *testing.T, open Opener, f Features) {
	a := open(t, eventstore.Options{})
	defer a.Close()
	b := f.Second(t, a, eventstore.Options{})
	defer b.Close()
	put(t, a, one("src", "s", any(), event(1), event(2)))
	put(t, b, one("src", "s", exactly(2), event(3)))
	put(t, a, fork("x", "src", 3))
	put(t, b, one("x", "s", exactly(3), event(4)))
	put(t, a, one("x", "s", exactly(4), event(5)), one("src", "s", exactly(3), event(6)))
	if _, err := b.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{fork("x", "src", 1)}}); !errors.Is(err, eventstore.ErrLogExists) {
		t.Fatal(err)
	}
	// Both fork under the same name at once.
	for i := range 10 {
		errs := make([]error, 2)
		var wg sync.WaitGroup
		for k, s := range []eventstore.Owner{a, b} {
			wg.Add(1)
			go func() {
				defer wg.Done()
				_, errs[k] = s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{fork(eventstore.LogID(fmt.Sprint("f", i)), "src", uint64(k+1))}})
			}()
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) || !errors.Is(errors.Join(errs...), eventstore.ErrLogExists) {
			t.Fatalf("%v", errs)
		}
	}
	Whole(t, a)
}

func closeFinishes(t *testing.T, open Opener, f Features) {
	s := open(t, eventstore.Options{})
	const writers = 8
	acked := make([]int, writers)
	var wg sync.WaitGroup
	started := make(chan struct{}, writers)
	for k := range writers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				if i == 3 {
					started <- struct{}{}
				}
				_, err := s.Append(ctx(t), eventstore.Append{Batches: []eventstore.Batch{one("l", fmt.Sprint("s", k), exactly(uint64(i)), event(i))}})
				if errors.Is(err, eventstore.ErrStoreClosed) {
					return
				}
				if err != nil {
					t.Errorf("writer %d: %v", k, err)
					return
				}
				acked[k]++
			}
		}()
	}
	waiting := make(chan error, 1)
	go func() { waiting <- s.Wait(context.Background(), 0, 1<<40) }()
	for range writers {
		<-started
	}
	if f.Reopen != nil {
		s2 := f.Reopen(t, s, eventstore.Options{})
		wg.Wait()
		defer s2.Close()
		for k, n := range acked {
			if got := len(collect(t, s2.ReadStream(ctx(t), "l", fmt.Sprint("s", k), 0))); got != n {
				t.Errorf("writer %d: %d acknowledged, %d there", k, n, got)
			}
		}
		Whole(t, s2)
	} else if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if err := <-waiting; !errors.Is(err, eventstore.ErrStoreClosed) {
		t.Errorf("a waiting follower: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	if _, err := s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{one("l", "s", any(), event(1))}}); !errors.Is(err, eventstore.ErrStoreClosed) {
		t.Errorf("append to a closed store: %v", err)
	}
}

func waitWakes(t *testing.T, open Opener, _ Features) {
	s := open(t, eventstore.Options{})
	defer s.Close()
	put(t, s, one("l", "s", any(), event(1), event(2)))
	if err := s.Wait(ctx(t), 0, 1); err != nil {
		t.Fatal(err)
	}
	woken := make(chan error, 3)
	soon, stop := context.WithTimeout(ctx(t), 10*time.Second)
	defer stop()
	for range 3 {
		go func() { woken <- s.Wait(soon, 0, 2) }()
	}
	put(t, s, one("l", "s", any(), event(3)))
	for range 3 {
		if err := <-woken; err != nil {
			t.Fatal(err)
		}
	}
	c, cancel := context.WithTimeout(ctx(t), time.Millisecond)
	defer cancel()
	if err := s.Wait(c, 0, 3); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	if err := s.Wait(ctx(t), 99, 0); err == nil {
		t.Fatal("shard 99 was waited for")
	}
}
