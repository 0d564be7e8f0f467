package bus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"

	"varve/eventstore"
	"varve/eventstore/follow"
)

// Relay publishes every record of a store, in feed order, at least once. Fields
// are set before Run and not changed.
type Relay struct {
	Store     eventstore.Follower
	Publisher *Publisher
	State     State
	Lease     follow.Lease // one owner a shard; nil: nobody else runs this relay
	Name      string       // of the lease, and in errors; "": relay
	PageSize  int          // records published at a time; 0: 5,000
	Logger    *slog.Logger
	Backoff   func(try int) time.Duration // as follow.Follower's
	Observe   follow.Observer             // of what is published; may be nil
	once      sync.Once
	lanes     []*lane
	followers []*follow.Follower
}

// Followers are the relay's followers, one a shard: how far each has published
// (Applied), why it does not get on (Err), and waiting for it (WaitApplied).
func (r *Relay) Followers() []*follow.Follower {
	r.once.Do(func() {
		size := r.PageSize
		if size == 0 {
			size = 5000
		}
		for shard := range r.Store.Shards() {
			l := &lane{publisher: r.Publisher, state: r.State, shard: shard}
			r.lanes = append(r.lanes, l)
			r.followers = append(r.followers, &follow.Follower{
				Store: r.Store, Shard: shard, Name: cmp.Or(r.Name, "relay"), Consumer: l,
				Lease: r.Lease, PageSize: size, Logger: r.Logger, Backoff: r.Backoff, Observe: r.Observe,
			})
		}
	})
	return r.followers
}

