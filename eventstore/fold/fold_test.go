package fold_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"varve/eventstore"
	"varve/eventstore/fold"
	"varve/eventstore/memory"
)

func open(t *testing.T) eventstore.Owner {
	t.Helper()
	store, err := memory.Open(memory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}

// words folds a stream into the list of what was said.
func words(store eventstore.Follower) *fold.Cache[[]string] {
	return &fold.Cache[[]string]{Store: store, Stream: "words", Apply: func(s []string, r eventstore.Record) ([]string, error) {
		if r.Type == "word.broken" {
			return s, fmt.Errorf("broken")
		}
		return append(s[:len(s):len(s)], strings.Trim(string(r.Data), `"`)), nil
	}}
}

func say(t *testing.T, store eventstore.Store, stream, eventType string, texts ...string) {
	t.Helper()
	b := eventstore.Batch{Log: "l", Stream: stream}
	for _, text := range texts {
		raw, _ := json.Marshal(text)
		b.Events = append(b.Events, eventstore.Event{Type: eventType, Data: raw})
	}
	if _, err := store.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{b}}); err != nil {
		t.Fatal(err)
	}
}

func TestHeadAndAt(t *testing.T) {
	ctx, store := context.Background(), open(t)
	c := words(store)
	if s, at, err := c.Head(ctx, "l"); err != nil || at != 0 || len(s) != 0 {
		t.Fatalf("a log that does not exist: %v at %d, %v", s, at, err)
	}
	say(t, store, "words", "word.said", "one", "two") // 1, 2
	say(t, store, "other", "word.said", "noise")      // 3
	say(t, store, "words", "word.said", "three")      // 4
	s, at, err := c.Head(ctx, "l")
	if err != nil || at != 4 || strings.Join(s, " ") != "one two three" {
		t.Fatalf("head: %v at %d, %v", s, at, err)
	}
	for position, want := range map[uint64]string{0: "", 1: "one", 2: "one two", 3: "one two", 4: "one two three"} {
		if s, err := c.At(ctx, "l", position); err != nil || strings.Join(s, " ") != want {
			t.Errorf("at %d: %v, %v, want %q", position, s, err, want)
		}
	}
	say(t, store, "words", "word.said", "four")
	if s, _, _ := c.Head(ctx, "l"); len(s) != 4 {
		t.Errorf("the newest word is missing: %v", s)
	}
	if s, _ := c.At(ctx, "l", 2); strings.Join(s, " ") != "one two" {
		t.Errorf("an older state changed: %v", s)
	}
}

// States older than what is kept are folded again, and are the same.
func TestOlderThanKept(t *testing.T) {
	ctx, store := context.Background(), open(t)
	c := words(store)
	var all []string
	for i := range 1200 {
		all = append(all, fmt.Sprint(i))
	}
	say(t, store, "words", "word.said", all...)
	if s, _, err := c.Head(ctx, "l"); err != nil || len(s) != 1200 {
		t.Fatalf("%d words, %v", len(s), err)
	}
	for _, position := range []uint64{1, 300, 700, 1199} {
		if s, err := c.At(ctx, "l", position); err != nil || len(s) != int(position) || s[position-1] != all[position-1] {
			t.Errorf("at %d: %d words, %v", position, len(s), err)
		}
	}
}

func TestBrokenEventIsAnError(t *testing.T) {
	ctx, store := context.Background(), open(t)
	c := words(store)
	say(t, store, "words", "word.said", "one")
	say(t, store, "words", "word.broken", "two")
	if _, _, err := c.Head(ctx, "l"); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Fatalf("the error does not name the version: %v", err)
	}
}

// Readers beside writers see a state that grows, and each position's own.
func TestConcurrentReaders(t *testing.T) {
	ctx, store := context.Background(), open(t)
	c := words(store)
	var running sync.WaitGroup
	running.Go(func() {
		for i := range 200 {
			say(t, store, "words", "word.said", fmt.Sprint(i))
		}
	})
	for range 4 {
		running.Go(func() {
			for before := 0; before < 200; {
				s, at, err := c.Head(ctx, "l")
				if err != nil || len(s) < before || len(s) != int(at) {
					t.Errorf("%d words at %d after %d, %v", len(s), at, before, err)
					return
				}
				before = len(s)
			}
		})
	}
	running.Wait()
}
