package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"varve/eventstore"
)

// WholeLogStream is the stream of which a poison event parks its whole log:
// everything else in the log depends on it.
const WholeLogStream = "config"

// Follower follows one shard for one consumer. Fields are set before Run and
// not changed; methods are safe for concurrent use.
type Follower struct {
	Store    eventstore.Follower
	Shard    int
	Name     string // of the consumer: of its lease, and in errors
	Consumer Consumer
	Types    []string                    // event types to hand over; none: all
	Lease    Lease                       // nil: none is needed
	Standby  bool                        // never tries for the lease: only watches what others apply
	PageSize int                         // records at most; 0 means 1,000
	Tries    int                         // how often a poison event is tried alone; 0 means 3
	Backoff  func(try int) time.Duration // before try 1, 2, …; nil: 50 ms doubling up to 5 s
	Logger   *slog.Logger                // nil: slog.Default
	Now      func() time.Time            // nil: time.Now
	// Saw is called with each page, of all types, after it was taken and before
	// Applied says so, and with nil when following begins at a loaded checkpoint. May be nil.
	Saw      func([]eventstore.Record)
	Observe  Observer                       // of pages that have records; may be nil
	types    map[string]bool                // of Types
	applied  atomic.Uint64                  // feed position
	parked   atomic.Pointer[map[Key]Parked] // replaced, never changed
	failing  atomic.Pointer[error]          // why it does not get on
	once     sync.Once
	mu       sync.Mutex
	moved    chan struct{} // closed and replaced when applied moves
	commands chan command
	done     chan struct{} // closed when Run has returned
}

// command is something done between pages.
type command struct {
	do    func(ctx context.Context, s *session) error
	reply chan error
}

// session is one run between two loads of the consumer's state.
type session struct {
	f      *Follower
	at     Checkpoint
	parked map[Key]Parked
}

func (f *Follower) init() {
	f.once.Do(func() {
		f.moved, f.commands, f.done = make(chan struct{}), make(chan command), make(chan struct{})
		if f.PageSize == 0 {
			f.PageSize = 1000
		}
		if f.Tries == 0 {
			f.Tries = 3
		}
		if f.Backoff == nil {
			f.Backoff = func(try int) time.Duration { return min(50*time.Millisecond<<min(try-1, 10), 5*time.Second) }
		}
		if f.Logger == nil {
			f.Logger = slog.Default()
		}
		if f.Now == nil {
			f.Now = time.Now
		}
		if len(f.Types) > 0 {
			f.types = make(map[string]bool, len(f.Types))
			for _, t := range f.Types {
				f.types[t] = true
			}
		}
	})
}

// Run follows until the context ends, and then returns nil after the page that
// is being applied. Other errors are refusals: a *CheckpointError, or a closed
// store. While another follower has the lease it stands by: where the consumer is
// a Watcher, Applied and Parked tell what that one has reached. It is called once.
func (f *Follower) Run(ctx context.Context) error {
	f.init()
	defer close(f.done)
	for {
		held, release, err := f.acquire(ctx)
		if err == nil {
			err = f.own(held)
			release()
		}
		if err != nil || ctx.Err() != nil {
			return stopped(ctx, err)
		}
		f.Logger.Warn("feed follower lost its lease", "consumer", f.Name, "shard", f.Shard)
	}
}

// acquire waits for the lease, standing by.
func (f *Follower) acquire(ctx context.Context) (held context.Context, release func(), err error) {
	if f.Lease == nil && !f.Standby {
		return ctx, func() {}, nil
	}
	if w, ok := f.Consumer.(Watcher); ok {
		var watching sync.WaitGroup
		defer watching.Wait()
		until, stop := context.WithCancel(ctx)
		defer stop()
		watching.Go(func() { f.watch(until, w) })
		watching.Go(func() {
			for {
				select {
				case c := <-f.commands:
					c.reply <- fmt.Errorf("%s, shard %d: %w", f.Name, f.Shard, ErrStandby)
				case <-until.Done():
					return
				}
			}
		})
	}
	if f.Standby {
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	return f.Lease.Acquire(ctx, fmt.Sprintf("%s/%d", f.Name, f.Shard))
}

// watch publishes what the follower that has the lease has reached.
func (f *Follower) watch(ctx context.Context, w Watcher) {
	for try := 1; ; try++ {
		err := w.Watch(ctx, f.Shard, func(state State) {
			try = 0
			f.failing.Store(nil)
			f.publish(f.session(state))
		})
		if ctx.Err() != nil {
			return
		}
		f.fail(err)
		f.Logger.Warn("cannot see what others have applied: trying again", "consumer", f.Name, "shard", f.Shard, "error", err)
		if !f.sleep(ctx, max(try, 1)) {
			return
		}
	}
}

// own follows while the lease is held.
func (f *Follower) own(ctx context.Context) error {
	for try := 1; ; try++ {
		before := f.applied.Load()
		err := f.follow(ctx)
		var refused *CheckpointError
		if ctx.Err() != nil || errors.As(err, &refused) || errors.Is(err, eventstore.ErrStoreClosed) {
			return stopped(ctx, err)
		}
		if f.applied.Load() != before {
			try = 1
		}
		f.fail(err)
		f.Logger.Warn("feed follower starts again", "consumer", f.Name, "shard", f.Shard, "error", err)
		if !f.sleep(ctx, try) {
			return nil
		}
	}
}

func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil //nolint:nilerr // whoever ended the context knows; what failed by it is no news
	}
	return err
}

