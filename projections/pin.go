package projections

import (
	"context"
	"errors"
	"fmt"
	"sort"

	"varve/eventstore"
	"varve/eventstore/follow"
)

// Pin is where a request reads: one position of one log that every model it
// touches has applied.
type Pin struct {
	At
	// Lag is how many events of the shard were not applied when waiting ran out; 0
	// where the pin is the log's head as of the request's arrival.
	Lag uint64
	// Parked lists the streams of the log of which events are missing.
	Parked []ParkedStream
}

// ParkedStream is a parked stream of one model.
type ParkedStream struct {
	Model string
	follow.Parked
}

// Pin waits, at most 2 s, until all the named models (none: all) have applied
// what the log held when the request arrived, and pins that position. Where
// they have not by then, it pins the newest position that all have applied and
// says how far that is behind. A log that does not exist is pinned at 0.
func (r *Runner) Pin(ctx context.Context, log eventstore.LogID, models ...string) (Pin, error) {
	head, err := r.store.LogHead(ctx, log)
	if err != nil {
		return Pin{}, fmt.Errorf("pin %s: %w", log, err)
	}
	pin := Pin{At: At{Log: log, Position: head.Position}}
	if !head.Exists {
		return pin, nil
	}
	ms := r.models
	if len(models) > 0 {
		ms = make([]*model, len(models))
		for i, name := range models {
			if ms[i], err = r.model(name); err != nil {
				return Pin{}, err
			}
		}
	}
	applied := head.Feed
	for _, m := range ms {
		applied = min(applied, m.applied(head.Shard))
	}
	if applied < head.Feed {
		if applied, err = r.await(ctx, ms, head); err != nil {
			return Pin{}, err
		}
	}
	if applied < head.Feed {
		pin.Lag = head.Feed - applied
		if pin.Position, err = r.positionAt(ctx, log, head.Position, applied); err != nil {
			return Pin{}, err
		}
	}
	for _, m := range ms {
		fs := m.followers()
		if head.Shard >= len(fs) {
			continue
		}
		for _, p := range fs[head.Shard].ParkedIn(log) {
			pin.Parked = append(pin.Parked, ParkedStream{m.name, p})
		}
	}
	return pin, nil
}

// applied is where a model is on a shard; 0 where it does not run.
func (m *model) applied(shard int) uint64 {
	if fs := m.followers(); shard < len(fs) {
		return fs[shard].Applied()
	}
	return 0
}

// await waits for models to reach a log's head, and gives where the slowest is then.
func (r *Runner) await(ctx context.Context, ms []*model, head eventstore.LogHead) (uint64, error) {
	waiting, cancel := context.WithTimeout(ctx, r.o.PinWait)
	defer cancel()
	for _, m := range ms {
		for waiting.Err() == nil && m.applied(head.Shard) < head.Feed {
			fs := m.followers()
			if head.Shard >= len(fs) {
				break
			}
			err := fs[head.Shard].WaitApplied(waiting, head.Feed)
			if errors.Is(err, follow.ErrStopped) {
				if now := m.followers(); head.Shard < len(now) && now[head.Shard] != fs[head.Shard] {
					continue // exchanged by a rebuild
				}
				break
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	applied := head.Feed
	for _, m := range ms {
		applied = min(applied, m.applied(head.Shard))
	}
	return applied, nil
}

// positionAt is the newest position of a log whose record has at most a feed position.
func (r *Runner) positionAt(ctx context.Context, log eventstore.LogID, head, feed uint64) (uint64, error) {
	var failed error
	n := sort.Search(int(head), func(i int) bool { // the first position, less one, whose record is beyond
		for rec, err := range r.store.Read(ctx, log, uint64(i), 1) {
			if err != nil {
				failed = err
				return true
			}
			return rec.Feed > feed
		}
		return true
	})
	if failed != nil {
		return 0, fmt.Errorf("pin %s: %w", log, failed)
	}
	return uint64(n), nil
}
