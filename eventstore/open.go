package eventstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"varve/eventstore/failpoint"
)

// Options of a store, the same for every engine. The zero value is good.
type Options struct {
	Source Source
	// Blobs takes the attachments of an append that has more than 64 KiB of
	// them. Nil: the engine keeps them itself, beside the records.
	Blobs Blobs
	// Queue is how many appends of a shard may wait (0: 8192), QueueBytes how
	// many bytes (0: 256 MiB); beyond that Append answers *OverloadedError.
	Queue      int
	QueueBytes int
	// Grace is how long an append whose context ended waits for a commit that is
	// under way, before it answers ErrUnknownOutcome (0: 2 s; below 0: not at all).
	Grace time.Duration
	// Remember is how many streams of a shard the committer keeps in memory (0: 200,000).
	Remember int
	// OnCommit, where set, is told of every commit: how many appends and records.
	// It is called by the committer and must be quick.
	OnCommit func(shard, appends, records int)
	// Observe, where set, is told of the same and more, for metrics. It is called
	// by the committer and must be quick.
	Observe func(Committed)
}

// Committed is what is known of a commit after it.
type Committed struct {
	Shard, Appends, Records int
	Took                    time.Duration // of the engine's transaction alone
	Races                   int           // how often before it another process was first
}

const (
	defaultQueue      = 8192
	defaultQueueBytes = 256 << 20
	defaultGrace      = 2 * time.Second
	defaultRemember   = 200_000
)

// idempotencyKept is how long an idempotency scope counts.
const idempotencyKept = 7 * 24 * time.Hour

// store is the one implementation of Owner, over any engine.
type store struct {
	engine Engine
	opts   Options
	chance *chance
	shards []*shard
	known  sync.Map // LogID → LogInfo: what of a log never changes (shard, pieces, ranges)
	knownN atomic.Int64
	closed atomic.Bool
	quit   chan struct{}
	erase  sync.Mutex // one erasure at a time: it reads, repacks and writes
}

// shard is a shard's committer and who waits for its head.
type shard struct {
	committer *committer
	mu        sync.Mutex
	feed      uint64
	moved     chan struct{} // closed when feed moves; nil while nobody waits
}

// NewOwner opens a store over an engine. The engine belongs to the store from
// then on and is closed with it.
func NewOwner(engine Engine, opts Options) (Owner, error) {
	s := &store{engine: engine, opts: opts, chance: newChance(opts.Source), quit: make(chan struct{})}
	remember := opts.Remember
	if remember <= 0 {
		remember = defaultRemember
	}
	for i := range engine.Shards() {
		head, err := engine.Head(context.Background(), i)
		if err != nil {
			return nil, fmt.Errorf("open store: read the head of shard %d: %w", i, err)
		}
		q := &queue{wake: make(chan struct{}, 1), maxItems: opts.Queue, maxBytes: opts.QueueBytes}
		if q.maxItems <= 0 {
			q.maxItems = defaultQueue
		}
		if q.maxBytes <= 0 {
			q.maxBytes = defaultQueueBytes
		}
		c := &committer{
			s: s, shard: i, queue: q, head: head, done: make(chan struct{}),
			logs: newMemory[LogID, *logState](remember/4 + 1), streams: newMemory[streamKey, *streamState](remember/2 + 1),
		}
		s.shards = append(s.shards, &shard{committer: c, feed: head.Feed})
	}
	if w, ok := engine.(Watched); ok {
		w.Watch(func(i int, feed uint64) { s.shards[i].advance(feed) })
	}
	for _, sh := range s.shards {
		go sh.committer.run()
	}
	return s, nil
}