func (f *Follower) session(state State) *session {
	s := &session{f: f, at: state.Checkpoint, parked: make(map[Key]Parked, len(state.Parked))}
	for _, p := range state.Parked {
		s.parked[p.Key()] = p
	}
	return s
}

func (f *Follower) follow(ctx context.Context) error {
	state, err := f.Consumer.Load(ctx, f.Shard)
	if err != nil {
		return fmt.Errorf("load checkpoint of %s: %w", f.Name, err)
	}
	if err := Check(ctx, f.Store, f.Name, f.Shard, state.Checkpoint); err != nil {
		return err
	}
	s := f.session(state)
	f.failing.Store(nil)
	if f.Saw != nil {
		f.Saw(nil)
	}
	f.publish(s)

	reading, stop := context.WithCancel(ctx)
	next := newTray(f.PageSize)
	var reader sync.WaitGroup
	reader.Go(func() { f.read(reading, state.Checkpoint.Feed, next) })
	defer reader.Wait()
	defer stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case c := <-f.commands:
			err := c.do(ctx, s)
			f.publish(s)
			c.reply <- err
			if errors.Is(err, ErrMoved) {
				return err
			}
		case <-next.filled:
			page, err := next.take()
			if err != nil {
				return err
			}
			if len(page) == 0 { // taken already, with what lay there before it
				continue
			}
			if err := s.page(ctx, page); err != nil {
				return err
			}
			if f.Saw != nil {
				f.Saw(page)
			}
			f.publish(s)
		}
	}
}

// read fills the tray with what comes after a position until the context ends. While
// there is nothing it waits for the store; the next page is read while the last
// one is applied.
func (f *Follower) read(ctx context.Context, after uint64, next *tray) {
	for ctx.Err() == nil {
		var page []eventstore.Record
		var failed error
		for r, err := range f.Store.Feed(ctx, f.Shard, after, f.PageSize) {
			if err != nil {
				failed = err
				break
			}
			page = append(page, r)
		}
		var cut *eventstore.TruncatedError
		switch {
		case errors.As(failed, &cut) && cut.First > after+1:
			f.Logger.Warn("feed follower skips what retention removed", "consumer", f.Name, "shard", f.Shard, "after", after, "first", cut.First)
			after = cut.First - 1
			continue
		case len(page) > 0: // an error comes again, after these
			next.put(ctx, page)
			after = page[len(page)-1].Feed
			continue
		case failed == nil:
			failed = f.Store.Wait(ctx, f.Shard, after)
		}
		if failed != nil {
			next.fail(fmt.Errorf("read feed of shard %d after %d: %w", f.Shard, after, failed))
			return
		}
	}
}

// publish lets others see where the session is.
func (f *Follower) publish(s *session) {
	if len(s.parked) == 0 {
		f.parked.Store(nil)
	} else {
		parked := maps.Clone(s.parked)
		f.parked.Store(&parked)
	}
	f.mu.Lock()
	f.applied.Store(s.at.Feed)
	close(f.moved)
	f.moved = make(chan struct{})
	f.mu.Unlock()
}

func (f *Follower) fail(err error) { f.failing.Store(&err) }

func (f *Follower) sleep(ctx context.Context, try int) bool {
	t := time.NewTimer(f.Backoff(try))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Applied is the feed position that the consumer has reached; parked streams
// are missing from it.
func (f *Follower) Applied() uint64 { return f.applied.Load() }

// Err is why the follower does not get on at the moment, nil where it does.
func (f *Follower) Err() error {
	if p := f.failing.Load(); p != nil {
		return *p
	}
	return nil
}

// WaitApplied returns when the consumer has reached a feed position, or with
// the context's error, or with ErrStopped when the follower has stopped.
func (f *Follower) WaitApplied(ctx context.Context, feed uint64) error {
	f.init()
	for {
		if f.applied.Load() >= feed {
			return nil
		}
		f.mu.Lock()
		moved := f.moved
		reached := f.applied.Load() >= feed
		f.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-moved:
		case <-f.done:
			return ErrStopped
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// ErrStandby says that another process has the lease: what is asked of the
// follower must be asked there.
var ErrStandby = errors.New("another process follows for this consumer")

// ErrNotParked says that there is nothing to retry or to skip.
var ErrNotParked = errors.New("nothing is parked there")

// StillParkedError says that an event of a parked stream could not be applied:
// the stream stays parked from it on.
type StillParkedError struct {
	Parked Parked // as it is now
	Err    error
}

// Error names the event and its error.
func (e *StillParkedError) Error() string {
	return fmt.Sprintf("event %s at position %d of log %s: %v", e.Parked.Type, e.Parked.Position, e.Parked.Log, e.Err)
}

// Unwrap gives the error of the event.
func (e *StillParkedError) Unwrap() error { return e.Err }

// ErrStopped says that the follower does not run any more.
var ErrStopped = errors.New("the follower has stopped")
