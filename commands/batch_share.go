package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"varve/domain"
	"varve/eventstore/follow"
)

// Work shares the objects of batches between the processes that run them
// (eventstore/state): who vanishes loses what it took.
type Work interface {
	Take(ctx context.Context, work string, items []string, most int) (taken, left []string, err error)
	Finish(ctx context.Context, work string, items ...string) error
	GiveBack(ctx context.Context, work string, items ...string) error
	Forget(ctx context.Context, work string) error
}

const (
	takenAtOnce = 32                     // objects that one process takes of a tier at a time
	lookAgain   = 200 * time.Millisecond // while others work on all that is left
)

// runTier takes objects of a tier through its collections until none is left that
// is not done, by this process or another.
func (h *Handler) runTier(ctx context.Context, in In, s *attempt, tier int, slots chan struct{}) error {
	work := fmt.Sprintf("%s/%s/%d/%d", in.Log, s.BatchID, s.Attempt, tier)
	// What an attempt before took, and could not say so or give back when its connection was lost, nobody works on.
	if err := h.Work.GiveBack(ctx, work, s.Running...); err != nil {
		return err
	}
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error {
		for todo := s.Running; len(todo) > 0; {
			taken, left, err := h.Work.Take(running, work, todo, takenAtOnce)
			if err != nil {
				return err
			}
			for i, object := range taken {
				select {
				case slots <- struct{}{}:
				case <-running.Done():
					return errors.Join(running.Err(), h.Work.GiveBack(context.WithoutCancel(ctx), work, taken[i:]...))
				}
				group.Go(func() error {
					defer func() { <-slots }()
					return h.runObject(running, in, s, tier, work, object)
				})
			}
			if todo = left; len(taken) > 0 || len(todo) == 0 {
				continue
			}
			select { // others have them
			case <-running.Done():
				return running.Err()
			case <-time.After(lookAgain):
			}
			if now, err := h.stillRuns(running, in, s); err != nil || now.TierDone > tier {
				return err
			}
		}
		return nil
	})
	err := group.Wait()
	if err == nil || errors.Is(err, errBatchEnded) {
		if err := h.Work.Forget(context.WithoutCancel(ctx), work); err != nil {
			h.Log.Warn("what was kept about a batch's objects stays", slog.String("work", work), slog.Any("error", err))
		}
	}
	return err
}

// runObject takes an object through the collections of a tier.
func (h *Handler) runObject(ctx context.Context, in In, s *attempt, tier int, work, object string) error {
	for _, collection := range s.Tiers[tier] {
		if err := h.extractObject(ctx, in, s, object, collection); err != nil {
			err = fmt.Errorf("object %s into %s: %w", object, collection, err)
			return errors.Join(err, h.Work.GiveBack(context.WithoutCancel(ctx), work, object))
		}
	}
	return h.Work.Finish(context.WithoutCancel(ctx), work, object)
}

// batchNews makes followers that hear, from now on, of batches that are submitted
// or canceled, by whatever process.
func (h *Handler) batchNews(ctx context.Context) ([]*follow.Follower, error) {
	news := make([]*follow.Follower, h.Store.Shards())
	for shard := range news {
		head, err := h.Store.Head(ctx, shard)
		if err != nil {
			return nil, fmt.Errorf("follow the batches of shard %d: %w", shard, err)
		}
		news[shard] = &follow.Follower{Store: h.Store, Shard: shard, Name: "batches", Logger: h.Log,
			Types: []string{"batch.submitted", "batch.canceled"}, Consumer: &batchNews{h: h, at: follow.Checkpoint{Feed: head}}}
	}
	return news, nil
}

// batchNews is the place in a shard, which is kept nowhere else.
type batchNews struct {
	h  *Handler
	at follow.Checkpoint
}

// Load gives the place.
func (n *batchNews) Load(context.Context, int) (follow.State, error) {
	return follow.State{Checkpoint: n.at}, nil
}

// Take wakes and interrupts.
func (n *batchNews) Take(ctx context.Context, m follow.Move) error {
	if n.at != m.From {
		return follow.ErrMoved
	}
	look := false
	for _, r := range m.Records {
		if r.Type == "batch.canceled" {
			n.h.batches.interrupt(r.Log, strings.TrimPrefix(r.Stream, domain.BatchStream("")))
		}
		look = look || r.Type == "batch.submitted"
	}
	if look {
		n.h.batches.look()
	}
	n.at = m.To
	return nil
}
