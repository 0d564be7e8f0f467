package commands

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/bus"
	"varve/eventstore/servertest"
)

// send writes values to partitions of the topic in turn.
func send(t *testing.T, k bus.Kafka, from, to int) {
	t.Helper()
	c := sarama.NewConfig()
	c.Producer.Return.Successes, c.Producer.Partitioner = true, sarama.NewManualPartitioner
	p, err := sarama.NewSyncProducer(k.Brokers, c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for i := from; i < to; i++ {
		value := fmt.Sprintf(`{"text":"%d"}`, i)
		if i%10 == 9 {
			value = "bad"
		}
		if _, _, err := p.SendMessage(&sarama.ProducerMessage{Topic: k.Topic, Partition: int32(i % 3), Value: sarama.StringEncoder(value)}); err != nil {
			t.Fatal(err)
		}
	}
}

func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

func runTopics(t *testing.T, h *Handler) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.RunTopics(ctx) }()
	var once atomic.Bool
	stop = func() {
		if once.CompareAndSwap(false, true) {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	t.Cleanup(stop)
	return stop
}

// wavering is a store that refuses every third append, as one that is overloaded.
type wavering struct {
	eventstore.Follower
	n atomic.Int64
}

func (w *wavering) Append(ctx context.Context, a eventstore.Append) (eventstore.Appended, error) {
	switch n := w.n.Add(1); {
	case n%3 == 0:
		return eventstore.Appended{}, &eventstore.OverloadedError{RetryAfter: time.Millisecond}
	case n%7 == 0: // it happened, and nobody hears of it
		_, _ = w.Follower.Append(ctx, a)
		return eventstore.Appended{}, errors.New("connection lost")
	}
	return w.Follower.Append(ctx, a)
}

// A change that could not be looked at is looked at again, though nothing more changes.
func TestTopicsAreLookedAtAgain(t *testing.T) {
	h, ref, _ := topics(t, "", `{"topic":"orders"}`)
	namespaces, fails := h.Topics.Namespaces, atomic.Bool{}
	h.Topics.Namespaces = func(ctx context.Context) ([]TopicRef, error) {
		if fails.CompareAndSwap(true, false) {
			return nil, errors.New("the read model is busy")
		}
		return namespaces(ctx)
	}
	runTopics(t, h)
	paused := func() bool { return len(h.Topics.States()) == 0 }
	until(t, "the topic is read", func() bool { return !paused() })
	fails.Store(true)
	saveTopic(t, h, ref, `{"paused":true}`)
	until(t, "the pause is seen", paused)
	if fails.Load() {
		t.Error("nothing failed")
	}
}

// Two processes share a topic, the store wavers, one process dies in the middle: every message is exactly one object,
// bad ones are dead letters, once each, and pausing, resuming and deleting hold.
func TestEveryMessageIsOneObject(t *testing.T) {
	h, ref, k := topics(t, "", `{"topic":"orders"}`)
	send(t, k, 0, 150)
	second := handler(&wavering{Follower: h.Store})
	dying := &crashing{Follower: h.Store, left: 20, after: true}
	first := handler(dying)
	for _, other := range []*Handler{first, second} {
		other.Topics = &Topics{Bus: h.Topics.Bus, Secret: h.Topics.Secret, Random: rand.Reader, Namespaces: h.Topics.Namespaces}
	}
	stopFirst := runTopics(t, first)
	until(t, "the first dies", func() bool { dying.mu.Lock(); defer dying.mu.Unlock(); return dying.crashed })
	stopSecond := runTopics(t, second)
	stopFirst()
	distinct := func() int { return len(saves(t, h, ref)) }
	until(t, "what is good is taken", func() bool { return distinct() == 135 })
	lag := func() int64 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		all, _, err := second.Topics.Lag(ctx, ref.Log, mustTopic(t, h, ref))
		n := int64(0)
		for _, p := range all {
			n += p.Lag()
		}
		if err != nil {
			return -1
		}
		return n
	}
	until(t, "the group has all", func() bool { return lag() == 0 })
	states := second.Topics.States()
	if len(states) != 1 || states[0].TopicID != ref.TopicID || states[0].Err != nil || states[0].Lag() != 0 || len(states[0].Partitions) != 3 {
		t.Errorf("states %+v", states)
	}
	saveTopic(t, h, ref, `{"paused":true}`)
	until(t, "it is paused", func() bool { return len(second.Topics.States()) == 0 })
	send(t, k, 150, 180)
	if n := lag(); n != 30 || distinct() != 135 {
		t.Errorf("while it is paused, the lag is %d and there are %d objects", n, distinct())
	}
	saveTopic(t, h, ref, `{"paused":false}`)
	until(t, "it goes on", func() bool { return distinct() == 162 && lag() == 0 })
	for text, n := range saves(t, h, ref) {
		if n != 1 {
			t.Errorf("%s was saved %d times", text, n)
		}
	}
	dead := k
	dead.Topic += ".dead-letter"
	if letters := letters(t, dead); letters != 18 {
		t.Errorf("%d dead letters, want 18", letters)
	}
	if _, err := h.DeleteTopic(t.Context(), ref.system(), "b", "orders"); err != nil {
		t.Fatal(err)
	}
	until(t, "it ends", func() bool { return len(second.Topics.States()) == 0 })
	stopSecond()
}

func mustTopic(t *testing.T, h *Handler, ref TopicRef) domain.Topic {
	t.Helper()
	c, _, err := h.Configs.Head(t.Context(), ref.Log)
	if err != nil {
		t.Fatal(err)
	}
	return c.Topics[ref.TopicID]
}

// letters counts the messages of a topic of one partition, by the value of each place that they came from.
func letters(t *testing.T, k bus.Kafka) int {
	t.Helper()
	places := map[string]bool{}
	for _, m := range servertest.Messages(t, k.Brokers, nil, k.Topic, 0) {
		place := ""
		for _, h := range m.Headers {
			if name := string(h.Key); name == bus.DeadPartition || name == bus.DeadOffset {
				place += name + string(h.Value)
			}
		}
		places[place] = true
	}
	return len(places)
}
