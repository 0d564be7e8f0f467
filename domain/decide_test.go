package domain

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// given folds events into a configuration, as versions 1, 2, 3, ….
func given(events ...EventData) Config {
	c := Config{}
	for i, e := range events {
		c = c.Apply(e, Stamp{Position: uint64(10 * (i + 1)), Version: uint64(i + 1), Time: time.Unix(int64(i), 0).UTC()})
	}
	return c
}

func bucketSaved(id, name string) *BucketSaved {
	return &BucketSaved{Bucket{BucketID: id, Name: name, Schema: json.RawMessage(`{"properties":{"text":{"type":"text"},"n":{"type":"integer"}}}`)}}
}

func collectionSaved(id, name string, source CollectionSource) *CollectionSaved {
	return &CollectionSaved{Collection{CollectionID: id, Name: name, Source: source, Enabled: true}}
}

var (
	fromBucket = CollectionSource{Type: "bucket", BucketIDs: []string{"bkt_a"}}
	over       = func(ids ...string) CollectionSource { return CollectionSource{Type: "collection", CollectionIDs: ids} }
)

// When a decision is asked of what was given, then it is this event, or this refusal.
func TestDecisions(t *testing.T) {
	abc := given(bucketSaved("bkt_a", "a"), collectionSaved("col_1", "one", fromBucket), collectionSaved("col_2", "two", over("col_1")),
		&RetrieverSaved{Retriever{RetrieverID: "ret_1", Name: "find", Stages: []Stage{{Name: "s"}}}})
	for _, c := range []struct {
		name  string
		given Config
		when  func(Config) (EventData, error)
		then  string // type of the event, or a piece of the refusal
		code  Code
	}{
		{"a bucket", Config{}, func(c Config) (EventData, error) { return c.SaveBucket(bucketSaved("bkt_a", "a").Bucket, false) }, "bucket.saved", ""},
		{"a bucket's name in use", abc, func(c Config) (EventData, error) { return c.SaveBucket(bucketSaved("bkt_b", "a").Bucket, false) }, "a bucket named a exists", CodeConflict},
		{"a bucket's own name", abc, func(c Config) (EventData, error) { return c.SaveBucket(bucketSaved("bkt_a", "a").Bucket, false) }, "bucket.saved", ""},
		{"a name that differs in case", abc, func(c Config) (EventData, error) { return c.SaveBucket(bucketSaved("bkt_b", "A").Bucket, false) }, "bucket.saved", ""},
		{"a schema of no type", Config{}, func(c Config) (EventData, error) {
			return c.SaveBucket(Bucket{Name: "a", Schema: json.RawMessage(`{"properties":{"x":{"type":"poem"}}}`)}, false)
		}, "bucket_schema.properties.x.type", CodeInvalid},
		{"a breaking schema", abc, func(c Config) (EventData, error) {
			return c.SaveBucket(Bucket{BucketID: "bkt_a", Name: "a", Schema: json.RawMessage(`{"properties":{"text":{"type":"text"},"n":{"type":"boolean"}}}`)}, false)
		}, "force_schema_break", CodeInvalid},
		{"a breaking schema by force", abc, func(c Config) (EventData, error) {
			return c.SaveBucket(Bucket{BucketID: "bkt_a", Name: "a", Schema: json.RawMessage(`{"properties":{"text":{"type":"text"},"n":{"type":"boolean"}}}`)}, true)
		}, "bucket.saved", ""},
		{"a unique key of nothing", Config{}, func(c Config) (EventData, error) {
			return c.SaveBucket(Bucket{Name: "a", UniqueKey: &UniqueKey{}}, false)
		}, "unique_key.fields", CodeInvalid},
		{"deleting no bucket", abc, func(c Config) (EventData, error) { return c.DeleteBucket("b") }, "does not exist", CodeNotFound},
		{"deleting a bucket by name", abc, func(c Config) (EventData, error) { return c.DeleteBucket("a") }, "bucket.deleted", ""},

		{"a collection over no bucket", Config{}, func(c Config) (EventData, error) {
			return c.SaveCollection(collectionSaved("col_1", "one", fromBucket).Collection)
		}, `source.bucket_ids[0]`, CodeInvalid},
		{"a collection over itself", abc, func(c Config) (EventData, error) {
			return c.SaveCollection(collectionSaved("col_1", "one", over("col_1")).Collection)
		}, "cycle: col_1 → col_1", CodeInvalid},
		{"a collection over its reader", abc, func(c Config) (EventData, error) {
			return c.SaveCollection(collectionSaved("col_1", "one", over("col_2")).Collection)
		}, "cycle: col_1 → col_2 → col_1", CodeInvalid},
		{"a collection of an unknown source", abc, func(c Config) (EventData, error) {
			return c.SaveCollection(collectionSaved("col_3", "three", CollectionSource{Type: "river"}).Collection)
		}, "bucket, collection, direct_upsert", CodeInvalid},
		{"a source filter that is empty", abc, func(c Config) (EventData, error) {
			s := fromBucket
			s.Filters = json.RawMessage(`{}`)
			return c.SaveCollection(collectionSaved("col_3", "three", s).Collection)
		}, "source.source_filters", CodeInvalid},
		{"a short name", abc, func(c Config) (EventData, error) {
			return c.SaveCollection(collectionSaved("col_3", "no", fromBucket).Collection)
		}, "allowed are 3 to 100", CodeInvalid},
		{"deleting a collection that is read", abc, func(c Config) (EventData, error) { return c.DeleteCollection("one") }, "two reads one", CodeConflict},
		{"deleting a reader", abc, func(c Config) (EventData, error) { return c.DeleteCollection("col_2") }, "collection.deleted", ""},

		{"a retriever without stages", abc, func(c Config) (EventData, error) { return c.SaveRetriever(Retriever{Name: "r"}) }, "at least one stage", CodeInvalid},
		{"a retriever over nothing", abc, func(c Config) (EventData, error) {
			return c.SaveRetriever(Retriever{Name: "r", Stages: []Stage{{}}, CollectionIDs: []string{"one", "none"}})
		}, `collection_identifiers[1]`, CodeInvalid},
		{"a retriever by names", abc, func(c Config) (EventData, error) {
			return c.SaveRetriever(Retriever{Name: "r", Stages: []Stage{{}}, CollectionIDs: []string{"one"}})
		}, "retriever.saved", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, err := c.when(c.given)
			switch {
			case c.code == "" && err != nil:
				t.Fatalf("refused: %v", err)
			case c.code == "" && e.EventType() != c.then:
				t.Fatalf("decided %s, not %s", e.EventType(), c.then)
			case c.code != "" && (CodeOf(err) != c.code || !strings.Contains(err.Error(), c.then)):
				t.Fatalf("got %v (%s), want a refusal %s with %q", err, CodeOf(err), c.code, c.then)
			}
		})
	}
}

