package bus

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"varve/eventstore"
	"varve/eventstore/follow"
)

func tail(t testing.TB, s eventstore.Follower, k Kafka) *Tail {
	t.Helper()
	x, err := NewTail(s, k, TailOptions{Logger: quiet, Patience: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return x
}

// live waits until a tail takes messages in.
func live(t testing.TB, x *Tail) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for _, w := range x.windows {
		for {
			w.mu.Lock()
			on, changed := w.live, w.changed
			w.mu.Unlock()
			if on {
				break
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatal("the tail does not get to Kafka")
			}
		}
	}
}

// followed runs one follower a shard over a tail.
func followed(t testing.TB, x *Tail, ledgers []*ledger) (reach, stop func()) {
	t.Helper()
	var all []*follow.Follower
	var stops []func()
	for shard := range x.Shards() {
		f := &follow.Follower{Store: x, Shard: shard, Name: "ledger", Consumer: ledgers[shard], Logger: quiet}
		all, stops = append(all, f), append(stops, running(t, f.Run))
	}
	reach = func() {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		for shard, f := range all {
			head, _ := x.Head(ctx, shard)
			if err := f.WaitApplied(ctx, head); err != nil {
				t.Fatalf("shard %d is at %d of %d: %v", shard, f.Applied(), head, err)
			}
		}
	}
	return reach, func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// From append to a consumer by way of Kafka.
func TestTailFollowsTheRelay(t *testing.T) {
	k := broker(t)
	s := store(t, 3)
	topic(t, k, 3)
	write(t, s, 10) // before anybody listens
	r := relay(t, s, k, directory(t))
	x := tail(t, s, k)
	defer running(t, x.Run)()
	live(t, x)
	ledgers := []*ledger{{}, {}, {}}
	reach, stop := followed(t, x, ledgers)
	defer stop()
	reach()
	defer running(t, r.Run)()
	write(t, s, 100)
	reach()
	stop()
	for shard, l := range ledgers {
		l.expect(t, s, shard)
	}
	if got := x.Stats(); got.Refused > 0 {
		t.Errorf("where records came from: %+v", got)
	}
	t.Logf("%+v", x.Stats())
}

// Who read the store, and is ahead of the messages, begins again where it was.
func TestTailBeginsAheadOfMessages(t *testing.T) {
	s := store(t, 1)
	put(t, s, 0, "a", 5)
	all := feed(t, s, 0)
	x := tail(t, s, Kafka{Brokers: []string{"127.0.0.1:1"}})
	x.windows[0].add(decoded{Record: all[2]}) // the newest message
	for i := range all {
		if err := follow.Check(t.Context(), x, "ledger", 0, follow.At(&all[i])); err != nil {
			t.Error(err)
		}
		other := follow.At(&all[i])
		other.Hash[0]++
		if err := follow.Check(t.Context(), x, "ledger", 0, other); err == nil {
			t.Errorf("position %d of another store is accepted", all[i].Feed)
		}
	}
}

// Whatever arrives, in whatever order, a consumer gets the feed.
func TestTailWhateverArrives(t *testing.T) {
	s := store(t, 1)
	for i := range 60 {
		e := eventstore.Event{Type: "thing.happened", Data: fmt.Appendf(nil, `{"i":%d}`, i)}
		if i%7 == 3 {
			e.Attachments = []eventstore.Attachment{{Name: "v", Bytes: []byte{1, 2, 3, byte(i)}}}
		}
		if _, err := s.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: "a", Stream: "s", Events: []eventstore.Event{e}}}}); err != nil {
			t.Fatal(err)
		}
	}
	all := feed(t, s, 0)
	rapid.Check(t, func(rt *rapid.T) {
		x, err := NewTail(s, Kafka{Brokers: []string{"nowhere:1"}}, TailOptions{Logger: quiet, Window: rapid.IntRange(1, 20).Draw(rt, "window")})
		if err != nil {
			rt.Fatal(err)
		}
		at := 0
		for range rapid.IntRange(0, 120).Draw(rt, "messages") {
			at += rapid.SampledFrom([]int{1, 1, 1, 1, 1, 1, 2, 5, 0, -1, -4}).Draw(rt, "step")
			at = min(max(at, 0), len(all))
			r := all[max(at, 1)-1]
			switch rapid.IntRange(0, 30).Draw(rt, "kind") {
			case 0:
				r.Feed += 1000 // of a store that had more
			case 1:
				r.Shard = 7 // in a partition that is not its own
			}
			headers, value := encode(&r, "varve", defaultMaxBytes)
			if rapid.IntRange(0, 20).Draw(rt, "damaged") == 0 {
				value = []byte("\x00")
			}
			x.arrived(context.Background(), 0, &sarama.ConsumerMessage{Headers: pointers(headers), Value: value})
		}
		after := uint64(rapid.IntRange(0, len(all)).Draw(rt, "after"))
		limit := rapid.IntRange(0, 15).Draw(rt, "limit")
		var got []eventstore.Record
		for place := after; ; {
			n := 0
			for r, err := range x.Feed(context.Background(), 0, place, limit) {
				if err != nil {
					rt.Fatal(err)
				}
				got, place = append(got, r), r.Feed
				n++
			}
			if limit > 0 && n > limit {
				rt.Fatalf("%d records, at most %d wanted", n, limit)
			}
			if n == 0 {
				if place < x.windows[0].last() {
					rt.Fatalf("the feed ends at %d, the window at %d", place, x.windows[0].last())
				}
				if place == uint64(len(all)) {
					break
				}
				x.windows[0].know(uint64(len(all))) // what Wait does when nothing comes in time
				if limit == 0 {
					rt.Fatalf("without a limit the feed ended at %d of %d", place, len(all))
				}
			}
		}
		want := all[after:]
		same := func(a, b eventstore.Record) bool {
			return a.ID == b.ID && a.Feed == b.Feed && a.Hash == b.Hash && string(a.Data) == string(b.Data) && len(a.Attachments) == len(b.Attachments) && a.Meta == b.Meta
		}
		if !slices.EqualFunc(got, want, same) {
			rt.Fatalf("%d records after %d, want %d", len(got), after, len(want))
		}
	})
}

