package commands

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/bus"
)

// topics makes a handler with a namespace of a bucket "b" and a topic of it, on a broker of this process.
func topics(t *testing.T, bucket, topic string) (*Handler, TopicRef, bus.Kafka) {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	store, ref := submittedOf(t, `{"text":"one two"}`)
	h := handler(store)
	own := bus.Kafka{Brokers: c.ListenAddrs()}
	n := TopicRef{OrganizationID: ref.OrganizationID, Organization: ref.Organization, Log: ref.Log, Shard: ref.Shard}
	h.Topics = &Topics{Bus: &own, Secret: bytes.Repeat([]byte{7}, 32), Random: rand.Reader,
		Namespaces: func(context.Context) ([]TopicRef, error) { return []TopicRef{n}, nil }}
	if bucket != "" {
		if _, err := h.SaveBucket(t.Context(), n.system(), SaveBucket{Identifier: "b", Force: true, Change: func(b domain.Bucket) (domain.Bucket, error) {
			return b, json.Unmarshal([]byte(bucket), &b)
		}}); err != nil {
			t.Fatal(err)
		}
	}
	made := saveTopic(t, h, n, topic)
	n.TopicID = made.TopicID
	own.Topic = made.Topic
	if _, err := own.Ensure(3); err != nil {
		t.Fatal(err)
	}
	return h, n, own
}

func saveTopic(t *testing.T, h *Handler, n TopicRef, topic string) domain.Topic {
	t.Helper()
	made, err := h.SaveTopic(t.Context(), n.system(), SaveTopic{Bucket: "b", Identifier: n.TopicID, Change: func(k domain.Topic) (domain.Topic, error) { return k, json.Unmarshal([]byte(topic), &k) }})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// objectsOf reads what a namespace's log holds of objects: how often each was saved, by its fields.
func saves(t *testing.T, h *Handler, ref TopicRef) map[string]int {
	t.Helper()
	all := map[string]int{}
	for r, err := range h.Store.Read(context.Background(), ref.Log, 0, 1<<30) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Type == "object.saved" && r.Meta.Origin == "kafka" {
			e, err := domain.DecodeEvent(r.Type, r.Schema, r.Data)
			if err != nil {
				t.Fatal(err)
			}
			all[string(e.(*domain.ObjectSaved).Fields["text"])]++
		}
	}
	return all
}

func types(t *testing.T, h *Handler, ref TopicRef, after uint64) (all []string) {
	t.Helper()
	for r, err := range h.Store.Read(context.Background(), ref.Log, after, 1<<30) {
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r.Type)
	}
	return all
}

func head(t *testing.T, h *Handler, ref TopicRef) uint64 {
	t.Helper()
	l, err := h.Store.LogHead(context.Background(), ref.Log)
	if err != nil {
		t.Fatal(err)
	}
	return l.Position
}

func incoming(partition int32, offset int64, value string) bus.Incoming {
	return bus.Incoming{Topic: "orders", Partition: partition, Offset: offset, Time: time.UnixMilli(1_700_000_000_000), Key: []byte("k"), Value: []byte(value), Headers: map[string]string{"h": "v"}}
}

