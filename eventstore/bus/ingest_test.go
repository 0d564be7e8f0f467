package bus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
)

// orders is a customer's topic of three partitions with n messages, spread by number.
func orders(t *testing.T, k Kafka, n int) Kafka {
	t.Helper()
	k.Topic = "orders." + rand.Text()
	topic(t, k, 3)
	t.Cleanup(func() {
		admin := administrator(t, k)
		defer admin.Close()
		_, _ = admin.DeleteTopic(k.Topic), admin.DeleteTopic(k.Topic+".dead")
	})
	order(t, k, 0, n)
	return k
}

// order writes messages from and up to a number.
func order(t *testing.T, k Kafka, from, to int) {
	t.Helper()
	all := make([]*sarama.ProducerMessage, 0, to-from)
	for i := from; i < to; i++ {
		all = append(all, &sarama.ProducerMessage{Topic: k.Topic, Partition: int32(i % 3), Key: sarama.StringEncoder(fmt.Sprint("key-", i)),
			Value: sarama.StringEncoder(fmt.Sprint(i)), Headers: []sarama.RecordHeader{{Key: []byte("h"), Value: []byte("v")}, {Key: []byte("ce_shard"), Value: []byte("not ours")}}})
	}
	produce(t, k, all...)
}

func produce(t *testing.T, k Kafka, all ...*sarama.ProducerMessage) {
	t.Helper()
	c, err := k.config()
	if err != nil {
		t.Fatal(err)
	}
	c.Producer.Return.Successes, c.Producer.Partitioner, c.Producer.MaxMessageBytes = true, sarama.NewManualPartitioner, 4<<20
	p, err := sarama.NewSyncProducer(k.Brokers, c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.SendMessages(all); err != nil {
		t.Fatal(err)
	}
}

// taken is what handlers took, by partition.
type taken struct {
	mu  sync.Mutex
	of  [3][]int64
	all map[string]Incoming
}

func (w *taken) take(m Incoming) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[string]Incoming{}
	}
	w.of[m.Partition] = append(w.of[m.Partition], m.Offset)
	w.all[string(m.Value)] = m
}

func (w *taken) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.all)
}

func source(k Kafka, group string, handle func(context.Context, Incoming) error) *Source {
	return &Source{Kafka: k, Group: group, DeadLetter: k.Topic + ".dead", Handle: handle, Logger: quiet, Pause: time.Millisecond}
}

// until waits for something that other goroutines bring about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

// lag is how many messages the group has left.
func lag(t *testing.T, k Kafka, group string) (n int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	all, err := k.Lag(ctx, group)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		n += p.Lag()
	}
	return n
}

func TestSourceTakesEveryMessageInOrder(t *testing.T) {
	k := orders(t, broker(t), 90)
	if n := lag(t, k, "g"+k.Topic); n != 90 {
		t.Errorf("before anything was taken, the lag is %d", n)
	}
	var w taken
	s := source(k, "g"+k.Topic, func(_ context.Context, m Incoming) error { w.take(m); return nil })
	stop := running(t, s.Run)
	until(t, "90 are taken", func() bool { return w.count() == 90 })
	order(t, k, 90, 120)
	until(t, "120 are taken", func() bool { return w.count() == 120 && s.Progress().Lag() == 0 })
	for p, offsets := range w.of {
		if len(offsets) != 40 || !slices.IsSorted(offsets) || offsets[39] != 39 {
			t.Errorf("partition %d: %v", p, offsets)
		}
	}
	m := w.all["7"]
	if m.Topic != k.Topic || string(m.Key) != "key-7" || m.Headers["h"] != "v" || m.Partition != 1 || m.Offset != 2 || time.Since(m.Time) > time.Hour {
		t.Errorf("message %+v", m)
	}
	if p := s.Progress(); p.Taken != 120 || p.Refused != 0 || p.Err != nil || len(p.Partitions) != 3 {
		t.Errorf("progress %+v", p)
	}
	stop()
	if n := lag(t, k, "g"+k.Topic); n != 0 {
		t.Errorf("after the source was stopped, the lag is %d", n)
	}
	order(t, k, 120, 126)
	w.all = nil
	running(t, source(k, "g"+k.Topic, func(_ context.Context, m Incoming) error { w.take(m); return nil }).Run)
	until(t, "the rest is taken", func() bool { return w.count() == 6 })
}

