// Package fold keeps the state that a stream folds into, for streams that are
// read often and whole: an organization's, a namespace's configuration.
package fold

import (
	"context"
	"fmt"
	"sort"
	"sync"

	"varve/eventstore"
)

// Cache folds one stream of every log it is asked for, once, and keeps the
// newest states in memory: the states themselves are immutable and shared.
// It is safe for concurrent use. A state that is older than what is kept is
// folded again from the log.
type Cache[S any] struct {
	Store  eventstore.Follower
	Stream string
	// Apply gives the state after one more record. It must not change its
	// argument, and must accept erased records.
	Apply func(S, eventstore.Record) (S, error)

	mu   sync.Mutex
	logs map[eventstore.LogID]*entry[S]
}

// kept is the number of newest states of a log that stay in memory.
const kept = 256

type entry[S any] struct {
	mu      sync.Mutex
	through uint64 // the log was read up to this position
	version uint64 // of the stream
	states  []stateAt[S]
	cut     bool // older states were dropped
}

type stateAt[S any] struct {
	position uint64
	state    S
}

// Head gives the state at the log's newest position, and that position. The
// zero state is given for a log that does not exist.
func (c *Cache[S]) Head(ctx context.Context, log eventstore.LogID) (S, uint64, error) {
	head, err := c.Store.LogHead(ctx, log)
	if err != nil {
		var none S
		return none, 0, fmt.Errorf("head of log for %s: %w", c.Stream, err)
	}
	s, err := c.At(ctx, log, head.Position)
	return s, head.Position, err
}

// At gives the state as of a position that the log has reached. Positions
// already read cost no I/O.
func (c *Cache[S]) At(ctx context.Context, log eventstore.LogID, position uint64) (S, error) {
	e := c.entry(log)
	e.mu.Lock()
	defer e.mu.Unlock()
	if position > e.through {
		if err := c.read(ctx, log, e, position); err != nil {
			var none S
			return none, err
		}
	}
	i := sort.Search(len(e.states), func(i int) bool { return e.states[i].position > position })
	if i > 0 {
		return e.states[i-1].state, nil
	}
	var s S
	if !e.cut {
		return s, nil
	}
	for r, err := range c.Store.ReadStream(ctx, log, c.Stream, 0) {
		if err != nil {
			return s, fmt.Errorf("read %s: %w", c.Stream, err)
		}
		if r.Position > position {
			break
		}
		if s, err = c.Apply(s, r); err != nil {
			return s, fmt.Errorf("fold %s at version %d: %w", c.Stream, r.Version, err)
		}
	}
	return s, nil
}

func (c *Cache[S]) entry(log eventstore.LogID) *entry[S] {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.logs == nil {
		c.logs = map[eventstore.LogID]*entry[S]{}
	}
	e := c.logs[log]
	if e == nil {
		e = &entry[S]{}
		c.logs[log] = e
	}
	return e
}

// read folds what came after the last read. What it sees is at least the
// position asked for, since that was reached before the read began.
func (c *Cache[S]) read(ctx context.Context, log eventstore.LogID, e *entry[S], position uint64) error {
	var s S
	if n := len(e.states); n > 0 {
		s = e.states[n-1].state
	}
	through := position
	for r, err := range c.Store.ReadStream(ctx, log, c.Stream, e.version) {
		if err != nil {
			return fmt.Errorf("read %s: %w", c.Stream, err)
		}
		if s, err = c.Apply(s, r); err != nil {
			return fmt.Errorf("fold %s at version %d: %w", c.Stream, r.Version, err)
		}
		e.version, e.through = r.Version, max(e.through, r.Position)
		through = max(through, r.Position)
		e.states = append(e.states, stateAt[S]{r.Position, s})
		if len(e.states) > 2*kept {
			e.states = append([]stateAt[S](nil), e.states[len(e.states)-kept:]...)
			e.cut = true
		}
	}
	e.through = through
	return nil
}
