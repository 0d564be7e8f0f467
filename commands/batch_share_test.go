package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"varve/domain"
	"varve/eventstore"
	statestore "varve/eventstore/state"
)

// counted is one worker's part of shared work; what it takes after quota items
// it never finishes, as if it had vanished, until freed gives it back.
type counted struct {
	Work
	taken, finished atomic.Int64
	quota           int64
	gone            context.Context // ends when the worker does
	mu              sync.Mutex
	held            []string
	work            string
}

func (c *counted) Take(ctx context.Context, work string, items []string, most int) (taken, left []string, err error) {
	if c.finished.Load() >= c.quota {
		<-c.gone.Done()
		return nil, nil, c.gone.Err()
	}
	taken, left, err = c.Work.Take(ctx, work, items, min(most, 5))
	c.taken.Add(int64(len(taken)))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.work, c.held = work, append(c.held, taken...)
	return taken, left, err
}

func (c *counted) Finish(ctx context.Context, work string, items ...string) error {
	if c.finished.Add(1) > c.quota {
		<-c.gone.Done()
		return c.gone.Err()
	}
	return c.Work.Finish(ctx, work, items...)
}

// Workers of several processes share a batch object by object; what one that
// vanished had taken is done by another, and nothing is done twice.
func TestWorkersShareABatch(t *testing.T) {
	const objects = 60
	fields := make([]string, objects)
	for i := range fields {
		fields[i] = fmt.Sprintf(`{"text":"text %d"}`, i)
	}
	store, ref := submittedOf(t, fields...)
	defer store.Close()
	shared := statestore.OpenDirectory("")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	dead, kill := context.WithCancel(ctx)
	workers := []*counted{{Work: shared, quota: objects * 9, gone: ctx}, {Work: shared, quota: objects * 9, gone: ctx}, {Work: shared, quota: 4, gone: dead}}
	var running, dying sync.WaitGroup
	dying.Go(func() {
		h := handler(store)
		h.Work = workers[2]
		_ = h.runBatch(dead, ref, make(chan struct{}, 1))
	})
	for workers[2].finished.Load() < workers[2].quota {
		time.Sleep(time.Millisecond)
	}
	for _, w := range workers[:2] {
		running.Go(func() {
			h := handler(store)
			h.Work = w
			if err := h.runBatch(ctx, ref, make(chan struct{}, 2)); err != nil {
				t.Error(err)
			}
		})
	}
	kill()
	dying.Wait()
	workers[2].mu.Lock()
	if err := shared.GiveBack(ctx, workers[2].work, workers[2].held...); err != nil {
		t.Error(err)
	}
	workers[2].mu.Unlock()
	running.Wait()
	s, err := batchState(ctx, store, ref)
	if err != nil || s.Status != domain.StatusCompleted {
		t.Fatalf("the batch is %s, %v", s.Status, err)
	}
	written, tiers := 0, 0
	for stream, types := range happened(t, store, ref.Log) {
		switch {
		case strings.HasPrefix(stream, "document-"):
			written += len(types)
		case strings.HasPrefix(stream, "batch-"):
			tiers += strings.Count(strings.Join(types, " "), "batch.tier_completed")
		}
	}
	if written != 2*objects || tiers != 2 {
		t.Errorf("%d events of documents and %d of tiers, want %d and 2", written, tiers, 2*objects)
	}
	for i, w := range workers[:2] {
		if w.taken.Load() == 0 {
			t.Errorf("worker %d did nothing", i)
		}
	}
}

// lossy is shared work behind connections that are lost: what it takes first is taken
// and not told, and what is finished first is not.
type lossy struct {
	Work
	takes, finishes int
}

var errLost = errors.New("the connection was lost")

func (l *lossy) Take(ctx context.Context, work string, items []string, most int) (taken, left []string, err error) {
	taken, left, err = l.Work.Take(ctx, work, items, most)
	if l.takes++; l.takes == 1 {
		return nil, nil, errLost
	}
	return taken, left, err
}

func (l *lossy) Finish(ctx context.Context, work string, items ...string) error {
	if l.finishes++; l.finishes == 1 {
		return errLost
	}
	return l.Work.Finish(ctx, work, items...)
}

// What a process took and lost sight of is its own still: it does not wait for itself.
func TestLostClaimsAreTakenAgain(t *testing.T) {
	store, ref := submittedOf(t, `{"text":"one"}`)
	defer store.Close()
	h := handler(store)
	h.Work = &lossy{Work: h.Work}
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	var failed int
	for {
		err := h.runBatch(ctx, ref, make(chan struct{}, 1))
		if err == nil {
			break
		}
		if !errors.Is(err, errLost) {
			t.Fatal(err)
		}
		failed++
	}
	if s, err := batchState(ctx, store, ref); err != nil || s.Status != domain.StatusCompleted || failed != 2 {
		t.Errorf("after %d failures: %s, %v", failed, s.Status, err)
	}
}

func batchState(ctx context.Context, store eventstore.Store, ref BatchRef) (domain.BatchState, error) {
	s, _, err := state[domain.BatchState](ctx, store, ref.Log, domain.BatchStream(ref.BatchID))
	return s, err
}

// A batch that another process submits is run here, and one that it cancels is stopped.
func TestBatchesOfOthersAreHeardOf(t *testing.T) {
	store, ref := submittedOf(t, `{"text":"one"}`)
	defer store.Close()
	here, there := handler(store), handler(store)
	listed := make(chan struct{}, 16)
	here.ActiveBatches = func(context.Context) ([]BatchRef, error) {
		listed <- struct{}{}
		return []BatchRef{ref}, nil
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() {
		if err := here.RunBatches(ctx, 2); err != nil {
			t.Error(err)
		}
	})
	<-listed
	ended := func() domain.BatchState {
		for {
			s, err := batchState(ctx, store, ref)
			if err != nil {
				t.Fatal(err)
			}
			if s.Terminal() {
				return s
			}
			time.Sleep(time.Millisecond)
		}
	}
	ended()
	in := ref.system()
	if _, err := there.RetryBatch(ctx, in, ref.BatchID, "all"); err != nil {
		t.Fatal(err)
	}
	<-listed
	if s := ended(); s.Attempt != 2 {
		t.Errorf("attempt %d", s.Attempt)
	}
}
