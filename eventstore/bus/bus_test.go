package bus

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"go.uber.org/goleak"

	"varve/eventstore"
	"varve/eventstore/follow"
	"varve/eventstore/memory"
	"varve/eventstore/servertest"
	"varve/eventstore/state"
)

func TestMain(m *testing.M) {
	// The library behind sarama's statistics starts one ticker in a process and never stops it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/rcrowley/go-metrics.(*meterArbiter).tick"))
}

var quiet = slog.New(slog.DiscardHandler)

func cluster(t testing.TB, opts ...kfake.Opt) (*kfake.Cluster, Kafka) {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, Kafka{Brokers: c.ListenAddrs()}
}

// broker is the Kafka that VARVE_TEST_KAFKA names (host:port), else one in this
// process; the topic is the test's own.
func broker(t testing.TB) Kafka {
	t.Helper()
	address := os.Getenv("VARVE_TEST_KAFKA")
	if address == "" {
		_, k := cluster(t)
		return k
	}
	k, err := ParseURL("kafka://" + address)
	if err != nil {
		t.Fatal(err)
	}
	k.Topic = "varve.test." + rand.Text()
	t.Cleanup(func() {
		admin := administrator(t, k)
		defer admin.Close()
		_ = admin.DeleteTopic(k.Topic)
	})
	return k
}

func administrator(t testing.TB, k Kafka) sarama.ClusterAdmin {
	t.Helper()
	c, err := k.config()
	if err != nil {
		t.Fatal(err)
	}
	admin, err := sarama.NewClusterAdmin(k.Brokers, c)
	if err != nil {
		t.Fatal(err)
	}
	return admin
}

func store(t testing.TB, shards int) eventstore.Owner {
	t.Helper()
	s, err := memory.Open(memory.Options{Shards: shards})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// put appends n events, each alone, to streams of a log.
func put(t testing.TB, s eventstore.Store, shard int, log eventstore.LogID, n int) {
	t.Helper()
	for i := range n {
		_, err := s.Append(context.Background(), eventstore.Append{Shard: shard, Batches: []eventstore.Batch{{
			Log: log, Stream: fmt.Sprintf("thing-%d", i%3), Meta: eventstore.Metadata{Actor: "usr_1", Reason: "því að"},
			Events: []eventstore.Event{{Type: "thing.happened", Data: fmt.Appendf(nil, `{"i":%d}`, i)}},
		}}})
		if err != nil {
			t.Error(err)
			return
		}
	}
}

func feed(t testing.TB, s eventstore.Store, shard int) (all []eventstore.Record) {
	t.Helper()
	for r, err := range s.Feed(context.Background(), shard, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func topic(t testing.TB, k Kafka, shards int) {
	t.Helper()
	if _, err := k.Ensure(shards); err != nil {
		t.Fatal(err)
	}
}

func publisher(t testing.TB, k Kafka) *Publisher {
	t.Helper()
	p, err := k.NewPublisher(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// running runs something until the returned function is called.
func running(t testing.TB, run func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func relay(t testing.TB, s eventstore.Follower, k Kafka, state State) *Relay {
	return &Relay{Store: s, Publisher: publisher(t, k), State: state, Logger: quiet, PageSize: 50,
		Backoff: func(int) time.Duration { return time.Millisecond }}
}

func directory(t testing.TB) State { return places(t.TempDir()) }

func places(folder string) State {
	return state.Place{Store: state.OpenDirectory(folder), Consumer: "relay"}
}

// published waits until a relay has published what the store has now.
func published(t testing.TB, s eventstore.Follower, r *Relay) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	for shard, f := range r.Followers() {
		head, err := s.Head(ctx, shard)
		if err == nil {
			err = f.WaitApplied(ctx, head)
		}
		if err != nil {
			t.Fatalf("shard %d is at %d of %d: %v (%v)", shard, f.Applied(), head, err, f.Err())
		}
	}
}

// relayed runs a relay until it has published what the store has now.
func relayed(t testing.TB, s eventstore.Follower, r *Relay) {
	t.Helper()
	stop := running(t, r.Run)
	published(t, s, r)
	stop()
}

// messages reads a partition from its beginning to its end as of now.
func messages(t testing.TB, k Kafka, shard int) (all []*sarama.ConsumerMessage) {
	t.Helper()
	c, err := k.config()
	if err != nil {
		t.Fatal(err)
	}
	return servertest.Messages(t, k.Brokers, c, k.TopicName(), int32(shard))
}

// strip is what a message can tell of a record.
func strip(r eventstore.Record) eventstore.Record {
	r.Salt, r.Attachments = [16]byte{}, nil
	return r
}

// delivered holds what a partition has against the store: read as a consumer
// that takes the next feed position and nothing else, it must give every record
// once and in order. It returns how many messages were not the next.
func delivered(t testing.TB, s eventstore.Store, k Kafka, shard int) (repeats int) {
	t.Helper()
	want := feed(t, s, shard)
	next := 0
	for _, m := range messages(t, k, shard) {
		d, err := decode(m.Headers, m.Value, shard, k.source())
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Key) != string(d.Log) {
			t.Errorf("key %q of a record of log %q", m.Key, d.Log)
		}
		switch {
		case next < len(want) && d.Feed == want[next].Feed:
			if got := fmt.Sprintf("%+v", d.Record); got != fmt.Sprintf("%+v", strip(want[next])) {
				t.Fatalf("shard %d: message\n have %s\n want %+v", shard, got, strip(want[next]))
			}
			next++
		default:
			repeats++
		}
	}
	if next != len(want) {
		t.Errorf("shard %d: %d of %d records are there in order", shard, next, len(want))
	}
	return repeats
}

// deliveredOnce holds that every partition has its shard's records once and in order, and nothing else.
func deliveredOnce(t testing.TB, s eventstore.Follower, k Kafka) {
	t.Helper()
	for shard := range s.Shards() {
		if repeats := delivered(t, s, k, shard); repeats != 0 {
			t.Errorf("shard %d: %d messages too many", shard, repeats)
		}
	}
}

// ledger is a consumer that writes down what it was given.
type ledger struct {
	mu    sync.Mutex
	at    follow.Checkpoint
	taken []eventstore.Record
}

func (l *ledger) Load(context.Context, int) (follow.State, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return follow.State{Checkpoint: l.at}, nil
}

func (l *ledger) Take(_ context.Context, m follow.Move) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.taken, l.at = append(l.taken, m.Records...), m.To
	return nil
}

// expect compares what was taken with the store; attachments must be whole.
func (l *ledger) expect(t testing.TB, s eventstore.Store, shard int) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	plain := func(r eventstore.Record) string { r.Salt = [16]byte{}; return fmt.Sprintf("%+v", r) }
	want := feed(t, s, shard)
	if !slices.EqualFunc(l.taken, want, func(a, b eventstore.Record) bool { return plain(a) == plain(b) }) {
		t.Errorf("shard %d: %d records taken, the store has %d, and they are not the same", shard, len(l.taken), len(want))
	}
}