// A fold shares its states with readers: Apply must not change what it was given.
func TestApplyLeavesItsReceiverAlone(t *testing.T) {
	before := given(bucketSaved("bkt_a", "a"))
	after := before.Apply(&BucketDeleted{BucketID: "bkt_a"}, Stamp{Version: 2})
	if _, there := before.Bucket("a"); !there || len(before.Deleted) != 0 {
		t.Error("the older state changed")
	}
	if _, there := after.Bucket("a"); there || after.Deleted["bkt_a"] != 2 {
		t.Error("the newer state did not")
	}
}

// A record that was checked against a version is void if what it belongs to was
// deleted after that version; what is made anew under the same id lives.
func TestHolds(t *testing.T) {
	c := given(bucketSaved("bkt_a", "a"), &BucketDeleted{BucketID: "bkt_a"}, bucketSaved("bkt_a", "a"))
	if c.Holds("bkt_a", 1) {
		t.Error("an object checked at version 1 survives the deletion at version 2")
	}
	if !c.Holds("bkt_a", 3) {
		t.Error("an object checked at version 3 does not live")
	}
}

func TestTiersAndReaders(t *testing.T) {
	c := given(bucketSaved("bkt_a", "a"), collectionSaved("col_1", "one", fromBucket), collectionSaved("col_2", "two", over("col_1")),
		collectionSaved("col_3", "three", over("col_2", "col_1")), collectionSaved("col_4", "four", fromBucket))
	tiers, err := c.Tiers([]string{"col_3", "col_1", "col_4", "col_2"})
	if err != nil {
		t.Fatal(err)
	}
	got, _ := json.Marshal(tiers)
	if want := `[["col_1","col_4"],["col_2"],["col_3"]]`; string(got) != want {
		t.Errorf("tiers %s, want %s", got, want)
	}
	if tiers, _ = c.Tiers([]string{"col_3", "col_2"}); len(tiers) != 2 {
		t.Errorf("without its source, %v has not two tiers", tiers)
	}
	if got := strings.Join(c.ReadersOf("col_1"), " "); got != "col_1 col_2 col_3" {
		t.Errorf("readers of col_1: %s", got)
	}
	if got := strings.Join(c.DownstreamOf("bkt_a"), " "); got != "col_1 col_2 col_3 col_4" {
		t.Errorf("downstream of bkt_a: %s", got)
	}
	if got := strings.Join(c.RootBuckets("col_3"), " "); got != "bkt_a" {
		t.Errorf("root buckets of col_3: %s", got)
	}
}

