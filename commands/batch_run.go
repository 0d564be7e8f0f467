package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"varve/domain"
	"varve/eventstore"
)

// BatchRef names a batch that was submitted.
type BatchRef struct {
	OrganizationID string
	Organization   eventstore.LogID
	Log            eventstore.LogID
	Shard          int
	BatchID        string
}

// batchRunner is the process manager of batches: it knows which run here.
type batchRunner struct {
	mu      sync.Mutex
	running map[batchKey]*batchRun
	wakes   chan BatchRef
}

type batchKey struct {
	log eventstore.LogID
	id  string
}

// batchRun is a batch that runs here.
type batchRun struct {
	again bool // woken while it ran: look at it once more
	stop  context.CancelFunc
}

// begin enters a batch, nil where it runs already and will look at itself again.
func (r *batchRunner) begin(ref BatchRef) *batchRun {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := batchKey{ref.Log, ref.BatchID}
	if run := r.running[key]; run != nil {
		run.again = true
		return nil
	}
	if r.running == nil {
		r.running = map[batchKey]*batchRun{}
	}
	run := &batchRun{}
	r.running[key] = run
	return run
}

// attempt gives the context of a look at the batch.
func (r *batchRunner) attempt(ctx context.Context, run *batchRun) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, run.stop = context.WithCancel(ctx)
	run.again = false
	return ctx
}

// end leaves the batch unless it was woken meanwhile or keep is set.
func (r *batchRunner) end(ref BatchRef, run *batchRun, keep bool) (ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	run.stop()
	if keep || run.again {
		return false
	}
	delete(r.running, batchKey{ref.Log, ref.BatchID})
	return true
}

// interrupt stops the attempt that runs here, if one does, and lets it look at
// the batch again.
func (r *batchRunner) interrupt(log eventstore.LogID, batchID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if run := r.running[batchKey{log, batchID}]; run != nil {
		run.again = true
		if run.stop != nil {
			run.stop()
		}
	}
}

func (r *batchRunner) channel() chan BatchRef {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.wakes == nil {
		r.wakes = make(chan BatchRef, 1024)
	}
	return r.wakes
}

func (h *Handler) wake(in In, batchID string) {
	h.batches.wake(BatchRef{in.OrganizationID, in.Organization, in.Log, in.Shard, batchID})
}

// look makes the runner list active batches again.
func (r *batchRunner) look() { r.wake(BatchRef{}) }

func (r *batchRunner) wake(ref BatchRef) {
	select {
	case r.channel() <- ref:
	default: // the runner is far behind: it lists active batches again when it catches up
	}
}

// RunBatches runs submitted batches until ctx ends, at most objects objects at
// once. What a crash interrupted goes on at the next start, or in another process
// that runs batches: everything that was done is in the log, and is not done twice.
func (h *Handler) RunBatches(ctx context.Context, objects int) error {
	news, err := h.batchNews(ctx)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	for _, f := range news {
		running.Go(func() {
			if err := f.Run(ctx); err != nil {
				h.Log.Error("batches that other processes submit are not heard of", slog.Any("error", err))
			}
		})
	}
	r, wakes, slots := &h.batches, h.batches.channel(), make(chan struct{}, objects)
	start := func(ref BatchRef) {
		if run := r.begin(ref); run != nil {
			running.Go(func() { h.follow(ctx, ref, run, slots) })
		}
	}
	r.look()
	var again <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case ref := <-wakes:
			if ref.BatchID != "" {
				start(ref)
			}
			if len(wakes) > 0 {
				continue
			}
		case <-again:
		}
		active, err := h.ActiveBatches(ctx)
		for _, ref := range active {
			start(ref)
		}
		if again = nil; err != nil && ctx.Err() == nil {
			h.Log.Warn("batches may be active that are not known of: they are listed again", slog.Any("error", err))
			again = time.After(time.Second)
		}
	}
}

// longestWait is the most time between two tries of a batch that the store stopped.
const longestWait = 30 * time.Second