func TestTakeMessageOnce(t *testing.T) {
	h, ref, _ := topics(t, "", `{"topic":"orders","mapping":{"fields":{"text":"$.body.text","from":"@headers.h","at":"@timestamp","n":"@offset"},"metadata":{"key":"@key"},"key":"@partition"}}`)
	at := head(t, h, ref)
	for range 2 {
		if err := h.TakeMessage(t.Context(), ref, incoming(2, 5, `{"body":{"text":"hello"}}`)); err != nil {
			t.Fatal(err)
		}
	}
	if got := types(t, h, ref, at); len(got) != 1 {
		t.Fatalf("events %v", got)
	}
	var saved *domain.ObjectSaved
	for r := range h.Store.Read(t.Context(), ref.Log, at, 1) {
		e, err := domain.DecodeEvent(r.Type, 1, r.Data)
		if err != nil {
			t.Fatal(err)
		}
		saved = e.(*domain.ObjectSaved)
		if r.Meta.Actor != "system:topic:"+ref.TopicID || r.Meta.Origin != "kafka" || r.Meta.Correlation != "orders/2/5" {
			t.Errorf("metadata %+v", r.Meta)
		}
	}
	fields, _ := json.Marshal(saved.Fields)
	if string(fields) != `{"at":"2023-11-14T22:13:20.000Z","from":"v","n":5,"text":"hello"}` || string(saved.Metadata) != `{"key":"k"}` || saved.KeyPrefix != "2" {
		t.Errorf("object %s %s %s", fields, saved.Metadata, saved.KeyPrefix)
	}
	// The same after its object was deleted, and after the store's own memory of keys has passed.
	if err := h.DeleteObject(t.Context(), ref.system(), "b", saved.ObjectID, ""); err != nil {
		t.Fatal(err)
	}
	at = head(t, h, ref)
	if err := h.TakeMessage(t.Context(), ref, incoming(2, 5, `{"body":{"text":"hello"}}`)); err != nil || head(t, h, ref) != at {
		t.Errorf("a deleted object came again: %v %v", err, types(t, h, ref, at))
	}
	// Another offset, and the same offset of a topic made anew, are other messages.
	anew := incoming(2, 5, `{"body":{"text":"other"}}`)
	anew.Time = anew.Time.Add(time.Hour)
	for _, m := range []bus.Incoming{incoming(2, 6, `{"body":{"text":"hello"}}`), anew} {
		if err := h.TakeMessage(t.Context(), ref, m); err != nil {
			t.Fatal(err)
		}
	}
	if got := saves(t, h, ref); got[`"hello"`] != 2 || got[`"other"`] != 1 {
		t.Errorf("saved %v", got)
	}
}

func TestTakeMessageRefuses(t *testing.T) {
	h, ref, _ := topics(t, `{"bucket_schema":{"properties":{"text":{"type":"text","required":true},"n":{"type":"integer"}}},"unique_key":{"fields":["n"]}}`,
		`{"topic":"orders","mapping":{"fields":{"text":"text","n":"n"},"blobs":[{"property":"text","type":"text","path":"blob"}]}}`)
	for i, one := range []struct{ name, value, reason string }{
		{"good", `{"text":"a","n":1}`, ""},
		{"no JSON", `{"text":`, "bad_request"},
		{"a tombstone", ``, "bad_request"},
		{"nothing of the mapping", `{"other":1}`, "invalid"},
		{"the schema says no", `{"text":"a","n":"seven"}`, "invalid"},
		{"a field is missing", `{"n":3}`, "invalid"},
		{"the key is missing", `{"text":"a"}`, "invalid"},
		{"the key is taken", `{"text":"b","n":1}`, "unique_key_taken"},
		{"a blob that cannot be fetched", `{"n":9,"blob":"data:text/plain;base64,%%%"}`, "blob_not_fetched"},
	} {
		err := h.TakeMessage(t.Context(), ref, incoming(0, int64(i), one.value))
		var refused *bus.RefusedError
		if one.reason == "" && err != nil || one.reason != "" && (!errors.As(err, &refused) || refused.Reason != one.reason) {
			t.Errorf("%s: %v %+v", one.name, err, refused)
		}
	}
	passes := func(name string, err error) {
		t.Helper()
		if refused := (*bus.RefusedError)(nil); err == nil || errors.As(err, &refused) {
			t.Errorf("%s: %v, want an error that passes", name, err)
		}
	}
	passes("overloaded", refusal(translate(&eventstore.OverloadedError{})))
	passes("closed", refusal(translate(eventstore.ErrClosed)))
	passes("a race", refusal(translate(&eventstore.ConflictError{})))
	passes("a bucket that ends", refusal(domain.NotFound("bucket", "b")))
	passes("the disk", refusal(errors.New("no space left")))
	saveTopic(t, h, ref, `{"paused":true}`)
	passes("paused", h.TakeMessage(t.Context(), ref, incoming(0, 99, `{"text":"a","n":99}`)))
}

