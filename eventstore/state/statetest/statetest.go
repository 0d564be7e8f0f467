// Package statetest is what every state.Store must hold to.
package statetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"varve/eventstore"
	"varve/eventstore/follow"
	"varve/eventstore/state"
)

// Run tests a store. open gives the same installation again each time it is
// called within a test: as another process would see it where shared is true,
// otherwise after the first was closed.
func Run(t *testing.T, shared bool, fresh func(t *testing.T) (open func() state.Store)) {
	t.Run("places", func(t *testing.T) { places(t, fresh(t)) })
	t.Run("secrets", func(t *testing.T) { secrets(t, fresh(t)) })
	t.Run("leases", func(t *testing.T) { leases(t, fresh(t)) })
	t.Run("work", func(t *testing.T) { work(t, fresh(t)) })
	t.Run("moved", func(t *testing.T) { moved(t, fresh(t), fresh(t)) })
	if shared {
		t.Run("two processes", func(t *testing.T) { twoProcesses(t, fresh(t)) })
		t.Run("workers share", func(t *testing.T) { workersShare(t, fresh(t)) })
	}
}

func point(feed uint64) follow.Checkpoint {
	return follow.Checkpoint{Feed: feed, Record: eventstore.ID{1, byte(feed)}, Hash: eventstore.Hash{2, byte(feed)}}
}