func TestKeyStatusAndNames(t *testing.T) {
	now := time.Unix(1000, 0)
	expiry := now
	for want, k := range map[string]APIKey{"active": {}, "expired": {ExpiresAt: &expiry}, "revoked": {RevokedAt: now, ExpiresAt: &expiry}} {
		if got := k.Status(now); got != want {
			t.Errorf("%+v is %s, want %s", k, got, want)
		}
	}
	if (APIKey{ExpiresAt: &expiry}).Status(now.Add(-time.Second)) != "active" {
		t.Error("a key expired a second early")
	}
	o := Organization{}.Apply(&NamespaceCreated{NamespaceID: "ns_1", Name: "films"}, Stamp{})
	for _, c := range []struct{ id, name, reason string }{{"ns_1", "x", "namespace_id_taken"}, {"ns_2", "films", "namespace_name_taken"}, {"films", "x", "namespace_id_taken"}, {"ns_2", "ns_1", "namespace_name_taken"}} {
		err, _ := o.FreeNamespace(c.id, c.name).(*Error)
		if err == nil || err.Reason != c.reason {
			t.Errorf("%s, %s: %v, want %s", c.id, c.name, err, c.reason)
		}
	}
	if err := o.FreeNamespace("ns_2", "Films"); err != nil {
		t.Errorf("names that differ in case only are different: %v", err)
	}
}

// Defaults fill what is missing or null, and leave alone what was written.
func TestObjectDefaults(t *testing.T) {
	b := Bucket{Schema: json.RawMessage(`{"properties":{"lang":{"type":"string","required":true,"default":"en"},"n":{"type":"number","default":7},"text":{"type":"text","default":"none"},"free":{"type":"string"}}}`)}
	o := Object{Fields: map[string]json.RawMessage{"n": json.RawMessage(`1.50`), "lang": json.RawMessage(`null`)}, Blobs: []Blob{{Property: "text"}}}
	got := b.WithDefaults(o)
	if err := b.CheckObject(got); err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(got.Fields)
	if want := `{"lang":"en","n":1.50}`; string(raw) != want {
		t.Errorf("fields %s, want %s", raw, want)
	}
	if string(o.Fields["lang"]) != "null" {
		t.Error("the object that was given changed")
	}
}