func (s *store) Append(ctx context.Context, a Append) (Appended, error) {
	if s.closed.Load() {
		return Appended{}, ErrStoreClosed
	}
	if err := ctx.Err(); err != nil {
		return Appended{}, err
	}
	r, err := s.prepare(ctx, a)
	if err != nil {
		return Appended{}, err
	}
	if a.Idempotency != nil {
		out, found, err := s.findScope(ctx, r)
		if err != nil {
			return Appended{}, fmt.Errorf("append: %w", err)
		}
		if found {
			return s.appended(ctx, r, out)
		}
	}
	out, err := s.send(ctx, r)
	if err != nil {
		return Appended{}, err
	}
	return s.appended(ctx, r, out)
}

// send queues a request and waits for its answer.
func (s *store) send(ctx context.Context, r *request) (outcome, error) {
	if err := failpoint.Hit("append.before-queue"); err != nil {
		return outcome{}, err
	}
	if err := s.shards[r.a.Shard].committer.queue.put(r); err != nil {
		return outcome{}, err
	}
	select {
	case out := <-r.done:
		return out, nil
	case <-ctx.Done():
	}
	if r.state.CompareAndSwap(waiting, withdrawn) {
		return outcome{}, ctx.Err()
	}
	grace := s.opts.Grace
	if grace == 0 {
		grace = defaultGrace
	}
	if grace > 0 {
		t := time.NewTimer(grace)
		defer t.Stop()
		select {
		case out := <-r.done:
			return out, nil
		case <-t.C:
		}
	}
	select {
	case out := <-r.done:
		return out, nil
	default:
		return outcome{}, fmt.Errorf("append: %w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

func (s *store) appended(ctx context.Context, r *request, out outcome) (Appended, error) {
	if out.err != nil {
		return Appended{}, out.err
	}
	if out.replay == nil {
		return Appended{Records: r.records, Feed: out.feed}, nil
	}
	return s.replayed(ctx, out.replay)
}

// replayed reads what an append gave the first time.
func (s *store) replayed(ctx context.Context, sc *Scope) (Appended, error) {
	last := sc.First + uint64(sc.Count) - 1
	a := Appended{Feed: last, Replayed: true, Records: []Record{}}
	if sc.Count == 0 {
		return a, nil
	}
	for rec, err := range s.Feed(ctx, sc.Shard, sc.First-1, sc.Count) {
		if err != nil {
			if cut := (*TruncatedError)(nil); errors.As(err, &cut) {
				break // removed by retention meanwhile
			}
			return Appended{}, fmt.Errorf("append: read what it gave the first time: %w", err)
		}
		a.Records = append(a.Records, rec)
	}
	return a, nil
}

func (s *store) Replay(ctx context.Context, shard int, i Idempotency) (Appended, bool, error) {
	r := &request{a: Append{Shard: shard, Idempotency: &i}}
	out, found, err := s.findScope(ctx, r)
	if err != nil || !found {
		return Appended{}, false, s.readError(err)
	}
	a, err := s.appended(ctx, r, out)
	return a, err == nil, err
}

// findScope looks whether the append happened before.
func (s *store) findScope(ctx context.Context, r *request) (outcome, bool, error) {
	id := r.a.Idempotency
	if id == nil {
		return outcome{}, false, nil
	}
	sc, ok, err := s.engine.Scope(ctx, id.Scope)
	if err != nil {
		return outcome{}, false, fmt.Errorf("look up the idempotency key: %w", err)
	}
	if !ok {
		return outcome{}, false, nil
	}
	if s.chance.now().Sub(sc.Time) > idempotencyKept {
		r.expired = true
		return outcome{}, false, nil
	}
	if sc.Digest != id.Digest {
		return outcome{err: ErrIdempotency}, true, nil
	}
	return outcome{replay: &sc}, true, nil
}

// Close lets the committers finish what is queued.
func (s *store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	for _, sh := range s.shards {
		sh.committer.queue.close()
	}
	for _, sh := range s.shards {
		<-sh.committer.done
	}
	close(s.quit)
	s.erase.Lock()
	defer s.erase.Unlock()
	if err := s.engine.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}
