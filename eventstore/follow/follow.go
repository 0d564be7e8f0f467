// Package follow is the one way to follow a shard's feed: a follower holds a
// lease, reads pages, hands them to a consumer that applies them and moves its
// checkpoint in one transaction, sleeps while there is nothing to do, and parks
// streams whose events cannot be applied while everything else goes on.
package follow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"varve/eventstore"
)

// Checkpoint is a consumer's place in the feed of a shard: the newest record
// that it has taken. The zero value is the beginning.
type Checkpoint struct {
	Feed   uint64
	Record eventstore.ID
	Hash   eventstore.Hash
}

// At is the checkpoint after a record.
func At(r *eventstore.Record) Checkpoint {
	return Checkpoint{Feed: r.Feed, Record: r.ID, Hash: r.Hash}
}

// Parked is a stream, or a whole log where Stream is empty, whose events are
// left out from Version (of the stream) or Position (of the log) on.
type Parked struct {
	Shard    int
	Log      eventstore.LogID
	Stream   string // empty: the whole log
	Version  uint64 // first version of the stream that is missing; 0 where Stream is empty
	Position uint64 // first position of the log that is missing
	Feed     uint64 // its feed position
	Record   eventstore.ID
	Type     string // of the event that could not be applied
	Error    string // why; empty where the log is held back on purpose
	Held     bool   // held back by Hold, not by an error
	Tries    int
	Since    time.Time
}

// Key names a parked stream: an empty Stream means the whole log.
type Key struct {
	Log    eventstore.LogID
	Stream string
}

// Key is the parked stream's name.
func (p Parked) Key() Key { return Key{p.Log, p.Stream} }

// State is what a consumer remembers of a shard.
type State struct {
	Checkpoint Checkpoint
	Parked     []Parked
}

// Move is one step of a consumer, all of it in one transaction or not at all.
type Move struct {
	Shard    int
	From, To Checkpoint          // From must be where the consumer is, else ErrMoved
	Records  []eventstore.Record // to apply, in feed order; may be none
	Park     []Parked            // to remember, replacing one of the same key
	Unpark   []Key               // to forget
	Skipped  []Parked            // events left out for good, to be recorded
}

// Consumer takes a shard's records. Load and Take of one shard are never called
// at the same time.
type Consumer interface {
	// Load gives the state as of the last Take that succeeded.
	Load(ctx context.Context, shard int) (State, error)
	// Take applies records, moves the checkpoint and changes what is parked in one
	// transaction. ErrMoved says that the checkpoint was not m.From and that
	// nothing was changed. An error wrapped by Unavailable is not the fault of any
	// event and is tried again; any other error makes the follower look for the
	// event that causes it.
	Take(ctx context.Context, m Move) error
}

// Observer is told of every page of records before a consumer takes it, and, by the
// function that it gives (nil: not), what came of it. Take gets the context that
// it gives. A page that is tried again is told of again.
type Observer func(ctx context.Context, consumer string, shard int, page []eventstore.Record) (context.Context, func(error))

// Observers makes one of several, in their order; nil where all are nil.
func Observers(all ...Observer) Observer {
	all = slices.DeleteFunc(slices.Clone(all), func(o Observer) bool { return o == nil })
	if len(all) < 2 {
		return append(all, nil)[0]
	}
	return func(ctx context.Context, consumer string, shard int, page []eventstore.Record) (context.Context, func(error)) {
		ended := make([]func(error), 0, len(all))
		for _, o := range all {
			var end func(error)
			if ctx, end = o(ctx, consumer, shard, page); end != nil {
				ended = append(ended, end)
			}
		}
		return ctx, func(err error) {
			for _, end := range slices.Backward(ended) {
				end(err)
			}
		}
	}
}

// Watcher is a Consumer whose state other processes move too.
type Watcher interface {
	// Watch calls seen with the state as of now, and again after it was moved by
	// whatever process, until ctx ends. Moves that follow each other fast may be
	// seen as one.
	Watch(ctx context.Context, shard int, seen func(State)) error
}

// ErrMoved says that somebody else moved the checkpoint.
var ErrMoved = errors.New("the checkpoint was moved by another follower")

// unavailable marks errors that no event is to blame for.
type unavailable struct{ error }

func (u unavailable) Unwrap() error { return u.error }

// Unavailable marks an error that is not the fault of any event: a full disk, a
// database that cannot be reached. Of nil it is nil.
func Unavailable(err error) error {
	if err == nil {
		return nil
	}
	return unavailable{err}
}

// IsUnavailable says whether an error was marked by Unavailable, or is the end
// of a context.
func IsUnavailable(err error) bool {
	var u unavailable
	return errors.As(err, &u) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// CheckpointError says that a consumer's checkpoint names another record than
// the store holds: the store was restored from a backup, or the consumer's data
// belong to another store. Going on would lose or double events.
type CheckpointError struct {
	Name  string
	Shard int
	Want  Checkpoint
	Head  uint64
	Found eventstore.ID // zero where the store has no record there
}

// Error says what is at the place, and what to do.
func (e *CheckpointError) Error() string {
	if e.Found.IsZero() {
		return fmt.Sprintf("%s: its checkpoint of shard %d is record %s at feed position %d, but the store ends at %d: it belongs to another or a newer store; rebuild it",
			e.Name, e.Shard, e.Want.Record, e.Want.Feed, e.Head)
	}
	return fmt.Sprintf("%s: its checkpoint of shard %d is record %s at feed position %d, where the store holds record %s: it belongs to another store; rebuild it",
		e.Name, e.Shard, e.Want.Record, e.Want.Feed, e.Found)
}

// Check compares a checkpoint with the store. A place below a truncated prefix,
// and one that names no record, cannot be compared and is accepted.
func Check(ctx context.Context, store eventstore.Follower, name string, shard int, c Checkpoint) error {
	if c.Feed == 0 {
		return nil
	}
	head, err := store.Head(ctx, shard)
	if err != nil {
		return fmt.Errorf("head of shard %d: %w", shard, err)
	}
	bad := &CheckpointError{Name: name, Shard: shard, Want: c, Head: head}
	if c.Feed > head {
		return bad
	}
	if c.Record.IsZero() {
		return nil
	}
	for r, err := range store.Feed(ctx, shard, c.Feed-1, 0) { // whole, as far as it is read: one with a limit may end before its newest records
		var cut *eventstore.TruncatedError
		if errors.As(err, &cut) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read feed position %d of shard %d: %w", c.Feed, shard, err)
		}
		if r.Feed == c.Feed && r.ID == c.Record && r.Hash == c.Hash {
			return nil
		}
		bad.Found = r.ID
		break
	}
	return bad
}
