package projections

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"varve/eventstore"
	"varve/eventstore/follow"
)

// Index is a model outside SQLite that follows the same feed: the in-process
// vector index. It keeps its own place and is given every record of the shards
// from the place it names.
type Index interface {
	// Apply folds a page; it is called with pages in feed order, one at a time per shard.
	Apply(ctx context.Context, shard int, page []eventstore.Record) error
	// Applied is the feed position up to which records are searchable.
	Applied(shard int) uint64
}

// Options of a Runner. The zero value is ready.
type Options struct {
	Logger *slog.Logger
	Lease  follow.Lease
	// PinWait is how long Pin waits; 0 means 2 s.
	PinWait time.Duration
}

// ModelStatus is where one model is on one shard.
type ModelStatus struct {
	Model      string
	Shard      int
	Applied    uint64 // feed position
	Head       uint64
	Lag        uint64  // events
	LagSeconds float64 // age of the oldest event that is not applied
	Parked     []follow.Parked
	Err        string // why it stands still; empty where it runs
}

// Runner runs the projections of one store.
type Runner struct{}

var errNotYet = errors.New("not built yet")

func (r *Runner) pin(ctx context.Context, log eventstore.LogID, models []string) (Pin, error) {
	return Pin{}, errNotYet
}

// NewRunner makes a runner that keeps one file per projection and version under dir.
func NewRunner(store eventstore.Follower, dir string, o Options) *Runner { return &Runner{} }

// Add adds projections, before Start.
func (r *Runner) Add(ps ...Projection) {}

// AddIndex adds an index under a name, before Start.
func (r *Runner) AddIndex(name string, ix Index) {}

// Start opens the files and follows every shard until Stop.
func (r *Runner) Start(ctx context.Context) error { return errNotYet }

// Stop ends following after the page that is being applied, and closes the files.
func (r *Runner) Stop() error { return nil }

// Rebuild builds a projection anew beside the one that serves, and then lets it take over.
func (r *Runner) Rebuild(ctx context.Context, name string, progress func(done, total uint64, rate float64)) error {
	return errNotYet
}

// Status tells where every model is, by model and shard.
func (r *Runner) Status() []ModelStatus { return nil }