// In a bucket with a unique key and policy upsert a later message changes the object, and an earlier one that comes again does not.
func TestTakeMessageUpserts(t *testing.T) {
	h, ref, _ := topics(t, `{"bucket_schema":{"properties":{"text":{"type":"text"},"n":{"type":"integer"}}},"unique_key":{"fields":["n"],"default_policy":"upsert"}}`, `{"topic":"orders"}`)
	at := head(t, h, ref)
	for _, m := range []bus.Incoming{incoming(0, 0, `{"n":1,"text":"old"}`), incoming(0, 1, `{"n":1,"text":"new"}`), incoming(0, 0, `{"n":1,"text":"old"}`), incoming(0, 1, `{"n":1,"text":"new"}`)} {
		if err := h.TakeMessage(t.Context(), ref, m); err != nil {
			t.Fatal(err)
		}
	}
	if got := saves(t, h, ref); len(types(t, h, ref, at)) != 2 || got[`"old"`] != 1 || got[`"new"`] != 1 {
		t.Errorf("saved %v", got)
	}
}

// A blob is fetched once, whatever comes again.
func TestTakeMessageFetchesOnce(t *testing.T) {
	for _, unique := range []string{``, `,"unique_key":{"fields":["n"],"default_policy":"upsert"}`} {
		h, ref, _ := topics(t, `{"bucket_schema":{"properties":{"text":{"type":"text"},"n":{"type":"integer"}}}`+unique+`}`,
			`{"topic":"orders","mapping":{"fields":{"n":"n"},"blobs":[{"property":"text","type":"text","path":"note"}]}}`)
		at := head(t, h, ref)
		if err := h.TakeMessage(t.Context(), ref, incoming(0, 0, `{"n":1,"note":"short"}`)); err != nil {
			t.Fatal(err)
		}
		again := incoming(0, 0, `{"n":1,"note":"short"}`)
		entropy := h.Entropy
		h.Entropy = func() [16]byte { t.Error("the blob was taken again"); return entropy() }
		if err := h.TakeMessage(t.Context(), ref, again); err != nil || len(types(t, h, ref, at)) != 1 {
			t.Errorf("%v %v", err, types(t, h, ref, at))
		}
	}
}

func TestTakeMessageProcesses(t *testing.T) {
	h, ref, _ := topics(t, "", `{"topic":"orders","process":true}`)
	at := head(t, h, ref)
	for range 2 {
		if err := h.TakeMessage(t.Context(), ref, incoming(0, 0, `{"text":"one two three"}`)); err != nil {
			t.Fatal(err)
		}
	}
	if got := fmt.Sprint(types(t, h, ref, at)); got != "[object.saved batch.saved batch.submitted]" {
		t.Errorf("events %s", got)
	}
}

