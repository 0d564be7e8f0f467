package bus

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"varve/eventstore"
)

// Tail is a store whose feed comes by Kafka while it can: Feed gives a record
// from there when it is exactly the next feed position, and from the store
// otherwise; Wait wakes when a message comes in. Followers use it in the place
// of the store. Records that came by Kafka have no salt; those with attachments
// come from the store. All methods are safe for concurrent use, and work as the
// store's own while Run does not run.
type Tail struct {
	eventstore.Follower
	kafka    Kafka
	patience time.Duration
	logger   *slog.Logger
	windows  []*window
	stats    struct{ kafka, store, repeated, gaps, refused atomic.Uint64 }
}

var _ eventstore.Follower = (*Tail)(nil)

// TailOptions of a Tail; zero values are the defaults.
type TailOptions struct {
	Window   int           // records kept a shard; 0: 4,096, and never more than 16 MiB
	Patience time.Duration // how long a message may be late before the store is asked; 0: 250 ms
	Logger   *slog.Logger  // nil: slog.Default
}

// Stats counts since the start.
type Stats struct {
	Kafka    uint64 // records given from Kafka, for each follower that read them
	Store    uint64 // records given from the store
	Repeated uint64 // messages at or below the newest one
	Gaps     uint64 // messages that left a gap behind the newest one
	Refused  uint64 // messages that could not be decoded, or that the store does not know
}

// NewTail does not connect: Run does.
func NewTail(store eventstore.Follower, k Kafka, o TailOptions) (*Tail, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	t := &Tail{Follower: store, kafka: k, patience: o.Patience, logger: o.Logger}
	if t.patience == 0 {
		t.patience = 250 * time.Millisecond
	}
	if t.logger == nil {
		t.logger = slog.Default()
	}
	if o.Window == 0 {
		o.Window = 4096
	}
	for range store.Shards() {
		t.windows = append(t.windows, newWindow(o.Window))
	}
	return t, nil
}

// Stats is how many records came from where.
func (t *Tail) Stats() Stats {
	return Stats{t.stats.kafka.Load(), t.stats.store.Load(), t.stats.repeated.Load(), t.stats.gaps.Load(), t.stats.refused.Load()}
}

// Feed is the store's, but where limit is not 0 a page may end before the
// store's newest record.
func (t *Tail) Feed(ctx context.Context, shard int, after uint64, limit int) iter.Seq2[eventstore.Record, error] {
	if shard < 0 || shard >= len(t.windows) {
		return t.Follower.Feed(ctx, shard, after, limit)
	}
	w := t.windows[shard]
	return func(yield func(eventstore.Record, error) bool) {
		left := limit
		for given := 0; ; {
			records, next, idle := w.after(after, left)
			for i := range records {
				t.stats.kafka.Add(1)
				if !yield(records[i], nil) {
					return
				}
			}
			if n := len(records); n > 0 {
				after, given, left = records[n-1].Feed, given+n, left-n
			}
			if limit > 0 && (left <= 0 || idle || given > 0 && next == 0) {
				return
			}
			if limit == 0 {
				left = 0
			}
			if next == after+1 {
				continue
			}
			n, ok := t.fromStore(ctx, shard, after, gap(after, next, left), yield)
			if !ok || n == 0 {
				return
			}
			after, given = after+uint64(n), given+n
			if left -= n; limit > 0 && (left <= 0 || next == 0) {
				return
			}
			left = max(left, 0)
		}
	}
}

// gap is how many records are to be read from the store.
func gap(after, next uint64, left int) int {
	if next == 0 {
		return left
	}
	n := int(min(next-after-1, 1<<30))
	if left > 0 {
		n = min(n, left)
	}
	return n
}

func (t *Tail) fromStore(ctx context.Context, shard int, after uint64, limit int, yield func(eventstore.Record, error) bool) (n int, ok bool) {
	for r, err := range t.Follower.Feed(ctx, shard, after, limit) {
		if err == nil {
			t.stats.store.Add(1)
			n++
		}
		if !yield(r, err) || err != nil {
			return n, false
		}
	}
	return n, true
}

