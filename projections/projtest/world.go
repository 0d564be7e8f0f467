// Package projtest holds what every projection must pass: rebuilt = incremental,
// applied twice = once, killed at any step = nothing lost and nothing doubled.
package projtest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"testing"

	"varve/domain"
	"varve/eventstore"
)

// World makes up histories: one organization and its namespaces, of which
// everything is changed, deleted and made anew, and some of it is void. Equal
// seeds over equal stores give equal histories.
type World struct {
	Store    eventstore.Store
	Shard    int
	OrgLog   eventstore.LogID
	Logs     []eventstore.LogID
	rand     *rand.Rand
	versions map[eventstore.LogID]uint64 // of the configuration stream
	attempts map[string]int
}

// NewWorld opens an organization with namespaces.
func NewWorld(t testing.TB, store eventstore.Store, shard int, seed uint64, namespaces int) *World {
	t.Helper()
	w := &World{Store: store, Shard: shard, OrgLog: eventstore.LogID(fmt.Sprintf("org-%d-%d", shard, seed)), rand: rand.New(rand.NewPCG(seed, 1)),
		versions: map[eventstore.LogID]uint64{}, attempts: map[string]int{}}
	w.append(t, w.OrgLog, domain.OrganizationStream, &domain.OrganizationCreated{OrganizationID: fmt.Sprintf("org_%d_%d", shard, seed), Name: "first"})
	for i := range namespaces {
		log := eventstore.LogID(fmt.Sprintf("%s-ns-%d", w.OrgLog, i))
		w.Logs = append(w.Logs, log)
		w.append(t, w.OrgLog, domain.OrganizationStream, &domain.NamespaceCreated{NamespaceID: fmt.Sprintf("ns_%d", i), Name: fmt.Sprintf("space %d", i), Log: string(log)})
		w.config(t, log, &domain.NamespaceConfigured{})
		for j := range 3 {
			w.config(t, log, &domain.BucketSaved{Bucket: domain.Bucket{BucketID: w.id("bkt", j), Name: w.id("bkt", j)}})
			w.config(t, log, &domain.CollectionSaved{Collection: domain.Collection{CollectionID: w.id("col", j), Name: w.id("col", j)}})
		}
	}
	return w
}

func (w *World) id(prefix string, n int) string { return fmt.Sprintf("%s_%04d", prefix, n) }

func (w *World) any(prefix string, n int) string { return w.id(prefix, w.rand.IntN(n)) }

// event is one event of a stream in an append.
type event struct {
	stream string
	data   domain.EventData
}

func (w *World) append(t testing.TB, log eventstore.LogID, stream string, e domain.EventData) {
	w.all(t, log, event{stream, e})
}

// all appends events of one log in one transaction.
func (w *World) all(t testing.TB, log eventstore.LogID, events ...event) {
	t.Helper()
	a := eventstore.Append{Shard: w.Shard}
	for _, e := range events {
		data, err := domain.EncodeEvent(e.data)
		if err != nil {
			t.Fatal(err)
		}
		a.Batches = append(a.Batches, eventstore.Batch{Log: log, Stream: e.stream, Expect: eventstore.Any(), Meta: eventstore.Metadata{Actor: "usr_test"},
			Events: []eventstore.Event{{Type: e.data.EventType(), Data: data}}})
	}
	if _, err := w.Store.Append(context.Background(), a); err != nil {
		t.Fatal(err)
	}
}

func (w *World) config(t testing.TB, log eventstore.LogID, e domain.EventData) {
	w.append(t, log, domain.ConfigStream, e)
	w.versions[log]++
}

// Go makes n more steps.
func (w *World) Go(t testing.TB, n int) {
	t.Helper()
	for range n {
		log := w.Logs[w.rand.IntN(len(w.Logs))]
		switch p := w.rand.IntN(100); {
		case p < 55:
			w.documents(t, log)
		case p < 70:
			w.object(t, log)
		case p < 85:
			w.batch(t, log)
		case p < 95:
			w.organization(t)
		default:
			w.configure(t, log)
		}
	}
}

// checked is a version of the configuration, now and then an old one.
func (w *World) checked(log eventstore.LogID) uint64 {
	v := w.versions[log]
	if w.rand.IntN(4) == 0 {
		v -= min(v, uint64(w.rand.IntN(6)))
	}
	return v
}

// Document makes up a document.
func (w *World) Document(log eventstore.LogID, id string) domain.Document {
	d := domain.Document{DocumentID: id, CollectionID: w.any("col", 3), ConfigVersion: w.checked(log),
		Payload: map[string]json.RawMessage{"n": json.RawMessage(fmt.Sprint(w.rand.IntN(9))), "title": json.RawMessage(`"Über \"alles\" ` + w.any("w", 5) + `"`),
			"tags": json.RawMessage(`["a","b"]`), "lineage": json.RawMessage(`{"root_object_id":"not this"}`)}}
	if w.rand.IntN(2) == 0 {
		d.Lineage = domain.Lineage{SourceType: "bucket", RootObjectID: w.any("obj", 30), RootBucketID: w.any("bkt", 3), Ordinal: w.rand.IntN(5)}
	} else if w.rand.IntN(2) == 0 {
		d.Lineage = domain.Lineage{SourceType: "collection", SourceObjectID: w.any("obj", 30), SourceDocumentID: w.any("doc", 60), Chain: []string{w.any("doc", 60)}}
	}
	return d
}

