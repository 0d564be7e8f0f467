package bus

import (
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
	once      sync.Once
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
			r.followers = append(r.followers, &follow.Follower{
				Store: r.Store, Shard: shard, Name: or(r.Name, "relay"), Consumer: &lane{publisher: r.Publisher, state: r.State},
				Lease: r.Lease, PageSize: size, Logger: r.Logger, Backoff: r.Backoff,
			})
		}
	})
	return r.followers
}

// Run relays all shards until the context ends, and then returns nil when what
// was sent is acknowledged and the places are kept. What Kafka refuses is tried
// again for good; other errors are those of follow.Follower.Run. It is called once.
func (r *Relay) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	all := r.Followers()
	errs := make([]error, len(all))
	var running sync.WaitGroup
	for i, f := range all {
		running.Go(func() {
			if errs[i] = f.Run(ctx); errs[i] != nil {
				stop()
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// lane is the consumer of one shard. Its checkpoint is the highest position
// below which everything was acknowledged.
type lane struct {
	publisher *Publisher
	state     State
	at        follow.State
}

// Load reads the place.
func (l *lane) Load(ctx context.Context, shard int) (follow.State, error) {
	s, err := l.state.Load(ctx, shard)
	if err != nil {
		return follow.State{}, err
	}
	l.at = s
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
	n, err := l.publisher.Send(ctx, m.Records)
	if errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		if err = l.publisher.sendReduced(m.Records[n]); err == nil {
			n++
			if n < len(m.Records) {
				err = fmt.Errorf("feed position %d was published alone: it, or its batch, was too large", m.Records[n-1].Feed)
			}
		}
	}
	if err != nil {
		if n > 0 && len(m.Park) == 0 {
			next := follow.State{Checkpoint: follow.At(&m.Records[n-1]), Parked: l.at.Parked}
			if err := l.save(ctx, m, next); err != nil {
				return err
			}
		}
		return follow.Unavailable(err)
	}
	next := follow.State{Checkpoint: m.To, Parked: slices.Clone(l.at.Parked)}
	for _, k := range m.Unpark {
		next.Parked = slices.DeleteFunc(next.Parked, func(p follow.Parked) bool { return p.Key() == k })
	}
	for _, p := range m.Park {
		next.Parked = append(slices.DeleteFunc(next.Parked, func(q follow.Parked) bool { return q.Key() == p.Key() }), p)
	}
	return l.save(ctx, m, next)
}

func (l *lane) save(ctx context.Context, m follow.Move, next follow.State) error {
	if err := l.state.Save(ctx, m.Shard, m.From, next); err != nil {
		if errors.Is(err, follow.ErrMoved) {
			return err
		}
		return follow.Unavailable(err)
	}
	l.at = next
	return nil
}

// sendReduced publishes a record by itself, and without its data where even
// then it is too large: the topic's limit is lower than it was when we connected.
func (p *Publisher) sendReduced(r eventstore.Record) error {
	_, err := p.Send(context.Background(), []eventstore.Record{r})
	if !errors.Is(err, sarama.ErrMessageSizeTooLarge) {
		return err
	}
	headers, value := encode(&r, p.source, 0)
	errs, err := p.send([]*sarama.ProducerMessage{{Topic: p.topic, Key: sarama.StringEncoder(r.Log), Value: sarama.ByteEncoder(value),
		Headers: headers, Partition: int32(r.Shard), Timestamp: r.Time}})
	if err == nil {
		err = errs[0]
	}
	if err != nil {
		return fmt.Errorf("publish feed position %d of shard %d without its data: %w", r.Feed, r.Shard, err)
	}
	return nil
}