// A process that ends at any append of a message, before or after it, leaves what the next one completes: one object,
// one batch, submitted once.
func TestTakeMessageCrashes(t *testing.T) {
	for left := range 4 {
		for _, after := range []bool{false, true} {
			h, ref, _ := topics(t, "", `{"topic":"orders","process":true}`)
			at := head(t, h, ref)
			dying := handler(&crashing{Follower: h.Store, left: left, after: after})
			dying.Topics = h.Topics
			err := dying.TakeMessage(t.Context(), ref, incoming(0, 0, `{"text":"one two three"}`))
			if (err == nil) != (left == 3) {
				t.Errorf("died at append %d: %v", left, err)
			}
			if err := h.TakeMessage(t.Context(), ref, incoming(0, 0, `{"text":"one two three"}`)); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(types(t, h, ref, at)); got != "[object.saved batch.saved batch.submitted]" {
				t.Errorf("died at append %d (after it: %v): events %s", left, after, got)
			}
		}
	}
}

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
	client, err := sarama.NewClient(k.Brokers, sarama.NewConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	end, err := client.GetOffset(k.Topic, 0, sarama.OffsetNewest)
	if err != nil {
		t.Fatal(err)
	}
	consumer, err := sarama.NewConsumerFromClient(client)
	if err != nil {
		t.Fatal(err)
	}
	defer consumer.Close()
	p, err := consumer.ConsumePartition(k.Topic, 0, sarama.OffsetOldest)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	places := map[string]bool{}
	for range end {
		m := <-p.Messages()
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

func TestTopicsAreWhereTheyMayBe(t *testing.T) {
	h, ref, k := topics(t, "", `{"topic":"orders"}`)
	h.Topics.Reserved, h.Topics.Open = []string{"own.events"}, []string{"orders", "orders.*", "in.{organization}.*"}
	for _, one := range []struct{ name, topic, wrong string }{
		{"open", `{"topic":"orders.eu"}`, ""},
		{"of the organization", `{"topic":"in.` + ref.OrganizationID + `.a","dead_letter_topic":"orders.d"}`, ""},
		{"not open", `{"topic":"secrets","dead_letter_topic":"orders.d"}`, "topic"},
		{"of another organization", `{"topic":"in.org_2.a","dead_letter_topic":"orders.d"}`, "topic"},
		{"dead letters that are not open", `{"topic":"orders.b","dead_letter_topic":"x"}`, "dead_letter_topic"},
		{"Varve's own", `{"topic":"own.events","brokers":["kafka.example.com:9092"]}`, "topic"},
		{"the bus by its address", `{"topic":"orders.c","brokers":["` + k.Brokers[0] + `"]}`, "brokers[0]"},
		{"loopback", `{"topic":"a","brokers":["127.0.0.1:9"]}`, "brokers[0]"},
		{"loopback by name", `{"topic":"a","brokers":["kafka.example.com:9092","LOCALHOST.:9"]}`, "brokers[1]"},
		{"private", `{"topic":"a","brokers":["10.1.2.3:9092"]}`, "brokers[0]"},
		{"mapped", `{"topic":"a","brokers":["[::ffff:10.1.2.3]:9092"]}`, "brokers[0]"},
		{"link-local", `{"topic":"a","brokers":["169.254.169.254:80"]}`, "brokers[0]"},
		{"public", `{"topic":"a","brokers":["kafka.example.com:9092"],"sasl":"plain","user":"u","password":"hunter2","tls":true}`, ""},
	} {
		made, err := h.SaveTopic(t.Context(), ref.system(), SaveTopic{Bucket: "b", Change: func(k domain.Topic) (domain.Topic, error) { return k, json.Unmarshal([]byte(one.topic), &k) }})
		var e *domain.Error
		if one.wrong == "" && err != nil || one.wrong != "" && (!errors.As(err, &e) || len(e.Violations) != 1 || e.Violations[0].Path != one.wrong) {
			t.Errorf("%s: %v", one.name, err)
		}
		if one.name == "public" && err == nil {
			if made.Password == "" || strings.Contains(made.Password, "hunter2") {
				t.Errorf("the password is kept as %q", made.Password)
			}
			reached, err := h.Topics.kafka(made)
			if err != nil || reached.Password != "hunter2" || reached.TLS == nil || reached.Dial == nil || strings.Contains(reached.String(), "hunter2") {
				t.Errorf("reached as %v: %v", reached, err)
			}
			if _, err := reached.Dial("tcp", k.Brokers[0]); err == nil {
				t.Error("a private address that a name led to was reached")
			}
			again := saveTopic(t, h, TopicRef{OrganizationID: ref.OrganizationID, Organization: ref.Organization, Log: ref.Log, Shard: ref.Shard, TopicID: made.TopicID}, `{"paused":true}`)
			if again.Password != made.Password {
				t.Error("the password was sealed twice")
			}
			other := made
			other.TopicID = "top_other"
			if _, err := h.Topics.kafka(other); err == nil {
				t.Error("a sealed password opens for another topic")
			}
		}
	}
	h.Topics.AllowPrivate = true
	if err := h.Topics.allow(ref.system(), domain.Topic{Topic: "a", Brokers: []string{"127.0.0.1:9"}}); err != nil {
		t.Error(err)
	}
	h.Topics = nil
	if _, err := h.SaveTopic(t.Context(), ref.system(), SaveTopic{Bucket: "b", Change: func(k domain.Topic) (domain.Topic, error) { k.Topic = "z"; return k, nil }}); domain.CodeOf(err) != domain.CodeUnsupported {
		t.Error(err)
	}
}
