package projections

import (
	"context"
	"errors"
	"fmt"
	"sync"

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
//
// Where everything was applied already it costs no query: the first model's
// followers remember the newest position of every log that they have seen.
func (r *Runner) Pin(ctx context.Context, log eventstore.LogID, models ...string) (Pin, error) {
	ms, err := r.named(models)
	if err != nil {
		return Pin{}, err
	}
	head, err := r.head(ctx, log)
	if err != nil {
		return Pin{}, fmt.Errorf("pin %s: %w", log, err)
	}
	pin := Pin{At: At{Log: log, Position: head.position}}
	applied := head.feed
	for _, m := range ms {
		applied = min(applied, m.applied(head.shard))
	}
	if applied < head.feed {
		waiting, stop := context.WithTimeout(ctx, r.o.PinWait)
		defer stop()
		if applied, err = r.await(ctx, waiting, ms, head); err != nil {
			return Pin{}, err
		}
	}
	if applied < head.feed {
		pin.Lag = head.feed - applied
		if pin.Position, err = r.positionAt(ctx, log, head.position, applied); err != nil {
			return Pin{}, err
		}
	}
	for _, m := range ms {
		fs := m.followers()
		if head.shard >= len(fs) {
			continue
		}
		for _, p := range fs[head.shard].ParkedIn(log) {
			pin.Parked = append(pin.Parked, ParkedStream{m.name, p})
		}
	}
	return pin, nil
}

// named gives the models of these names; all where none is named.
func (r *Runner) named(names []string) ([]*model, error) {
	if len(names) == 0 {
		return r.models, nil
	}
	ms := make([]*model, len(names))
	for i, name := range names {
		m, err := r.model(name)
		if err != nil {
			return nil, err
		}
		ms[i] = m
	}
	return ms, nil
}

// logHead is the newest record of a log, as far as it is known.
type logHead struct {
	shard          int
	position, feed uint64
}

// heads remembers the newest records of logs: complete up to where the followers
// that feed it are, and for logs that were asked for at least up to then.
type heads struct {
	mu    sync.RWMutex
	logs  map[eventstore.LogID]logHead
	begun int // counts beginnings: what was read before one may be older than where it begins
}

func (h *heads) saw(records []eventstore.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if records == nil {
		h.logs = nil
		h.begun++
	}
	for i := range records {
		r := &records[i]
		h.raise(r.Log, logHead{r.Shard, r.Position, r.Feed})
	}
}

func (h *heads) raise(log eventstore.LogID, head logHead) {
	if h.logs == nil {
		h.logs = map[eventstore.LogID]logHead{}
	}
	if before, ok := h.logs[log]; !ok || head.position > before.position {
		h.logs[log] = head
	}
}

// past is a context that has ended: Wait with it only asks.
var past = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

// head gives a log's newest record, at least as new as when it was called.
func (r *Runner) head(ctx context.Context, log eventstore.LogID) (logHead, error) {
	seeing := r.seeing()
	r.heads.mu.RLock()
	known, ok := r.heads.logs[log]
	begun := r.heads.begun
	r.heads.mu.RUnlock()
	if ok && seeing != nil {
		seen := seeing.applied(known.shard)
		if err := r.store.Wait(past, known.shard, seen); err != nil { // nothing came after what was seen
			r.heads.mu.RLock()
			newest, still := r.heads.logs[log]
			r.heads.mu.RUnlock()
			if still {
				return newest, nil
			}
		}
	}
	h, err := r.store.LogHead(ctx, log)
	if err != nil || !h.Exists {
		return logHead{}, err
	}
	head := logHead{h.Shard, h.Position, h.Feed}
	if seeing == nil {
		return head, nil
	}
	r.heads.mu.Lock()
	defer r.heads.mu.Unlock()
	if begun == r.heads.begun {
		r.heads.raise(log, head)
	}
	return head, nil
}

// applied is where a model is on a shard; 0 where it does not run.
func (m *model) applied(shard int) uint64 {
	if fs := m.followers(); shard < len(fs) {
		return fs[shard].Applied()
	}
	return 0
}

// await waits for models to reach a log's head, as long as waiting does, and gives
// where the slowest is then. Its error is that of ctx.
func (r *Runner) await(ctx, waiting context.Context, ms []*model, head logHead) (uint64, error) {
	defer r.waits()()
	for _, m := range ms {
		for waiting.Err() == nil && m.applied(head.shard) < head.feed {
			fs := m.followers()
			if head.shard >= len(fs) {
				break
			}
			err := fs[head.shard].WaitApplied(waiting, head.feed)
			if errors.Is(err, follow.ErrStopped) {
				if now := m.followers(); head.shard < len(now) && now[head.shard] != fs[head.shard] {
					continue // exchanged by a rebuild
				}
				break
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	applied := head.feed
	for _, m := range ms {
		applied = min(applied, m.applied(head.shard))
	}
	return applied, nil
}

// waits says that somebody waits for what is applied; the function that it gives ends that.
func (r *Runner) waits() func() {
	if r.database == nil || r.database.hub == nil {
		return func() {}
	}
	return r.database.hub.wait()
}

// positionAt is the newest position of a log whose record has at most a feed position.
func (r *Runner) positionAt(ctx context.Context, log eventstore.LogID, head, feed uint64) (uint64, error) {
	n, err := eventstore.SearchLog(ctx, r.store, log, head, func(rec eventstore.Record) bool { return rec.Feed > feed })
	if err != nil {
		return 0, fmt.Errorf("pin %s: %w", log, err)
	}
	return n, nil
}

// WaitApplied waits until all models have reached a feed position of a shard, or
// gives the context's error.
func (r *Runner) WaitApplied(ctx context.Context, shard int, feed uint64) error {
	defer r.waits()()
	for _, m := range r.models {
		for m.applied(shard) < feed {
			fs := m.followers()
			if shard >= len(fs) {
				return fmt.Errorf("%s does not run", m.name)
			}
			err := fs[shard].WaitApplied(ctx, feed)
			if now := m.followers(); errors.Is(err, follow.ErrStopped) && shard < len(now) && now[shard] != fs[shard] {
				continue // exchanged by a rebuild
			}
			if err != nil {
				return fmt.Errorf("wait for %s: %w", m.name, err)
			}
		}
	}
	return nil
}
