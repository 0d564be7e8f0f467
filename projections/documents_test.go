package projections

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"testing"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/memory"
)

// stage is a store with a runner over it.
type stage struct {
	testing.TB
	store  eventstore.Owner
	runner *Runner
	log    eventstore.LogID
}

func newStage(t testing.TB, ps ...Projection) *stage {
	t.Helper()
	store, err := memory.Open(memory.Options{})
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Logger: slog.New(slog.DiscardHandler), PinWait: time.Minute}
	if os.Getenv("VARVE_TEST_STAGE") == "postgres" { // see TestOnPostgres
		o = inDatabase(t, o)
	}
	r := NewRunner(store, t.TempDir(), o)
	r.Add(ps...)
	if err := r.Start(context.Background()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		_ = store.Close()
	})
	return &stage{t, store, r, "log"}
}

// put appends events, each to its own stream, and gives the position after them, applied.
func (s *stage) put(events ...domain.EventData) At {
	s.Helper()
	for _, e := range events {
		stream := domain.ConfigStream
		switch e := e.(type) {
		case *domain.DocumentWritten:
			stream = domain.DocumentStream(e.DocumentID)
		case *domain.DocumentDeleted:
			stream = domain.DocumentStream(e.DocumentID)
		case *domain.ObjectSaved:
			stream = domain.ObjectStream(e.ObjectID)
		case *domain.ObjectDeleted:
			stream = domain.ObjectStream(e.ObjectID)
		case *domain.ObjectExtracted:
			stream = domain.ObjectStream(e.ObjectID)
		case *domain.ObjectFailed:
			stream = domain.ObjectStream(e.ObjectID)
		case *domain.BatchSaved:
			stream = domain.BatchStream(e.BatchID)
		case *domain.BatchSubmitted:
			stream = domain.BatchStream(e.BatchID)
		case *domain.BatchTierCompleted:
			stream = domain.BatchStream(e.BatchID)
		case *domain.BatchCompleted:
			stream = domain.BatchStream(e.BatchID)
		case *domain.BatchCanceled:
			stream = domain.BatchStream(e.BatchID)
		case *domain.BatchDeleted:
			stream = domain.BatchStream(e.BatchID)
		case *domain.OrganizationCreated, *domain.UserSaved, *domain.UserDeleted, *domain.APIKeySaved, *domain.APIKeyRevoked, *domain.NamespaceCreated, *domain.NamespaceDeleted:
			stream = domain.OrganizationStream
		case *domain.ExecutionRecorded:
			stream = "execution"
		}
		data, err := domain.EncodeEvent(e)
		if err != nil {
			s.Fatal(err)
		}
		if _, err := s.store.Append(context.Background(), eventstore.Append{Batches: []eventstore.Batch{{Log: s.log, Stream: stream,
			Events: []eventstore.Event{{Type: e.EventType(), Data: data}}}}}); err != nil {
			s.Fatal(err)
		}
	}
	pin, err := s.runner.Pin(context.Background(), s.log)
	if err != nil || pin.Lag > 0 {
		s.Fatalf("pin %+v: %v", pin, err)
	}
	return pin.At
}

func written(id, collection string, n int) *domain.DocumentWritten {
	return &domain.DocumentWritten{Document: domain.Document{DocumentID: id, CollectionID: collection,
		Payload: map[string]json.RawMessage{"n": json.RawMessage(fmt.Sprint(n)), "title": json.RawMessage(fmt.Sprintf(`"Title %d of Lake"`, n))},
		Lineage: domain.Lineage{SourceType: "bucket", RootObjectID: fmt.Sprintf("obj_%d", n%2), Ordinal: n}}}
}

func ids(rows []DocumentRow) []string {
	out := []string{}
	for _, r := range rows {
		out = append(out, r.DocumentID)
	}
	return out
}