// Lost, doubled, swapped, unreadable and foreign messages, over the real protocol.
func TestTailInjectedMessages(t *testing.T) {
	k := broker(t)
	s := store(t, 1)
	topic(t, k, 1)
	x, l := tail(t, s, k), &ledger{}
	defer running(t, x.Run)()
	live(t, x)
	reach, stop := followed(t, x, []*ledger{l})
	defer stop()
	p := publisher(t, k)
	send := func(records ...eventstore.Record) {
		t.Helper()
		if _, err := p.Send(t.Context(), records); err != nil {
			t.Fatal(err)
		}
	}
	raw := func(headers []sarama.RecordHeader, value string) {
		t.Helper()
		if err := p.sendOne(&sarama.ProducerMessage{Topic: k.TopicName(), Headers: headers, Value: sarama.StringEncoder(value)}); err != nil {
			t.Fatal(err)
		}
	}
	put(t, s, 0, "a", 10)
	all := feed(t, s, 0)
	send(all[0], all[1], all[1], all[0])    // doubled
	send(all[4], all[3], all[2])            // a gap, then backwards
	raw(nil, "what is this?")               // of somebody else
	foreign, _ := encode(&all[5], "v2", 99) // of another store
	raw(foreign, "")
	future := all[5]
	future.Feed = 5000
	send(future) // of a store that was longer
	send(all[6], all[9])
	reach()
	put(t, s, 0, "b", 10) // never sent
	reach()
	put(t, s, 0, "b", 10)
	send(feed(t, s, 0)[20:]...)
	reach()
	arrived(t, x, 0, 30)
	stop()
	l.expect(t, s, 0)
	if got := x.Stats(); got.Refused != 3 || got.Repeated != 4 || got.Gaps != 5 {
		t.Errorf("refused, repeated and gaps: %+v", got)
	}
}

// arrived waits until a message of that feed position came in.
func arrived(t testing.TB, x *Tail, shard int, feed uint64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for w := x.windows[shard]; ; {
		w.mu.Lock()
		last, changed := w.last(), w.changed
		w.mu.Unlock()
		if last >= feed {
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("message %d does not come: %d is the newest", feed, last)
		}
	}
}

