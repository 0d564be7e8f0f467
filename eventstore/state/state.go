// Package state keeps what is neither log nor can be rebuilt from it: who leads
// (leases), the places of consumers without tables of their own, the secrets of
// an installation, and which process works on what. A process alone keeps it in
// its directory; many keep it in PostgreSQL (eventstore/postgres).
package state

import (
	"context"

	"varve/eventstore/follow"
)

// Store is the state of an installation. All methods are safe for concurrent
// use. What a process holds, leases and items of work, is free again at Close,
// and within seconds after it has vanished.
type Store interface {
	// Acquire waits for a lease: see follow.Lease. Names are of one installation.
	follow.Lease

	// Load gives the place that Save kept last for a consumer and shard; zero where
	// there was none.
	Load(ctx context.Context, consumer string, shard int) (follow.State, error)
	// Save is durable when it returns. follow.ErrMoved says that the checkpoint was
	// not from, and that nothing was changed.
	Save(ctx context.Context, consumer string, shard int, from follow.Checkpoint, s follow.State) error

	// Secret gives the 32 bytes of a name, the same for every process: random ones
	// that are made and kept the first time. Losing them makes what was hashed or
	// wrapped with them useless.
	Secret(ctx context.Context, name string) ([]byte, error)

	// Take gives a worker at most most items of some work that are neither done nor
	// held by a process that lives, in the order of items; they are held from then
	// on. left are the other items that are not done, in order.
	Take(ctx context.Context, work string, items []string, most int) (taken, left []string, err error)
	// Finish says that items are done; GiveBack that they are not, and free.
	Finish(ctx context.Context, work string, items ...string) error
	GiveBack(ctx context.Context, work string, items ...string) error
	// Forget drops what was kept about some work: it has ended, or begins again.
	Forget(ctx context.Context, work string) error

	// Export gives what has to move when the installation moves, and Import takes it:
	// it replaces what is there.
	Export(ctx context.Context) (Moved, error)
	Import(ctx context.Context, m Moved) error

	Close() error
}

// SecretNames are the secrets that a directory may hold: Pepper hashes API keys, Topics seals passwords of brokers.
var SecretNames = []string{Pepper, Topics}

// Pepper is the name of the secret with which API keys are hashed.
const Pepper = "pepper"

// Topics is the name of the secret under which customers' passwords of Kafka are sealed.
const Topics = "topics"

// Moved is what belongs to an installation wherever it runs.
type Moved struct {
	Secrets map[string][]byte
	Places  map[string]map[int]follow.State // by consumer and shard
}

// Place is one consumer's places: the shape that eventstore/bus keeps a relay's in.
type Place struct {
	Store    Store
	Consumer string
}

// Load gives what was kept last.
func (p Place) Load(ctx context.Context, shard int) (follow.State, error) {
	return p.Store.Load(ctx, p.Consumer, shard)
}

// Save keeps a place, if it still is where it was.
func (p Place) Save(ctx context.Context, shard int, from follow.Checkpoint, s follow.State) error {
	return p.Store.Save(ctx, p.Consumer, shard, from, s)
}