// Wait returns when a message beyond after came in, when the store has such a
// record and none came in time, or with the context's error.
func (t *Tail) Wait(ctx context.Context, shard int, after uint64) error {
	if shard < 0 || shard >= len(t.windows) {
		return t.Follower.Wait(ctx, shard, after)
	}
	w := t.windows[shard]
	timer := time.NewTimer(t.patience)
	defer timer.Stop()
	for {
		beyond, live, changed := w.state(after)
		if beyond {
			return nil
		}
		if !live {
			return t.Follower.Wait(ctx, shard, after)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			head, err := t.Head(ctx, shard)
			if err != nil {
				return err
			}
			if head > after {
				w.know(head)
			}
			timer.Reset(t.patience)
		}
	}
}

// Run takes messages in until the context ends, and then returns nil. While
// Kafka cannot be reached it tries again, and followers read the store.
func (t *Tail) Run(ctx context.Context) error {
	c, err := t.kafka.config()
	if err != nil {
		return err
	}
	c.Consumer.Return.Errors = true
	c.Consumer.Fetch.Min, c.Consumer.MaxWaitTime = 1, 500*time.Millisecond
	for try := 0; ctx.Err() == nil; try++ {
		consumer, err := sarama.NewConsumer(t.kafka.Brokers, c)
		if err != nil {
			t.logger.Warn("feed is read from the store: Kafka cannot be reached", "kafka", t.kafka.String(), "error", err)
			pause(ctx, try)
			continue
		}
		try = 0
		var running sync.WaitGroup
		for shard := range t.windows {
			running.Go(func() { t.follow(ctx, consumer, shard) })
		}
		running.Wait()
		if err := consumer.Close(); err != nil {
			t.logger.Warn("close Kafka consumer", "error", err)
		}
	}
	return nil
}

// pause waits 100 ms, doubling up to 5 s.
func pause(ctx context.Context, try int) {
	timer := time.NewTimer(min(100*time.Millisecond<<min(try, 10), 5*time.Second))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// follow takes the messages of one partition, from its end on: what is older is
// in the store.
func (t *Tail) follow(ctx context.Context, consumer sarama.Consumer, shard int) {
	for try := 0; ctx.Err() == nil; try++ {
		before := t.windows[shard].newest()
		err := t.partition(ctx, consumer, shard)
		t.windows[shard].setLive(false)
		if ctx.Err() != nil {
			return
		}
		if t.windows[shard].newest() != before {
			try = 0
		}
		t.logger.Warn("feed is read from the store: its partition cannot be read", "topic", t.kafka.TopicName(), "shard", shard, "error", err)
		pause(ctx, try)
	}
}

var errPartitionEnded = errors.New("the partition's consumer ended: its place in the topic is gone")

func (t *Tail) partition(ctx context.Context, consumer sarama.Consumer, shard int) error {
	p, err := consumer.ConsumePartition(t.kafka.TopicName(), int32(shard), sarama.OffsetNewest)
	if err != nil {
		return fmt.Errorf("consume topic %s: %w", t.kafka.TopicName(), err)
	}
	defer p.Close()
	t.windows[shard].setLive(true)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, ok := <-p.Errors():
			if !ok {
				return errPartitionEnded
			}
			t.windows[shard].setLive(false)
			t.logger.Warn("feed is read from the store for now", "topic", e.Topic, "shard", shard, "error", e.Err)
		case m, ok := <-p.Messages():
			if !ok {
				return errPartitionEnded
			}
			t.arrived(ctx, shard, m)
		}
	}
}

// arrived judges a message. One that does not continue the window is held
// against the store's head, so that nothing the store has not can open a window.
func (t *Tail) arrived(ctx context.Context, shard int, m *sarama.ConsumerMessage) {
	w := t.windows[shard]
	d, err := decode(m.Headers, m.Value, shard, t.kafka.source())
	if err != nil {
		t.refuse(shard, m, err)
		return
	}
	switch w.judge(d.Feed) {
	case arrivedAgain:
		t.stats.repeated.Add(1)
		return
	case arrivedBeyond:
		head, err := t.Head(ctx, shard)
		if err == nil && d.Feed > head {
			err = fmt.Errorf("it is feed position %d, and the store ends at %d", d.Feed, head)
		}
		if err != nil {
			t.refuse(shard, m, err)
			return
		}
		t.stats.gaps.Add(1)
	case arrivedNext:
	}
	w.add(d)
}

func (t *Tail) refuse(shard int, m *sarama.ConsumerMessage, err error) {
	t.stats.refused.Add(1)
	t.logger.Warn("message not taken; the store has the record", "topic", m.Topic, "shard", shard, "offset", m.Offset, "error", err)
}