// While nothing is lost, the store is not asked.
func TestTailTakesFromKafka(t *testing.T) {
	k := broker(t)
	s := store(t, 1)
	topic(t, k, 1)
	x, l := tail(t, s, k), &ledger{}
	x.patience = time.Minute
	defer running(t, x.Run)()
	live(t, x)
	defer running(t, relay(t, s, k, directory(t)).Run)()
	reach, stop := followed(t, x, []*ledger{l})
	defer stop()
	put(t, s, 0, "a", 1)
	reach()
	arrived(t, x, 0, 1)
	before := x.Stats()
	for range 20 {
		put(t, s, 0, "a", 5)
		reach()
	}
	if got := x.Stats(); got.Store != before.Store || got.Kafka != before.Kafka+100 {
		t.Errorf("before %+v, after %+v", before, got)
	}
	stop()
	l.expect(t, s, 0)
}

// Attachments are whole although messages carry only their digests.
func TestTailAttachments(t *testing.T) {
	k := broker(t)
	s := store(t, 1)
	topic(t, k, 1)
	x, l := tail(t, s, k), &ledger{}
	defer running(t, x.Run)()
	live(t, x)
	defer running(t, relay(t, s, k, directory(t)).Run)()
	reach, stop := followed(t, x, []*ledger{l})
	defer stop()
	for i := range 30 {
		e := eventstore.Event{Type: "thing.happened", Data: []byte("{}")}
		if i%3 == 0 {
			e.Attachments = []eventstore.Attachment{{Name: "v", Bytes: []byte{byte(i), 1}}}
		}
		if _, err := s.Append(t.Context(), eventstore.Append{Batches: []eventstore.Batch{{Log: "a", Stream: "s", Events: []eventstore.Event{e}}}}); err != nil {
			t.Fatal(err)
		}
	}
	reach()
	stop()
	l.expect(t, s, 0)
}

// A topic deleted and made anew, fetches that fail, a place that retention took
// away: the consumer gets on by the store, and by Kafka again afterwards.
func TestTailSurvivesItsTopic(t *testing.T) {
	c, k := cluster(t)
	s := store(t, 1)
	topic(t, k, 1)
	x, l := tail(t, s, k), &ledger{}
	defer running(t, x.Run)()
	live(t, x)
	r := relay(t, s, k, directory(t))
	stopRelay := running(t, r.Run)
	defer stopRelay()
	reach, stop := followed(t, x, []*ledger{l})
	defer stop()
	put(t, s, 0, "a", 50)
	reach()
	published(t, s, r)
	c.Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.Fetch}, Err: kerr.OffsetOutOfRange, Count: 1})
	put(t, s, 0, "a", 50)
	reach()
	published(t, s, r)
	remake(t, k)
	put(t, s, 0, "a", 50)
	reach()
	published(t, s, r)
	l.expect(t, s, 0)
	byKafkaAgain(t, s, r, x, 150)
}

// byKafkaAgain writes to shard 0 until its tail takes in messages beyond a feed
// position: it needs a moment to find a new topic.
func byKafkaAgain(t testing.TB, s eventstore.Follower, r *Relay, x *Tail, beyond uint64) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); x.windows[0].newest() <= beyond; {
		put(t, s, 0, "a", 1)
		published(t, s, r)
		if time.Now().After(deadline) {
			t.Fatalf("the tail does not get back to Kafka: %+v", x.Stats())
		}
	}
}

func remake(t *testing.T, k Kafka) {
	t.Helper()
	admin := administrator(t, k)
	defer admin.Close()
	if err := admin.DeleteTopic(k.TopicName()); err != nil {
		t.Fatal(err)
	}
	topic(t, k, 1)
}

// Without Kafka a tail is the store.
func TestTailWithoutKafka(t *testing.T) {
	c, k := cluster(t)
	c.Close()
	s := store(t, 2)
	x := tail(t, s, k)
	defer running(t, x.Run)()
	ledgers := []*ledger{{}, {}}
	reach, stop := followed(t, x, ledgers)
	defer stop()
	var writers sync.WaitGroup
	for shard := range 2 {
		writers.Go(func() { put(t, s, shard, eventstore.LogID(fmt.Sprint("log", shard)), 50) })
	}
	writers.Wait()
	reach()
	for shard, l := range ledgers {
		l.expect(t, s, shard)
	}
	if n := x.Stats().Kafka; n != 0 {
		t.Errorf("%d records came by a Kafka that is not there", n)
	}
}
