package projections

import (
	"context"
	"fmt"
)

// CatchUp waits, at most as long as Pin does, until the named models (none: all)
// have applied what every shard held when it was called. It is for questions
// that no single log answers: who owns this key, which batches run.
func (r *Runner) CatchUp(ctx context.Context, models ...string) error {
	ms, err := r.named(models)
	if err != nil {
		return err
	}
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
		if _, err := r.await(ctx, ms, logHead{shard: shard, feed: feed}); err != nil {
			return err
		}
	}
	return nil
}
