package bus

import (
	"context"
	"errors"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"varve/eventstore"
	"varve/eventstore/follow"
)

// write has eight writers append to three shards, and returns when they are done.
func write(t testing.TB, s eventstore.Store, each int) {
	var writers sync.WaitGroup
	for i := range 8 {
		writers.Go(func() { put(t, s, i%3, eventstore.LogID("log-"+string(rune('a'+i))), each) })
	}
	writers.Wait()
}

func TestRelayUnderEightWriters(t *testing.T) {
	k := broker(t)
	s := store(t, 3)
	topic(t, k, 3)
	r := relay(t, s, k, directory(t))
	stop := running(t, r.Run)
	write(t, s, 150)
	published(t, s, r)
	stop()
	deliveredOnce(t, s, k)
}

// Errors before and after the append, closed connections, and a broker that is
// gone for a while: each record is there in the end, in order.
func TestRelayReadsAgainAfterErrors(t *testing.T) {
	c, k := cluster(t)
	s := store(t, 3)
	topic(t, k, 3)
	produce := []kmsg.Key{kmsg.Produce}
	faults := []*kfake.FaultHandle{
		c.Fault(kfake.Fault{Keys: produce, Partitions: []int32{0}, Err: kerr.TopicAuthorizationFailed, Count: 3}), // not tried again by the client
		c.Fault(kfake.Fault{Keys: produce, Partitions: []int32{1}, Err: kerr.NotLeaderForPartition, Count: 2}),    // tried again by the client
		c.Fault(kfake.Fault{Keys: produce, Partitions: []int32{2}, Err: kerr.RequestTimedOut, Count: 8}),          // appended, and not said; too often for the client
	}
	var mu sync.Mutex
	seen, cut := 0, 0
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		mu.Lock()
		defer mu.Unlock()
		if seen++; seen%7 == 0 && cut < 5 {
			cut++
			return nil, errors.New("cut"), true
		}
		return nil, nil, false
	})
	state := directory(t)
	r := relay(t, s, k, state)
	stop := running(t, r.Run)
	write(t, s, 150)
	published(t, s, r)
	stop()
	for i, f := range faults {
		if f.Hits() == 0 {
			t.Errorf("fault %d was never met", i)
		}
	}
	if cut == 0 {
		t.Error("no connection was cut")
	}
	for shard := range 3 {
		t.Logf("shard %d: %d messages repeated", shard, delivered(t, s, k, shard))
		head, _ := s.Head(context.Background(), shard)
		if at, err := state.Load(context.Background(), shard); err != nil || at.Checkpoint.Feed != head || len(at.Parked) > 0 {
			t.Errorf("shard %d: state %+v, head %d, %v", shard, at, head, err)
		}
	}
}

func TestRelayGoesOnWhereItWas(t *testing.T) {
	k := broker(t)
	s := store(t, 3)
	topic(t, k, 3)
	folder := t.TempDir()
	for round := range 4 {
		r := relay(t, s, k, places(folder))
		stop := running(t, r.Run)
		write(t, s, 20)
		if round%2 == 0 { // the others are stopped in the middle
			published(t, s, r)
		}
		stop()
	}
	relayed(t, s, relay(t, s, k, places(folder)))
	deliveredOnce(t, s, k)
}

// A place that was kept too early would lose records; one kept too late repeats
// them, which is what a crash between publishing and keeping does.
func TestRelayAfterACrashBeforeItsPlaceWasKept(t *testing.T) {
	k := broker(t)
	s := store(t, 1)
	topic(t, k, 1)
	put(t, s, 0, "a", 120)
	for range 2 {
		relayed(t, s, relay(t, s, k, &forgetful{State: directory(t)}))
	}
	if repeats := delivered(t, s, k, 0); repeats != 120 {
		t.Errorf("%d messages repeated, 120 expected", repeats)
	}
}

// forgetful cannot keep anything the first three times.
type forgetful struct {
	State
	tries int
}

func (f *forgetful) Save(ctx context.Context, shard int, from follow.Checkpoint, s follow.State) error {
	if f.tries++; f.tries <= 3 {
		return errors.New("the disk is full")
	}
	return f.State.Save(ctx, shard, from, s)
}

// losing is a lease that is lost when it is told, and then another's.
type losing struct {
	lost, again chan struct{}
	taken       bool
}

func (l *losing) Acquire(ctx context.Context, _ string) (context.Context, func(), error) {
	if l.taken {
		close(l.again)
		<-ctx.Done()
		return nil, nil, ctx.Err()
	}
	l.taken = true
	held, end := context.WithCancel(ctx)
	go func() {
		select {
		case <-l.lost:
		case <-ctx.Done():
		}
		end()
	}()
	return held, end, nil
}