func (w *World) documents(t testing.TB, log eventstore.LogID) {
	var events []event
	for range 1 + w.rand.IntN(4) {
		id := w.any("doc", 60)
		if w.rand.IntN(8) == 0 {
			events = append(events, event{domain.DocumentStream(id), &domain.DocumentDeleted{DocumentID: id}})
			continue
		}
		events = append(events, event{domain.DocumentStream(id), &domain.DocumentWritten{Document: w.Document(log, id)}})
	}
	w.all(t, log, events...)
}

func (w *World) object(t testing.TB, log eventstore.LogID) {
	id := w.any("obj", 30)
	if w.rand.IntN(6) == 0 {
		w.append(t, log, domain.ObjectStream(id), &domain.ObjectDeleted{ObjectID: id})
		return
	}
	w.append(t, log, domain.ObjectStream(id), &domain.ObjectSaved{Object: domain.Object{ObjectID: id, BucketID: w.any("bkt", 3), ConfigVersion: w.checked(log),
		Fields: map[string]json.RawMessage{"x": json.RawMessage(fmt.Sprint(w.rand.IntN(100)))},
		Blobs:  []domain.Blob{{Property: "text", Type: "text", Size: int64(w.rand.IntN(1000))}}}})
}

func (w *World) batch(t testing.TB, log eventstore.LogID) {
	id := w.any("btch", 6)
	key := string(log) + id
	objects := []string{w.any("obj", 30), w.any("obj", 30)}
	stream := domain.BatchStream(id)
	switch w.rand.IntN(8) {
	case 0:
		w.append(t, log, stream, &domain.BatchSaved{Batch: domain.Batch{BatchID: id, BucketID: w.any("bkt", 3), ObjectIDs: objects}})
	case 1:
		w.attempts[key]++
		w.append(t, log, stream, &domain.BatchSubmitted{BatchID: id, BucketID: w.any("bkt", 3), TaskID: fmt.Sprintf("task_%s_%d", id, w.attempts[key]), Attempt: w.attempts[key],
			Tiers: [][]string{{"col_0000"}, {"col_0001", "col_0002"}}, ObjectIDs: objects})
	case 2:
		w.append(t, log, stream, &domain.BatchTierCompleted{BatchID: id, Attempt: w.attempts[key], Tier: w.rand.IntN(2)})
	case 3:
		w.append(t, log, stream, &domain.BatchCompleted{BatchID: id, TaskID: fmt.Sprintf("task_%s_%d", id, w.attempts[key]), Attempt: w.attempts[key], Status: domain.StatusCompleted, Objects: 2})
	case 4:
		w.append(t, log, stream, &domain.BatchCanceled{BatchID: id})
	case 5:
		w.append(t, log, domain.ObjectStream(objects[0]), &domain.ObjectFailed{ObjectID: objects[0], BatchID: id, Attempt: w.attempts[key], CollectionID: w.any("col", 3), ErrorType: "permanent", Error: "no text"})
	default:
		w.append(t, log, domain.ObjectStream(objects[0]), &domain.ObjectExtracted{ObjectID: objects[0], BatchID: id, Attempt: w.attempts[key], CollectionID: w.any("col", 3), Documents: []string{"a", "b"}})
	}
}

func (w *World) organization(t testing.TB) {
	email, key := w.any("user", 5)+"@example.com", w.any("key", 8)
	var e domain.EventData
	switch w.rand.IntN(6) {
	case 0:
		e = &domain.OrganizationUpdated{OrganizationSettings: domain.OrganizationSettings{Name: w.any("name", 9)}}
	case 1:
		e = &domain.UserDeleted{UserID: "usr_" + email, Email: email}
	case 2:
		e = &domain.APIKeyRevoked{KeyID: key}
	case 3:
		e = &domain.UserSaved{User: domain.User{UserID: "usr_" + email, Email: email, UserName: w.any("name", 9)}}
	case 4:
		e = &domain.NamespaceRenamed{NamespaceID: "ns_0", Name: w.any("name", 9)}
	default:
		e = &domain.APIKeySaved{APIKey: domain.APIKey{KeyID: key, UserID: "usr_" + email, Prefix: "sk_" + key, PreviousPrefix: "old_" + key, Name: w.any("name", 9)}}
	}
	w.append(t, w.OrgLog, domain.OrganizationStream, e)
}

func (w *World) configure(t testing.TB, log eventstore.LogID) {
	n := w.rand.IntN(3)
	switch w.rand.IntN(4) {
	case 0:
		w.config(t, log, &domain.CollectionDeleted{CollectionID: w.id("col", n)})
	case 1:
		w.config(t, log, &domain.BucketDeleted{BucketID: w.id("bkt", n)})
	case 2:
		w.config(t, log, &domain.CollectionSaved{Collection: domain.Collection{CollectionID: w.id("col", n), Name: w.id("col", n)}})
	default:
		w.config(t, log, &domain.BucketSaved{Bucket: domain.Bucket{BucketID: w.id("bkt", n), Name: w.id("bkt", n)}})
	}
}