func TestBadMessagesBecomeDeadLetters(t *testing.T) {
	k := orders(t, broker(t), 0)
	produce(t, k, &sarama.ProducerMessage{Topic: k.Topic, Key: sarama.StringEncoder("k"), Value: sarama.StringEncoder("bad"), Headers: []sarama.RecordHeader{{Key: []byte("mine"), Value: []byte("kept")}}, Timestamp: time.Date(2026, 11, 24, 12, 0, 0, 123e6, time.UTC)},
		&sarama.ProducerMessage{Topic: k.Topic, Value: sarama.StringEncoder("panics")},
		&sarama.ProducerMessage{Topic: k.Topic, Value: sarama.StringEncoder(strings.Repeat("x", 900_000))}, // fits here, and not with its headers
		&sarama.ProducerMessage{Topic: k.Topic, Value: sarama.StringEncoder("tried again")},
		&sarama.ProducerMessage{Topic: k.Topic}, // a tombstone
		&sarama.ProducerMessage{Topic: k.Topic, Value: sarama.StringEncoder("good")})
	var w taken
	tries := map[string]int{}
	s := source(k, "g"+k.Topic, func(_ context.Context, m Incoming) error {
		tries[string(m.Value)]++
		switch string(m.Value) {
		case "bad", "":
			return &RefusedError{Reason: "invalid", Err: errors.New("schema refused: því að")}
		case "panics":
			panic("a message that nobody thought of")
		case "tried again":
			return &RefusedError{Reason: "blob_not_fetched", Tries: 4, Err: errors.New("not there")}
		}
		w.take(m)
		return nil
	})
	s.MaxBytes = 800_000
	running(t, s.Run)
	until(t, "the good one is taken", func() bool { return w.count() == 1 })
	if tries["bad"] != 1 || tries["tried again"] != 4 || tries["panics"] != 3 {
		t.Errorf("tries %v", tries)
	}
	if p := s.Progress(); p.Taken != 1 || p.Refused != 5 || p.Err != nil {
		t.Errorf("progress %+v", p)
	}
	dead := k
	dead.Topic += ".dead"
	letters := messages(t, dead, 0)
	if len(letters) != 5 {
		t.Fatalf("%d dead letters", len(letters))
	}
	headers := func(m *sarama.ConsumerMessage) map[string]string {
		all := map[string]string{}
		for _, h := range m.Headers {
			all[string(h.Key)] = string(h.Value)
		}
		return all
	}
	want := map[string]string{"mine": "kept", "reason_poisoned": "schema refused: því að", "topic_poisoned": k.Topic, DeadReason: "invalid", DeadPartition: "0", DeadOffset: "0", DeadTime: "2026-11-24T12:00:00.123Z"}
	if got := headers(letters[0]); fmt.Sprint(got) != fmt.Sprint(want) || string(letters[0].Key) != "k" || string(letters[0].Value) != "bad" {
		t.Errorf("letter %v %q", got, letters[0].Value)
	}
	for i, reason := range []string{"invalid", "panic", "too_large", "blob_not_fetched", "invalid"} {
		if h := headers(letters[i]); h[DeadReason] != reason || h[DeadOffset] != fmt.Sprint(i) {
			t.Errorf("letter %d: %v", i, h)
		}
	}
	if !strings.Contains(headers(letters[1])["reason_poisoned"], "nobody thought of") {
		t.Errorf("%v", headers(letters[1]))
	}
}

// A value that the dead-letter topic does not take is left out and said to be; nothing waits for it.
func TestDeadLetterTooLarge(t *testing.T) {
	_, k := cluster(t, kfake.BrokerConfigs(map[string]string{"message.max.bytes": "4000000"}))
	k = orders(t, k, 0)
	produce(t, k, &sarama.ProducerMessage{Topic: k.Topic, Value: sarama.StringEncoder(strings.Repeat("x", 1_500_000))})
	s := source(k, "g", func(context.Context, Incoming) error { return &RefusedError{Reason: "invalid", Err: errors.New("no")} })
	running(t, s.Run)
	until(t, "it is refused", func() bool { return s.Progress().Refused == 1 })
	dead := k
	dead.Topic += ".dead"
	letter := messages(t, dead, 0)[0]
	if len(letter.Value) != 0 || !slices.ContainsFunc(letter.Headers, func(h *sarama.RecordHeader) bool {
		return string(h.Key) == DeadOmitted && string(h.Value) == "1500000"
	}) {
		t.Errorf("letter of %d bytes: %v", len(letter.Value), letter.Headers)
	}
}

