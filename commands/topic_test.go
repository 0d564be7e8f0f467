package commands

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

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

// saves reads what a namespace's log holds of objects: how often each was saved, by its fields.
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
	passes("overloaded", refusal(Translate(&eventstore.OverloadedError{})))
	passes("closed", refusal(Translate(eventstore.ErrClosed)))
	passes("a race", refusal(Translate(&eventstore.ConflictError{})))
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
