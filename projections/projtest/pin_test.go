package projtest

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"varve/domain"
	"varve/eventstore"
	"varve/projections"
)

// Eight writers change pairs of documents, each pair in one append. Whoever
// pins a position sees each pair changed as one, sees at least what was
// acknowledged before the pin, and sees the same again.
func TestQueriesUnderWritersSeeOnePosition(t *testing.T) {
	each(t, 1, func(t *testing.T, store eventstore.Owner, place func() Place) {
		p := place()
		r := projections.NewRunner(store, p.Dir, p.Options(projections.Options{Logger: quiet, PinWait: time.Minute}))
		docs := projections.NewDocuments()
		r.Add(projections.NewDirectory(), docs)
		if err := r.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer r.Stop()
		const writers, rounds = 8, 40
		log := eventstore.LogID("ns")
		var acknowledged [writers]struct {
			sync.Mutex
			n int
		}
		var writing, reading sync.WaitGroup
		done := make(chan struct{})
		for i := range writers {
			writing.Go(func() {
				for n := 1; n <= rounds; n++ {
					if err := writePair(t.Context(), store, log, i, n); err != nil {
						t.Error(err)
						return
					}
					acknowledged[i].Lock()
					acknowledged[i].n = n
					acknowledged[i].Unlock()
				}
			})
		}
		for range 4 {
			reading.Go(func() {
				for {
					var least [writers]int
					for i := range acknowledged {
						acknowledged[i].Lock()
						least[i] = acknowledged[i].n
						acknowledged[i].Unlock()
					}
					if err := readPairs(t.Context(), r, docs, log, least[:]); err != nil {
						t.Error(err)
						return
					}
					select {
					case <-done:
						return
					default:
					}
				}
			})
		}
		writing.Wait()
		close(done)
		reading.Wait()
		pin, err := r.Pin(t.Context(), log)
		if err != nil || pin.Position != writers*rounds*2 || pin.Lag != 0 {
			t.Errorf("in the end pinned %+v, %v", pin, err)
		}
	})
}

func writePair(ctx context.Context, store eventstore.Store, log eventstore.LogID, i, n int) error {
	a := eventstore.Append{}
	for _, half := range []string{"a", "b"} {
		id := fmt.Sprintf("doc_%d_%s", i, half)
		data, err := domain.EncodeEvent(&domain.DocumentWritten{Document: domain.Document{DocumentID: id, CollectionID: "col",
			Payload: map[string]json.RawMessage{"n": json.RawMessage(fmt.Sprint(n))}}})
		if err != nil {
			return err
		}
		a.Batches = append(a.Batches, eventstore.Batch{Log: log, Stream: domain.DocumentStream(id), Events: []eventstore.Event{{Type: "document.written", Data: data}}})
	}
	_, err := store.Append(ctx, a)
	return err
}

func readPairs(ctx context.Context, r *projections.Runner, docs *projections.Documents, log eventstore.LogID, least []int) error {
	pin, err := r.Pin(ctx, log)
	if err != nil {
		return err
	}
	read := func() ([]string, error) {
		page, err := docs.List(ctx, pin.At, projections.DocumentQuery{Limit: 1000})
		var all []string
		for _, d := range page.Items {
			all = append(all, string(d.Payload["n"]))
		}
		return all, err
	}
	first, err := read()
	if err != nil {
		return err
	}
	for i, n := range least {
		if n > 0 && pin.Lag == 0 && len(first) < 2 {
			return fmt.Errorf("writer %d wrote %d and nothing is seen", i, n)
		}
	}
	total, seen := 0, 0
	for i := 0; i < len(first); i += 2 {
		if pin.Lag > 0 && i+1 == len(first) || pin.Lag > 0 && first[i] != first[i+1] {
			return nil // an append that is applied in two pages
		}
		if first[i] != first[i+1] {
			return fmt.Errorf("at %d the halves of a pair are %s and %s", pin.Position, first[i], first[i+1])
		}
		var n int
		if _, err := fmt.Sscan(first[i], &n); err != nil {
			return err
		}
		seen += n
	}
	for _, n := range least {
		total += n
	}
	if pin.Lag == 0 && seen < total {
		return fmt.Errorf("at %d %d writes are seen and %d were acknowledged before", pin.Position, seen, total)
	}
	again, err := read()
	if err != nil {
		return err
	}
	if diff := cmp.Diff(first, again); diff != "" {
		return fmt.Errorf("at %d the same list differs when read again: %s", pin.Position, diff)
	}
	return nil
}