// What passes is waited for, however long: the message keeps its place, nothing
// is skipped, nothing becomes a dead letter, and other partitions go on.
func TestTransientErrorsAreTriedAgain(t *testing.T) {
	k := orders(t, broker(t), 30)
	var down atomic.Bool
	down.Store(true)
	var tries atomic.Int64
	var w taken
	s := source(k, "g"+k.Topic, func(_ context.Context, m Incoming) error {
		if m.Partition == 1 && m.Offset == 3 && down.Load() {
			tries.Add(1)
			return errors.New("the store is overloaded")
		}
		w.take(m)
		return nil
	})
	running(t, s.Run)
	until(t, "the others are taken, and one is tried more often than one round of retries", func() bool { return w.count() == 23 && tries.Load() > 12 })
	if p := s.Progress(); p.Err == nil || !strings.Contains(p.Err.Error(), "overloaded") || p.Refused != 0 || p.Lag() != 7 {
		t.Errorf("progress %+v, lag %d", p, p.Lag())
	}
	down.Store(false)
	until(t, "all are taken", func() bool { return w.count() == 30 && s.Progress().Err == nil && s.Progress().Lag() == 0 })
	if !slices.IsSorted(w.of[1]) || len(w.of[1]) != 10 {
		t.Errorf("partition 1: %v", w.of[1])
	}
}

// network is a way to the brokers that can be cut: then nobody hears of its user any more.
type network struct {
	mu   sync.Mutex
	cut  bool
	open []net.Conn
}

func (n *network) dial(kind, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.cut {
		return nil, errors.New("the network is gone")
	}
	c, err := net.Dial(kind, address)
	if err == nil {
		n.open = append(n.open, c)
	}
	return c, err
}

func (n *network) sever() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut = true
	for _, c := range n.open {
		_ = c.Close()
	}
}

// Two members share a topic; one vanishes in the middle of a message, another joins: every message
// is taken, and none is marked by the one that has lost it.
func TestMembersTakeOver(t *testing.T) {
	k := orders(t, broker(t), 300)
	group := "g" + k.Topic
	var first, second taken
	var way network
	here, there := k, k
	here.Dial = way.dial
	stuck, free := make(chan bool, 100), make(chan bool)
	a := source(here, group, func(_ context.Context, m Incoming) error {
		if m.Offset == 20 {
			stuck <- true
			<-free
		}
		first.take(m)
		return nil
	})
	stopA := running(t, a.Run)
	<-stuck
	b := source(there, group, func(_ context.Context, m Incoming) error { second.take(m); return nil })
	running(t, b.Run)
	way.sever()
	union := func() int {
		first.mu.Lock()
		defer first.mu.Unlock()
		second.mu.Lock()
		defer second.mu.Unlock()
		all := map[string]bool{}
		for v := range first.all {
			all[v] = true
		}
		for v := range second.all {
			all[v] = true
		}
		return len(all)
	}
	until(t, "the second takes what the first left", func() bool { return union() == 300 && len(b.Progress().Partitions) == 3 && b.Progress().Lag() == 0 })
	close(free)
	stopA()
	if second.count() < 300-3*21 {
		t.Errorf("the second took %d of 300", second.count())
	}
	until(t, "the group has all", func() bool { return lag(t, k, group) == 0 })
}

func TestSourceSaysWhyNothingComes(t *testing.T) {
	_, k := cluster(t)
	k.Topic = "nowhere"
	s := source(k, "g", func(context.Context, Incoming) error { return nil })
	running(t, s.Run)
	until(t, "the reason is told", func() bool { return s.Progress().Err != nil })
	if err := s.Progress().Err; err.Error() != "topic nowhere does not exist" {
		t.Error(err)
	}
	if _, err := k.Lag(t.Context(), "g"); err == nil || err.Error() != "topic nowhere does not exist" {
		t.Error(err)
	}
	topic(t, k, 1)
	until(t, "it is read once it is there", func() bool { return len(s.Progress().Partitions) == 1 && s.Progress().Err == nil })
	k.Dial = func(string, string) (net.Conn, error) { return nil, errors.New("address not allowed") }
	if _, err := k.Lag(t.Context(), "g"); err == nil {
		t.Error("an address that is not allowed was reached")
	}
	if err := (&Source{}).Run(t.Context()); err == nil {
		t.Error("a source without a handler ran")
	}
}