func expect[T any](t testing.TB, what string, have, want T) {
	t.Helper()
	if h, w := fmt.Sprint(have), fmt.Sprint(want); h != w {
		t.Errorf("%s: have %s, want %s", what, h, w)
	}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestDocumentAsOfAPosition(t *testing.T) {
	docs := NewDocuments()
	s := newStage(t, docs)
	ctx := context.Background()
	first := s.put(written("d1", "c1", 1))
	second := s.put(written("d1", "c1", 2))
	gone := s.put(&domain.DocumentDeleted{DocumentID: "d1"})
	again := s.put(written("d1", "c1", 4))

	one := must[DocumentRow](t)(docs.Document(ctx, first, "d1"))
	two := must[DocumentRow](t)(docs.Document(ctx, second, "d1"))
	four := must[DocumentRow](t)(docs.Document(ctx, again, "d1"))
	expect(t, "payloads", []string{string(one.Payload["n"]), string(two.Payload["n"]), string(four.Payload["n"])}, []string{"1", "2", "4"})
	expect(t, "positions", []uint64{one.Position, one.Ended, two.Position, two.Ended, four.Position, four.Ended, four.Version}, []uint64{1, 2, 2, 3, 4, 0, 4})
	if !two.Created.Equal(one.Created) || !two.Created.Equal(one.Updated) || two.Updated.Before(two.Created) {
		t.Errorf("created %v and updated %v after an update; before %v", two.Created, two.Updated, one.Created)
	}
	if !four.Created.Equal(four.Updated) {
		t.Errorf("written anew, it was created at %v and updated at %v", four.Created, four.Updated)
	}
	if _, err := docs.Document(ctx, gone, "d1"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("a deleted document gave %v", err)
	}
	if _, err := docs.Document(ctx, At{"other", 4}, "d1"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("another log gave %v", err)
	}
	s.put(written("d2", "c1", 1))
	expect(t, "many", ids(must[[]DocumentRow](t)(docs.Documents(ctx, again, []string{"d2", "x", "d1"}))), []string{"d1"})
}

func TestDeletedCollectionVoidsDocuments(t *testing.T) {
	docs := NewDocuments()
	s := newStage(t, docs)
	ctx := context.Background()
	count := func(at At) int { return must[int](t)(docs.Count(ctx, at, DocumentQuery{})) }
	s.put(&domain.CollectionSaved{Collection: domain.Collection{CollectionID: "c1"}}) // configuration version 1
	old, kept := written("d1", "c1", 1), written("d2", "c2", 2)
	old.ConfigVersion, kept.ConfigVersion = 1, 1
	before := s.put(old, kept)
	after := s.put(&domain.CollectionDeleted{CollectionID: "c1"}) // 2
	expect(t, "before and after", []int{count(before), count(after)}, []int{2, 1})

	late := written("d3", "c1", 3) // raced with the deletion
	late.ConfigVersion = 1
	expect(t, "a late write", count(s.put(late)), 1)
	s.put(&domain.CollectionSaved{Collection: domain.Collection{CollectionID: "c1"}}) // 3
	fresh := written("d1", "c1", 9)
	fresh.ConfigVersion = 3
	at := s.put(fresh)
	expect(t, "made anew", must[map[string]int](t)(docs.CountByCollection(ctx, at)), map[string]int{"c1": 1, "c2": 1})
	if row := must[DocumentRow](t)(docs.Document(ctx, at, "d1")); !row.Created.Equal(row.Updated) {
		t.Error("a document of a new collection remembers the old one's time")
	}
	expect(t, "the past", count(before), 2)
}

func TestListPagesSortsAndFilters(t *testing.T) {
	docs := NewDocuments()
	s := newStage(t, docs)
	ctx := context.Background()
	for i := range 25 {
		s.put(written(fmt.Sprintf("d%02d", i), fmt.Sprintf("c%d", i%2), (i*7)%25))
	}
	at := s.put(written("e", "c9", 99))
	all := must[Page[DocumentRow]](t)(docs.List(ctx, at, DocumentQuery{Total: true}))
	expect(t, "all", []int{len(all.Items), *all.Total}, []int{26, 26})

	// A list that was begun goes on as of where it began.
	for name, q := range map[string]DocumentQuery{
		"by id":             {Collections: []string{"c0"}, Limit: 4, Total: true},
		"sorted":            {Collections: []string{"c0"}, Limit: 4, Total: true, Sort: []Sort{{"n", true}}},
		"filtered":          {Filter: must[*domain.Filter](t)(domain.Where("n", domain.OpLt, json.Number("13"))), Limit: 4, Total: true},
		"filtered, sorted":  {Filter: must[*domain.Filter](t)(domain.Where("n", domain.OpLt, json.Number("13"))), Limit: 4, Total: true, Sort: []Sort{{"n", false}}},
		"searched":          {Search: "LAKE 1", Limit: 4, Total: true},
		"from an offset on": {Collections: []string{"c0"}, Limit: 4, Offset: 3, Total: true},
	} {
		whole := q
		whole.Limit = 1000
		want := must[Page[DocumentRow]](t)(docs.List(ctx, at, whole))
		now, have, pages := at, []string{}, 0
		for {
			page := must[Page[DocumentRow]](t)(docs.List(ctx, now, q))
			have = append(have, ids(page.Items)...)
			if pages++; page.Next == "" {
				break
			}
			if len(page.Items) != 4 || page.At != at || *page.Total != *want.Total {
				t.Errorf("%s: a page of %d at %v with total %d, want 4 at %v with %d", name, len(page.Items), page.At, *page.Total, at, *want.Total)
			}
			q.After = page.Next
			now = s.put(written(fmt.Sprintf("d%02d_%d_%s", pages, pages, name[:2]), "c0", 5), written("d03", "c0", 77), written("d03", "c1", 3))
		}
		if !slices.Equal(have, ids(want.Items)) || pages < 2 {
			t.Errorf("%s: in %d pages %v, at once %v", name, pages, have, ids(want.Items))
		}
		q.Collections = append(q.Collections, "more")
		if _, err := docs.List(ctx, now, q); domain.CodeOf(err) != domain.CodeInvalid {
			t.Errorf("%s: a cursor of another query gave %v", name, err)
		}
	}
	sorted := must[Page[DocumentRow]](t)(docs.List(ctx, at, DocumentQuery{Sort: []Sort{{"n", true}}, Limit: 2}))
	expect(t, "greatest first", []string{string(sorted.Items[0].Payload["n"]), string(sorted.Items[1].Payload["n"])}, []string{"99", "24"})
	if _, err := docs.List(ctx, at, DocumentQuery{After: "nonsense!"}); domain.CodeOf(err) != domain.CodeInvalid {
		t.Errorf("a nonsense cursor gave %v", err)
	}
	values, total, err := docs.Distinct(ctx, at, DocumentQuery{}, "collection_id", 2)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "distinct", []any{values, total}, []any{[]ValueCount{{"c0", 13}, {"c1", 12}}, 3})
}

