package projections

import (
	"context"
	"fmt"

	"varve/domain"
)

// CatchUp waits, at most as long as Pin does, until the named models (none: all)
// have applied what every shard held when it was called. It is for questions
// that no single log answers: who owns this key, which batches run. Where they have
// not by then it says so (*BehindError).
func (r *Runner) CatchUp(ctx context.Context, models ...string) error {
	ms, err := r.named(models)
	if err != nil {
		return err
	}
	waiting, stop := context.WithTimeout(ctx, r.o.PinWait) // for all shards
	defer stop()
	for shard := range r.store.Shards() {
		feed, err := r.store.Head(ctx, shard)
		if err != nil {
			return fmt.Errorf("catch up with shard %d: %w", shard, err)
		}
		behind := false
		for _, m := range ms {
			behind = behind || m.applied(shard) < feed
		}
		if !behind {
			continue
		}
		applied, err := r.await(ctx, waiting, ms, logHead{shard: shard, feed: feed})
		if err != nil {
			return err
		}
		if applied < feed {
			return &BehindError{Events: feed - applied}
		}
	}
	return nil
}

// BehindError says that read models have not applied what was there when they were asked.
type BehindError struct {
	Events uint64 // that are not applied
}

// Error says how many events are missing.
func (e *BehindError) Error() string { return e.Unwrap().Error() }

// Unwrap is what a client is told that cannot do without them.
func (e *BehindError) Unwrap() error {
	return &domain.Error{Code: domain.CodeUnavailable, Message: fmt.Sprintf("the read models are %d events behind; try again", e.Events), RetryAfter: 1}
}
