package sqlite

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"varve/eventstore"
)

func TestSmoke(t *testing.T) {
	ctx := context.Background()
	s, err := Open(t.TempDir()+"/log.db", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 100 {
				_, err := s.Append(ctx, eventstore.Append{Batches: []eventstore.Batch{{
					Log: "l", Stream: fmt.Sprintf("s-%d", w), Expect: eventstore.Exactly(uint64(i)),
					Events: []eventstore.Event{{Type: "a.b", Data: []byte(`{"x":1}`)}},
				}}})
				if err != nil {
					t.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	n := uint64(0)
	for r, err := range s.Read(ctx, "l", 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		n++
		if r.Position != n || r.Feed != n {
			t.Fatal(r)
		}
	}
	if n != 800 {
		t.Fatal(n)
	}
	if _, err := s.Append(ctx, eventstore.Append{Batches: []eventstore.Batch{
		{Log: "b", Fork: &eventstore.Fork{From: "l", UpTo: 500}},
		{Log: "b", Stream: "s-0", Expect: eventstore.Any(), Events: []eventstore.Event{{Type: "a.c", Data: []byte(`{}`)}}},
	}}); err != nil {
		t.Fatal(err)
	}
	h, err := s.LogHead(ctx, "b")
	if err != nil || h.Position != 501 || len(h.Ranges) != 2 {
		t.Fatal(h, err)
	}
}
