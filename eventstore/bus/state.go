package bus

import (
	"context"

	"varve/eventstore/follow"
)

// State keeps the place of a relay in each shard (eventstore/state). Where several
// processes run relays, all must see the same.
type State interface {
	// Load gives what the last Save of the shard kept; zero where there was none.
	Load(ctx context.Context, shard int) (follow.State, error)
	// Save is durable when it returns. follow.ErrMoved says that the checkpoint
	// was not from, and that nothing was changed.
	Save(ctx context.Context, shard int, from follow.Checkpoint, s follow.State) error
}