func TestLineage(t *testing.T) {
	docs := NewDocuments()
	s := newStage(t, docs)
	ctx := context.Background()
	root, child, grandchild := written("r", "c1", 1), written("k", "c2", 1), written("g", "c3", 1)
	child.Lineage = domain.Lineage{SourceType: "collection", RootObjectID: "obj_1", SourceDocumentID: "r", Chain: []string{"r"}}
	grandchild.Lineage = domain.Lineage{SourceType: "collection", RootObjectID: "obj_1", SourceDocumentID: "k"}
	at := s.put(root, child, grandchild, written("other", "c1", 2))
	expect(t, "children", ids(must[[]DocumentRow](t)(docs.Children(ctx, at, "r", 0))), []string{"k"})
	expect(t, "ancestors", ids(must[[]DocumentRow](t)(docs.Ancestors(ctx, at, "g"))), []string{"r", "k"})
	expect(t, "ancestors of the root", ids(must[[]DocumentRow](t)(docs.Ancestors(ctx, at, "r"))), []string{})
	expect(t, "of an object", ids(must[[]DocumentRow](t)(docs.ByObject(ctx, at, "obj_1", nil))), []string{"r", "k", "g"})
	expect(t, "of an object in collections", ids(must[[]DocumentRow](t)(docs.ByObject(ctx, at, "obj_1", []string{"c3", "c2"}))), []string{"k", "g"})
	expect(t, "counted", []int{must[int](t)(docs.CountByObject(ctx, at, "obj_1")), must[int](t)(docs.CountByObject(ctx, at, "obj_2"))}, []int{3, 0})
	now := s.put(&domain.DocumentDeleted{DocumentID: "k"})
	expect(t, "children of the past and now", [][]string{ids(must[[]DocumentRow](t)(docs.Children(ctx, at, "r", 0))), ids(must[[]DocumentRow](t)(docs.Children(ctx, now, "r", 0)))}, [][]string{{"k"}, {}})
	if _, err := docs.Ancestors(ctx, now, "k"); domain.CodeOf(err) != domain.CodeNotFound {
		t.Errorf("ancestors of nothing gave %v", err)
	}
}

func TestViewHasReferenceMembers(t *testing.T) {
	row := DocumentRow{Document: written("d", "c", 1).Document}
	row.Metadata, row.ContentHash = json.RawMessage(`{"k":{"deep":12345678901234567890}}`), "sha256:x"
	row.Payload["document_id"], row.Payload["source_type"] = json.RawMessage(`"not this"`), json.RawMessage(`"mine"`)
	view := row.View()
	for path, want := range map[string]string{"document_id": `"d"`, "collection_id": `"c"`, "metadata.k.deep": "12345678901234567890", "source_type": `"mine"`, "root_object_id": `"obj_1"`,
		"_internal.lineage.source_type": `"bucket"`, "_internal.lineage.root_object_id": `"obj_1"`, "_internal.content_hash": `"sha256:x"`, "n": "1"} {
		v, ok := domain.Lookup(view, path)
		if have := string(domain.EncodeValue(v)); !ok || have != want {
			t.Errorf("%s is %s, want %s", path, have, want)
		}
	}
}