// follow runs a batch until it has nothing more to do. What stops it without
// being an object's own fault (a full disk, an overloaded store) is tried again.
func (h *Handler) follow(ctx context.Context, ref BatchRef, run *batchRun, slots chan struct{}) {
	for wait := time.Second; ; wait = min(2*wait, longestWait) {
		attempt := h.batches.attempt(ctx, run)
		err := h.runBatch(attempt, ref, slots)
		if attempt.Err() != nil || errors.Is(err, eventstore.ErrClosed) {
			err = nil // stopped, canceled, or its namespace was deleted
		}
		if h.batches.end(ref, run, err != nil && ctx.Err() == nil) {
			return
		}
		if ctx.Err() != nil {
			continue // begun again by a wake: the next look ends at once
		}
		if err == nil {
			wait = time.Second
			continue
		}
		h.Log.Error("batch stopped; it is tried again", slog.String("batch", ref.BatchID), slog.Duration("after", wait), slog.Any("error", err))
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// system is the caller of what the process manager appends.
func (b BatchRef) system() In {
	return In{OrganizationID: b.OrganizationID, Organization: b.Organization, Log: b.Log, Shard: b.Shard, Actor: "system:batch", Origin: "batch", Request: b.BatchID}
}

// attempt is an attempt of a batch while it runs, with the version at which the
// batch's stream was last seen to say so.
type attempt struct {
	domain.BatchState
	version atomic.Uint64
}

// stillRuns reads the batch again: errBatchEnded where the attempt is no longer
// the running one.
func (h *Handler) stillRuns(ctx context.Context, in In, s *attempt) (domain.BatchState, error) {
	now, _, err := state[domain.BatchState](ctx, h.Store, in.Log, domain.BatchStream(s.BatchID))
	if err != nil {
		return now, err
	}
	if !now.Active() || now.Attempt != s.Attempt {
		return now, errBatchEnded
	}
	s.version.Store(now.Version)
	return now, nil
}

var errBatchEnded = errors.New("the batch was canceled, deleted or submitted again")

// runBatch takes one attempt through its tiers: every object through every
// collection of a tier before the next tier begins. Other processes may do the
// same at the same time: they share the objects of a tier, and the first that sees
// it done says so.
func (h *Handler) runBatch(ctx context.Context, ref BatchRef, slots chan struct{}) error {
	in := ref.system()
	read, _, err := state[domain.BatchState](ctx, h.Store, ref.Log, domain.BatchStream(ref.BatchID))
	if err != nil || !read.Active() {
		return err
	}
	s := &attempt{BatchState: read}
	s.version.Store(read.Version)
	for tier := s.TierDone; tier < len(s.Tiers); tier++ {
		if err := h.runTier(ctx, in, s, tier, slots); errors.Is(err, errBatchEnded) {
			return nil
		} else if err != nil {
			return err
		}
		if err := h.endOfTier(ctx, in, s, tier, &domain.BatchTierCompleted{BatchID: s.BatchID, Attempt: s.Attempt, Tier: tier}); errors.Is(err, errBatchEnded) {
			return nil
		} else if err != nil {
			return err
		}
	}
	completed, err := h.countBatch(ctx, in, s)
	if err != nil {
		return err
	}
	if err := h.endOfTier(ctx, in, s, len(s.Tiers), completed); !errors.Is(err, errBatchEnded) {
		return err
	}
	return nil
}

// endOfTier appends to the batch's stream unless the attempt is no longer the
// running one, or another process said it already.
func (h *Handler) endOfTier(ctx context.Context, in In, s *attempt, tier int, e domain.EventData) error {
	_, err := h.change(ctx, in, func() ([]eventstore.Batch, error) {
		now, _, err := state[domain.BatchState](ctx, h.Store, in.Log, domain.BatchStream(s.BatchID))
		if err != nil {
			return nil, err
		}
		if !now.Active() || now.Attempt != s.Attempt {
			return nil, errBatchEnded
		}
		if now.TierDone > tier {
			s.version.Store(now.Version)
			return nil, nil
		}
		b, err := batchOf(in.Log, domain.BatchStream(s.BatchID), eventstore.Exactly(now.Version), e)
		s.version.Store(now.Version + 1)
		return []eventstore.Batch{b}, err
	})
	return err
}

// countBatch sums up what the objects' own streams say of the batch.
func (h *Handler) countBatch(ctx context.Context, in In, s *attempt) (*domain.BatchCompleted, error) {
	done := &domain.BatchCompleted{BatchID: s.BatchID, BucketID: s.BucketID, TaskID: s.TaskID, Attempt: s.Attempt, Objects: len(s.Running), Status: domain.StatusCompleted}
	for _, id := range s.Running {
		o, _, err := state[domain.ObjectState](ctx, h.Store, in.Log, domain.ObjectStream(id))
		if err != nil {
			return nil, err
		}
		failed := false
		for _, tier := range s.Tiers {
			for _, collection := range tier {
				outcome, ok := o.Outcomes[collection]
				failed = failed || ok && outcome.BatchID == s.BatchID && outcome.Failed
				if ok && outcome.BatchID == s.BatchID {
					done.Documents += outcome.Documents
				}
			}
		}
		if failed {
			done.Failed++
		}
	}
	switch {
	case done.Failed > 0 && done.Failed == done.Objects:
		done.Status, done.Reason = domain.StatusFailed, "every object failed; failed-documents lists the reasons"
	case done.Failed > 0:
		done.Status, done.Reason = domain.StatusCompletedWithErrors, fmt.Sprintf("%d of %d objects failed; failed-documents lists the reasons", done.Failed, done.Objects)
	}
	return done, nil
}