// cutOff is a state that cannot be written to when it is told.
type cutOff struct {
	State
	off atomic.Bool
}

func (c *cutOff) Save(ctx context.Context, shard int, from follow.Checkpoint, s follow.State) error {
	if c.off.Load() {
		return errors.New("the server is away")
	}
	return c.State.Save(ctx, shard, from, s)
}

// A relay that lost its lease, and could not keep its place then, is no relay that
// ended badly.
func TestRelayLosesItsLeaseWithoutServer(t *testing.T) {
	k := broker(t)
	s := store(t, 1)
	topic(t, k, 1)
	away, lease := &cutOff{State: directory(t)}, &losing{lost: make(chan struct{}), again: make(chan struct{})}
	r := relay(t, s, k, away)
	r.Lease = lease
	stop := running(t, r.Run) // holds it to ending with nil
	put(t, s, 0, "a", 1)
	published(t, s, r)
	away.off.Store(true)
	put(t, s, 0, "a", 1)
	published(t, s, r)
	close(lease.lost)
	<-lease.again
	stop()
}

func TestTwoRelaysAtOnce(t *testing.T) {
	k := broker(t)
	s := store(t, 3)
	topic(t, k, 3)
	state := directory(t)
	t.Run("without a lease", func(t *testing.T) {
		one, two := relay(t, s, k, state), relay(t, s, k, state)
		stopOne, stopTwo := running(t, one.Run), running(t, two.Run)
		write(t, s, 60)
		published(t, s, one)
		published(t, s, two)
		stopOne()
		stopTwo()
		for shard := range 3 {
			delivered(t, s, k, shard)
		}
	})
	t.Run("with a lease", func(t *testing.T) {
		k.Topic = k.TopicName() + ".leased"
		topic(t, k, 3)
		state, lease := directory(t), &follow.Process{}
		one, two := relay(t, s, k, state), relay(t, s, k, state)
		one.Lease, two.Lease = lease, lease
		stopOne := running(t, one.Run)
		published(t, s, one)
		stopTwo := running(t, two.Run)
		stopOne()
		write(t, s, 20)
		published(t, s, two)
		stopTwo()
		deliveredOnce(t, s, k)
	})
}

// A topic of another size stops nothing for the shards that have a partition,
// and says for the others that they have none.
func TestRelayWithoutAPartition(t *testing.T) {
	k := broker(t)
	s := store(t, 2)
	topic(t, k, 1)
	put(t, s, 0, "a", 3)
	put(t, s, 1, "b", 3)
	r := relay(t, s, k, directory(t))
	stop := running(t, r.Run)
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := r.Followers()[0].WaitApplied(ctx, 3); err != nil {
		t.Fatal(err)
	}
	for r.Followers()[1].Err() == nil {
		if ctx.Err() != nil {
			t.Fatal("it does not say that a partition is missing")
		}
	}
	if err := r.Followers()[1].Err(); !strings.Contains(err.Error(), "none for shard 1") {
		t.Errorf("shard without a partition: %v", err)
	}
}

// A record that Kafka finds too large is published without its data.
func TestRelayLargeRecords(t *testing.T) {
	c, k := cluster(t)
	s := store(t, 1)
	topic(t, k, 1)
	text := func(n int) []byte { return []byte(`"` + strings.Repeat("x", n) + `"`) }
	for _, data := range [][]byte{[]byte("{}"), text(1 << 20), text(8000), []byte("{}")} {
		if _, err := s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: "a", Stream: "s",
			Events: []eventstore.Event{{Type: "thing.happened", Data: data}}}}}); err != nil {
			t.Fatal(err)
		}
	}
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Produce}, Err: kerr.MessageTooLarge, Count: -1, When: func(r kmsg.Request) bool {
		return len(r.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records) > 6000 // the limit was lowered meanwhile
	}})
	relayed(t, s, relay(t, s, k, directory(t)))
	omitted := map[uint64]bool{}
	for _, m := range messages(t, k, 0) {
		d, err := decode(m.Headers, m.Value, 0, k.source())
		if err != nil {
			t.Fatal(err)
		}
		omitted[d.Feed] = d.partial
	}
	if want := map[uint64]bool{1: false, 2: true, 3: true, 4: false}; !maps.Equal(omitted, want) {
		t.Errorf("without data: %v, want %v", omitted, want)
	}
}
