package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"varve/domain"
	"varve/eventstore"
)

// BatchRef names a batch that was submitted.
type BatchRef struct {
	OrganizationID string
	Organization   eventstore.LogID
	Log            eventstore.LogID
	Shard          int
	BatchID        string
}

// batchRunner is the process manager of batches: it knows which run here.
type batchRunner struct {
	mu      sync.Mutex
	running map[BatchRef]bool
	wakes   chan BatchRef
}

func (r *batchRunner) channel() chan BatchRef {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wakes == nil {
		r.wakes = make(chan BatchRef, 1024)
	}
	return r.wakes
}

func (h *Handler) wake(in In, batchID string) {
	select {
	case h.batches.channel() <- BatchRef{in.OrganizationID, in.Organization, in.Log, in.Shard, batchID}:
	default: // the runner is far behind: it lists active batches again when it catches up
	}
}

// RunBatches runs submitted batches until ctx ends, at most objects objects at
// once. What a crash interrupted goes on at the next start: everything that was
// done is in the log, and is not done twice.
func (h *Handler) RunBatches(ctx context.Context, objects int) error {
	r := &h.batches
	wakes := r.channel()
	slots := make(chan struct{}, objects)
	active, err := h.ActiveBatches(ctx)
	if err != nil {
		return fmt.Errorf("list active batches: %w", err)
	}
	var running sync.WaitGroup
	defer running.Wait()
	start := func(ref BatchRef) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.running == nil {
			r.running = map[BatchRef]bool{}
		}
		if r.running[ref] {
			return
		}
		r.running[ref] = true
		running.Go(func() {
			if err := h.runBatch(ctx, ref, slots); err != nil && ctx.Err() == nil {
				h.Log.Error("batch stopped", slog.String("batch", ref.BatchID), slog.Any("error", err))
			}
			r.mu.Lock()
			delete(r.running, ref)
			r.mu.Unlock()
		})
	}
	for _, ref := range active {
		start(ref)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case ref := <-wakes:
			start(ref)
			if len(wakes) == 0 {
				if active, err = h.ActiveBatches(ctx); err == nil {
					for _, ref := range active {
						start(ref)
					}
				}
			}
		}
	}
}

// system is the caller of what the process manager appends.
func (b BatchRef) system() In {
	return In{OrganizationID: b.OrganizationID, Organization: b.Organization, Log: b.Log, Shard: b.Shard, Actor: "system:batch", Origin: "batch", Request: b.BatchID}
}

var errBatchEnded = errors.New("the batch was canceled, deleted or submitted again")

// runBatch takes one attempt through its tiers: every object through every
// collection of a tier before the next tier begins.
func (h *Handler) runBatch(ctx context.Context, ref BatchRef, slots chan struct{}) error {
	in := ref.system()
	s, _, err := state[domain.BatchState](ctx, h.Store, ref.Log, domain.BatchStream(ref.BatchID))
	if err != nil || !s.Active() {
		return err
	}
	for tier := s.TierDone; tier < len(s.Tiers); tier++ {
		group, work := errgroup.WithContext(ctx)
		for _, object := range s.Running {
			select {
			case slots <- struct{}{}:
			case <-work.Done():
			}
			if work.Err() != nil {
				break
			}
			group.Go(func() error {
				defer func() { <-slots }()
				for _, collection := range s.Tiers[tier] {
					if err := h.extractObject(work, in, s, object, collection); err != nil {
						return fmt.Errorf("object %s into %s: %w", object, collection, err)
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := h.endOfTier(ctx, in, s, &domain.BatchTierCompleted{BatchID: s.BatchID, Attempt: s.Attempt, Tier: tier}); err != nil {
			if errors.Is(err, errBatchEnded) {
				return nil
			}
			return err
		}
	}
	completed, err := h.countBatch(ctx, in, s)
	if err != nil {
		return err
	}
	if err := h.endOfTier(ctx, in, s, completed); !errors.Is(err, errBatchEnded) {
		return err
	}
	return nil
}

// endOfTier appends to the batch's stream unless the attempt is no longer the running one.
func (h *Handler) endOfTier(ctx context.Context, in In, s domain.BatchState, e domain.EventData) error {
	_, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		now, _, err := state[domain.BatchState](ctx, h.Store, in.Log, domain.BatchStream(s.BatchID))
		if err != nil {
			return nil, err
		}
		if !now.Active() || now.Attempt != s.Attempt {
			return nil, errBatchEnded
		}
		b, err := batchOf(in.Log, domain.BatchStream(s.BatchID), eventstore.Exactly(now.Version), e)
		return []eventstore.Batch{b}, err
	})
	return err
}

// countBatch sums up what the objects' own streams say of the batch.
func (h *Handler) countBatch(ctx context.Context, in In, s domain.BatchState) (*domain.BatchCompleted, error) {
	done := &domain.BatchCompleted{BatchID: s.BatchID, BucketID: s.BucketID, TaskID: s.TaskID, Attempt: s.Attempt, Objects: len(s.Running), Status: domain.StatusCompleted}
	for _, id := range s.Running {
		o, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(id))
		if err != nil {
			return nil, err
		}
		failed := false
		for _, tier := range s.Tiers {
			for _, collection := range tier {
				outcome, ok := o.Outcomes[collection]
				failed = failed || ok && outcome.BatchID == s.BatchID && outcome.Failed
				if ok && outcome.BatchID == s.BatchID {
					done.Documents += outcome.Documents
				}
			}
		}
		if failed {
			done.Failed++
		}
	}
	switch {
	case done.Failed > 0 && done.Failed == done.Objects:
		done.Status, done.Reason = domain.StatusFailed, "every object failed; failed-documents lists the reasons"
	case done.Failed > 0:
		done.Status, done.Reason = domain.StatusCompletedWithErrors, fmt.Sprintf("%d of %d objects failed; failed-documents lists the reasons", done.Failed, done.Objects)
	}
	return done, nil
}