// Run relays all shards until the context ends, and then returns nil when what
// was sent is acknowledged and the places are kept. What Kafka refuses is tried
// again for good; other errors are those of follow.Follower.Run, and those of a
// place that could not be kept at the end. It is called once.
func (r *Relay) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all := r.Followers()
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, f := range all {
		f.Lease = lastly{f.Lease, func() {
			err := r.lanes[i].end(context.WithoutCancel(ctx))
			if err != nil && ctx.Err() == nil { // the lease was lost: who has it next begins at the place before
				r.logger().Warn("the relay's place is not kept: some records are published again", "error", err)
				return
			}
			errs[i] = err
		}}
		running.Go(func() {
			if err := f.Run(ctx); err != nil {
				errs[i] = errors.Join(err, errs[i])
				stop()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

func (r *Relay) logger() *slog.Logger {
	if r.Logger != nil {
		return r.Logger
	}
	return slog.Default()
}

// lastly is a lease that does something before it is let go of.
type lastly struct {
	follow.Lease
	do func()
}

// Acquire holds at once where there is no lease.
func (l lastly) Acquire(ctx context.Context, name string) (context.Context, func(), error) {
	held, release := ctx, func() {}
	if l.Lease != nil {
		var err error
		if held, release, err = l.Lease.Acquire(ctx, name); err != nil {
			return nil, nil, err
		}
	}
	return held, func() { l.do(); release() }, nil
}

// lane is the consumer of one shard. The place of a page is kept while the next
// one is published, so what State holds is never beyond the highest position
// below which everything was acknowledged, and at most a page behind it.
type lane struct {
	publisher *Publisher
	state     State
	shard     int
	at        follow.State      // everything up to here is acknowledged
	kept      follow.Checkpoint // where State is
	sent      follow.Checkpoint // the end of the page after at, where it is acknowledged and could not be kept
	keeping   chan error        // of the save under way; nil: none
}

// Load reads the place.
func (l *lane) Load(ctx context.Context, shard int) (follow.State, error) {
	_ = l.settle() // whatever came of it, State knows
	s, err := l.state.Load(ctx, shard)
	if err != nil {
		return follow.State{}, err
	}
	l.at, l.kept, l.sent = s, s.Checkpoint, follow.Checkpoint{}
	s.Parked = slices.Clone(s.Parked)
	return s, nil
}

// Take publishes and moves. After an error the place is behind what was
// acknowledged, so that the next try finds it moved and the follower reads again
// from there.
func (l *lane) Take(ctx context.Context, m follow.Move) error {
	if l.at.Checkpoint != m.From {
		return follow.ErrMoved
	}
	if l.sent != m.To || m.To == m.From {
		if n, err := l.publish(ctx, m.Records); err != nil {
			if n > 0 && len(m.Park) == 0 {
				if err := l.keepNow(ctx, follow.State{Checkpoint: follow.At(&m.Records[n-1]), Parked: l.at.Parked}); err != nil {
					return err
				}
			}
			return follow.Unavailable(err)
		}
		l.sent = m.To
	}
	next := follow.State{Checkpoint: m.To, Parked: slices.Clone(l.at.Parked)}
	for _, k := range m.Unpark {
		next.Parked = slices.DeleteFunc(next.Parked, func(p follow.Parked) bool { return p.Key() == k })
	}
	for _, p := range m.Park {
		next.Parked = append(slices.DeleteFunc(next.Parked, func(q follow.Parked) bool { return q.Key() == p.Key() }), p)
	}
	if err := l.settle(); err != nil || len(m.Park)+len(m.Unpark) > 0 {
		if errors.Is(err, follow.ErrMoved) {
			return err
		}
		return l.keepNow(ctx, next)
	}
	l.keep(ctx, next)
	return nil
}

// publish sends records, and tells how many are acknowledged if not all are.
func (l *lane) publish(ctx context.Context, records []eventstore.Record) (int, error) {
	n, err := l.publisher.Send(ctx, records)
	if !errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		return n, err
	}
	if err := l.publisher.sendReduced(ctx, records[n]); err != nil || n+1 == len(records) {
		return n, err
	}
	return n + 1, fmt.Errorf("feed position %d was published alone: it, or its batch, was too large", records[n].Feed)
}

// keep saves in the background.
func (l *lane) keep(ctx context.Context, next follow.State) {
	done, from := make(chan error, 1), l.kept
	l.keeping, l.at = done, next
	go func() { done <- l.state.Save(ctx, l.shard, from, next) }()
}

// settle waits for what is being saved. After an error State is where it was.
func (l *lane) settle() error {
	if l.keeping == nil {
		return nil
	}
	err := <-l.keeping
	if l.keeping = nil; err == nil {
		l.kept = l.at.Checkpoint
	}
	return err
}

// keepNow saves, and moves only then.
func (l *lane) keepNow(ctx context.Context, next follow.State) error {
	if err := l.settle(); errors.Is(err, follow.ErrMoved) {
		return err
	}
	if err := l.state.Save(ctx, l.shard, l.kept, next); err != nil {
		if errors.Is(err, follow.ErrMoved) {
			return err
		}
		return follow.Unavailable(err)
	}
	l.at, l.kept = next, next.Checkpoint
	return nil
}

// end keeps the last place, before the shard's lease is let go of.
func (l *lane) end(ctx context.Context) error {
	err := l.settle()
	if err == nil || errors.Is(err, follow.ErrMoved) {
		return nil
	}
	if err := l.keepNow(ctx, l.at); err != nil && !errors.Is(err, follow.ErrMoved) {
		return fmt.Errorf("keep the relay's place in shard %d: %w", l.shard, err)
	}
	return nil
}

// sendReduced publishes a record by itself, and without its data where even
// then it is too large: the topic's limit is lower than it was when we connected.
func (p *Publisher) sendReduced(ctx context.Context, r eventstore.Record) error {
	_, err := p.Send(ctx, []eventstore.Record{r})
	if !errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		return err
	}
	if err := p.sendOne(p.message(&r, 0)); err != nil {
		return fmt.Errorf("publish feed position %d of shard %d without its data: %w", r.Feed, r.Shard, err)
	}
	return nil
}