func closing(t *testing.T, s state.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func places(t *testing.T, open func() state.Store) {
	ctx, s := t.Context(), open()
	if have, err := s.Load(ctx, "relay", 3); err != nil || have.Checkpoint.Feed != 0 {
		t.Fatalf("nothing was kept, and Load gives %+v, %v", have, err)
	}
	first := follow.State{Checkpoint: point(7), Parked: []follow.Parked{{Shard: 3, Log: "log", Stream: "s", Version: 2, Position: 5, Feed: 6, Record: eventstore.ID{9},
		Type: "t", Error: "why", Tries: 3, Since: time.UnixMicro(1_700_000_000_123_456).UTC()}}}
	if err := s.Save(ctx, "relay", 3, follow.Checkpoint{}, first); err != nil {
		t.Fatal(err)
	}
	for _, from := range []follow.Checkpoint{{}, point(6), {Feed: 7}} {
		if err := s.Save(ctx, "relay", 3, from, follow.State{Checkpoint: point(9)}); !errors.Is(err, follow.ErrMoved) {
			t.Errorf("moving from %d, where nobody is, gave %v", from.Feed, err)
		}
	}
	if err := s.Save(ctx, "other", 3, follow.Checkpoint{}, follow.State{Checkpoint: point(1)}); err != nil {
		t.Fatal(err)
	}
	closing(t, s)
	s = open()
	defer closing(t, s)
	have, err := s.Load(ctx, "relay", 3)
	if diff := cmp.Diff(first, have); err != nil || diff != "" {
		t.Errorf("after opening again: %v\n%s", err, diff)
	}
	if err := s.Save(ctx, "relay", 3, point(7), follow.State{Checkpoint: point(8)}); err != nil {
		t.Error(err)
	}
	// Of several that move from one place, one does.
	var wg sync.WaitGroup
	won := make(chan int, 8)
	for i := range 8 {
		wg.Go(func() {
			if err := s.Save(ctx, "relay", 3, point(8), follow.State{Checkpoint: point(uint64(10 + i))}); err == nil {
				won <- i
			} else if !errors.Is(err, follow.ErrMoved) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(won) != 1 {
		t.Errorf("%d of 8 moved the same place", len(won))
	}
}

func secrets(t *testing.T, open func() state.Store) {
	ctx, s := t.Context(), open()
	made := make([][]byte, 8)
	var wg sync.WaitGroup
	for i := range made {
		wg.Go(func() {
			var err error
			if made[i], err = s.Secret(ctx, state.Pepper); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, b := range made {
		if len(b) != 32 || !slices.Equal(b, made[0]) {
			t.Errorf("secrets of one name differ: %d bytes", len(b))
		}
	}
	closing(t, s)
	s = open()
	defer closing(t, s)
	if b, err := s.Secret(ctx, state.Pepper); err != nil || !slices.Equal(b, made[0]) {
		t.Errorf("it did not last: %v", err)
	}
}

func leases(t *testing.T, open func() state.Store) {
	ctx, s := t.Context(), open()
	defer closing(t, s)
	held, release, err := s.Acquire(ctx, "documents/0")
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := s.Acquire(ctx, "documents/1")
	if err != nil {
		t.Fatal(err)
	}
	other()
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, _, err := s.Acquire(short, "documents/0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it was given twice: %v", err)
	}
	next := make(chan error, 1)
	go func() {
		_, release, err := s.Acquire(ctx, "documents/0")
		if err == nil {
			release()
		}
		next <- err
	}()
	if held.Err() != nil {
		t.Error("the lease was lost")
	}
	release()
	release() // changes nothing
	if err := <-next; err != nil {
		t.Error(err)
	}
}

func work(t *testing.T, open func() state.Store) {
	ctx, s := t.Context(), open()
	defer closing(t, s)
	items := []string{"d", "a", "c", "b", "e"}
	expect := func(items []string, most int, taken, left []string) {
		t.Helper()
		haveTaken, haveLeft, err := s.Take(ctx, "batch/1", items, most)
		if err != nil || !slices.Equal(haveTaken, taken) || !slices.Equal(haveLeft, left) {
			t.Fatalf("took %v, left %v, %v; want %v, %v", haveTaken, haveLeft, err, taken, left)
		}
	}
	done := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	expect(nil, 3, nil, nil)
	expect(items, 2, []string{"d", "a"}, []string{"c", "b", "e"})
	expect(items, 2, []string{"c", "b"}, []string{"d", "a", "e"})
	done(s.Finish(ctx, "batch/1", "d", "c"))
	done(s.GiveBack(ctx, "batch/1", "a", "c")) // c is done and stays so
	expect(items, 9, []string{"a", "e"}, []string{"b"})
	expect(items, 9, nil, []string{"a", "b", "e"})
	done(s.Finish(ctx, "batch/1", "a", "b", "e"))
	expect(items, 9, nil, nil)
	done(s.Forget(ctx, "batch/1"))
	expect([]string{"a"}, 9, []string{"a"}, nil)
}

func moved(t *testing.T, open, into func() state.Store) {
	ctx, s, other := t.Context(), open(), into()
	defer closing(t, s)
	defer closing(t, other)
	pepper, err := s.Secret(ctx, state.Pepper)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Save(ctx, "relay", 1, follow.Checkpoint{}, follow.State{Checkpoint: point(4)}); err != nil {
		t.Fatal(err)
	}
	m, err := s.Export(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second changes nothing
		if err := other.Import(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
	have, err := other.Export(ctx)
	if diff := cmp.Diff(m, have); err != nil || diff != "" || !slices.Equal(have.Secrets[state.Pepper], pepper) || have.Places["relay"][1].Checkpoint != point(4) {
		t.Errorf("moved: %v\n%s", err, diff)
	}
}

// What one process holds another does not get, until the first lets go.
func twoProcesses(t *testing.T, open func() state.Store) {
	ctx, one, two := t.Context(), open(), open()
	defer closing(t, two)
	if _, _, err := one.Acquire(ctx, "relay/0"); err != nil {
		t.Fatal(err)
	}
	items := []string{"a", "b", "c"}
	if taken, _, err := one.Take(ctx, "batch/1", items, 2); err != nil || len(taken) != 2 {
		t.Fatal(taken, err)
	}
	taken, left, err := two.Take(ctx, "batch/1", items, 9)
	if err != nil || !slices.Equal(taken, []string{"c"}) || !slices.Equal(left, []string{"a", "b"}) {
		t.Fatal(taken, left, err)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if _, _, err := two.Acquire(short, "relay/0"); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a second process got the lease: %v", err)
	}
	if err := one.Finish(ctx, "batch/1", "b"); err != nil {
		t.Fatal(err)
	}
	closing(t, one)
	if taken, left, err := two.Take(ctx, "batch/1", items, 9); err != nil || !slices.Equal(taken, []string{"a"}) || !slices.Equal(left, []string{"c"}) {
		t.Fatal(taken, left, err)
	}
	if _, release, err := two.Acquire(ctx, "relay/0"); err != nil {
		t.Fatal(err)
	} else {
		release()
	}
}

// Several workers take a work's items, each item once.
func workersShare(t *testing.T, open func() state.Store) {
	items := make([]string, 300)
	for i := range items {
		items[i] = fmt.Sprintf("obj_%03d", i)
	}
	var mu sync.Mutex
	count := map[string]int{}
	workers := map[int]int{}
	var wg sync.WaitGroup
	for i := range 3 {
		s := open()
		defer closing(t, s)
		wg.Go(func() {
			for todo := items; len(todo) > 0; {
				taken, left, err := s.Take(t.Context(), "batch/7", todo, 7)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				for _, item := range taken {
					count[item]++
				}
				workers[i] += len(taken)
				mu.Unlock()
				if err := s.Finish(t.Context(), "batch/7", taken...); err != nil {
					t.Error(err)
					return
				}
				todo = left
			}
		})
	}
	wg.Wait()
	for _, item := range items {
		if count[item] != 1 {
			t.Errorf("%s was given out %d times", item, count[item])
		}
	}
	t.Logf("items by worker: %v", workers)
}
