package vectortest

import (
	"context"
	"fmt"
	"math"
	"testing"

	"varve/domain"
	"varve/eventstore"
	"varve/projections/vector"
)

func allow(t testing.TB, v vector.View, filter *domain.Filter, collections ...string) vector.Set {
	t.Helper()
	set, err := v.Allow(context.Background(), collections, filter)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func search(t testing.TB, v vector.View, query ...float32) vector.Result {
	t.Helper()
	r, err := v.Dense(context.Background(), allow(t, v, nil), Dense, query, 100)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func positions(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	if n := allow(t, b.view(t, "log-never-seen", 0), nil).Len(); n != 0 {
		t.Errorf("a log that was never seen has %d documents at 0", n)
	}
	f.SaveCollection(log, "col_a")
	f.Write(log, "doc_a", "col_a", `{}`, Vector(1, 0))
	f.Append(log, "bucket-x", "object.saved", nil) // moves the position and nothing else
	b.give(t, f)
	b.view(t, log, 3)
	for _, ahead := range []struct {
		log      string
		position uint64
	}{{"log-a", 4}, {"log-never-seen", 1}} {
		_, err := b.Index.View(context.Background(), eventstore.LogID(ahead.log), ahead.position)
		if domain.CodeOf(err) != domain.CodeUnavailable {
			t.Errorf("view of %s at %d, not applied: %v, want code unavailable", ahead.log, ahead.position, err)
		}
	}
}

func history(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	f.SaveCollection(log, "col_a")                          // 1
	f.Write(log, "doc_a", "col_a", `{"n":1}`, Vector(1, 0)) // 2
	f.Write(log, "doc_b", "col_a", `{"n":1}`, Vector(0, 1)) // 3
	f.Write(log, "doc_a", "col_a", `{"n":2}`, Vector(0, 1)) // 4
	f.Delete(log, "doc_b", "col_a")                         // 5
	f.Write(log, "doc_b", "col_a", `{"n":3}`, Vector(1, 1)) // 6
	b.give(t, f)
	o := NewOracle(f.Records)
	for position := uint64(0); position <= 6; position++ {
		for _, filter := range []*domain.Filter{nil, where(t, "n", domain.OpEq, 1), where(t, "n", domain.OpGte, 2)} {
			check(t, b, o, question{log: log, position: position, filter: filter, query: []float32{1, 0.5}, k: 10})
		}
	}
	eq(t, "at 3", []string{"doc_a", "doc_b"}, ids(search(t, b.view(t, log, 3), 1, 0).Hits))
	eq(t, "at 5", []string{"doc_a"}, ids(search(t, b.view(t, log, 5), 1, 0).Hits))
	eq(t, "version of doc_a at 6", uint64(4), search(t, b.view(t, log, 6), 0, 1).Hits[0].Position)
}

func collectionsEnd(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	f.SaveCollection(log, "col_a")
	f.SaveCollection(log, "col_b")
	f.Write(log, "doc_a", "col_a", `{}`, Vector(1, 0))
	f.Write(log, "doc_b", "col_b", `{}`, Vector(1, 0))
	before := f.DeleteCollection(log, "col_a").Position - 1
	f.SaveCollection(log, "col_a")
	f.Write(log, "doc_c", "col_a", `{}`, Vector(1, 0))
	b.give(t, f)
	eq(t, "before", []string{"doc_a", "doc_b"}, ids(search(t, b.view(t, log, before), 1, 0).Hits))
	eq(t, "after", []string{"doc_b"}, ids(search(t, b.view(t, log, before+1), 1, 0).Hits))
	now := b.view(t, log, f.Position(log))
	eq(t, "made anew under the same id", []string{"doc_b", "doc_c"}, ids(search(t, now, 1, 0).Hits))
	eq(t, "one collection", []string{"doc_c"}, ids(allow(t, now, nil, "col_a").All("", 10)))
	eq(t, "a collection that does not exist", 0, allow(t, now, nil, "col_z").Len())
}

func voidWrites(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	f.SaveCollection(log, "col_a")
	checked := f.ConfigVersion(log)
	f.DeleteCollection(log, "col_a")
	f.WriteDocument(log, domain.Document{DocumentID: "doc_raced", CollectionID: "col_a", ConfigVersion: checked}, Vector(1, 0))
	f.SaveCollection(log, "col_a")
	f.Write(log, "doc_new", "col_a", `{}`, Vector(1, 0))
	b.give(t, f)
	for position := uint64(0); position < f.Position(log); position++ {
		eq(t, fmt.Sprint("at ", position), 0, allow(t, b.view(t, log, position), nil).Len())
	}
	eq(t, "at the end", []string{"doc_new"}, ids(search(t, b.view(t, log, f.Position(log)), 1, 0).Hits))
}

func erased(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	f.SaveCollection(log, "col_a")
	f.Write(log, "doc_a", "col_a", `{}`, Vector(1, 0))
	f.Append(log, "document-doc_a", "document.written", nil)
	f.Append(log, "document-doc_b", "document.written", nil)
	f.Append(log, "document-doc_b", "document.deleted", nil)
	f.Append(log, domain.ConfigStream, "collection.deleted", nil)
	b.give(t, f)
	eq(t, "before the erased version", 1, allow(t, b.view(t, log, 2), nil).Len())
	for position := uint64(3); position <= f.Position(log); position++ {
		eq(t, fmt.Sprint("at ", position), 0, allow(t, b.view(t, log, position), nil).Len())
	}
}

func ties(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	f.SaveCollection(log, "col_a")
	for _, i := range []int{5, 2, 8, 1, 9, 4, 7, 3, 6, 0} {
		f.Write(log, fmt.Sprintf("doc_%d", i), "col_a", `{}`, Vector(2, 2), Text("word"))
	}
	b.give(t, f)
	v := b.view(t, log, f.Position(log))
	set := allow(t, v, nil)
	for _, k := range []int{1, 3, 10, 11} {
		dense, err := v.Dense(context.Background(), set, Dense, []float32{1, 1}, k)
		if err != nil {
			t.Fatal(err)
		}
		sparse, err := v.Sparse(context.Background(), set, Sparse, []domain.TermCount{{Term: "word", Count: 1}}, k)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{"doc_0", "doc_1", "doc_2", "doc_3", "doc_4", "doc_5", "doc_6", "doc_7", "doc_8", "doc_9"}[:min(k, 10)]
		eq(t, fmt.Sprint("dense, k ", k), want, ids(dense.Hits))
		eq(t, fmt.Sprint("sparse, k ", k), want, ids(sparse.Hits))
		if dense.Scored != 10 || (dense.Cutoff != 0) != (k < 10) {
			t.Errorf("k %d: scored %d and cutoff %v", k, dense.Scored, dense.Cutoff)
		}
	}
}

func unscored(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	f.SaveCollection(log, "col_a")
	f.Write(log, "doc_zero", "col_a", `{}`, Vector(0, 0))
	f.Write(log, "doc_none", "col_a", `{}`, Text("word"))
	f.Write(log, "doc_far", "col_a", `{}`, Vector(-1, 0))
	f.Write(log, "doc_huge", "col_a", `{}`, Vector(3e38, 3e38))
	f.Write(log, "doc_tiny", "col_a", `{}`, Vector(1e-45, 0))
	b.give(t, f)
	v := b.view(t, log, f.Position(log))
	r := search(t, v, 1, 0)
	eq(t, "hits", []string{"doc_tiny", "doc_huge", "doc_far"}, ids(r.Hits))
	eq(t, "scored", 3, r.Scored)
	eq(t, "a query of zeros", 0, search(t, v, 0, 0).Scored)
	for id, want := range map[string][]float32{"doc_zero": {0, 0}, "doc_none": nil, "doc_missing": nil} {
		got, err := v.Vector(context.Background(), id, Dense)
		if err != nil {
			t.Fatal(err)
		}
		eq(t, "vector of "+id, want, got)
	}
}

func dimensions(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	f.SaveCollection(log, "col_a")
	f.Write(log, "doc_a", "col_a", `{}`, Vector(1, 0))
	b.give(t, f)
	v := b.view(t, log, f.Position(log))
	if _, err := v.Dense(context.Background(), allow(t, v, nil), Dense, []float32{1, 0, 0}, 1); domain.CodeOf(err) != domain.CodeInvalid {
		t.Errorf("a query of three dimensions to vectors of two: %v, want code invalid", err)
	}
	for _, bad := range []float32{float32(math.NaN()), float32(math.Inf(1))} {
		if _, err := v.Dense(context.Background(), allow(t, v, nil), Dense, []float32{1, bad}, 1); domain.CodeOf(err) != domain.CodeInvalid {
			t.Errorf("a query with %v: %v, want code invalid", bad, err)
		}
	}
	r, err := v.Dense(context.Background(), allow(t, v, nil), "mixpeek://unknown@v1/embedding", []float32{1, 0, 0}, 1)
	if err != nil || len(r.Hits) != 0 {
		t.Errorf("a feature that no document has: %v, %v; want no hits and no error", r, err)
	}
}

func statistics(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	f.SaveCollection(log, "col_a")
	f.SaveCollection(log, "col_b")
	f.Write(log, "doc_1", "col_a", `{"show":true}`, Text("lift", "drag", "lift"))
	f.Write(log, "doc_2", "col_a", `{"show":false}`, Text("lift"))
	f.Write(log, "doc_3", "col_b", `{"show":true}`, Text("lift", "shock", "wave"))
	f.Write(log, "doc_4", "col_a", `{"show":true}`, Text("shock"))
	f.Write(log, "doc_4", "col_a", `{"show":true}`, Text("wave", "wave"))
	f.Write(log, "doc_5", "col_a", `{"show":true}`, Vector(1, 0))
	b.give(t, f)
	o := NewOracle(f.Records)
	terms := []domain.TermCount{{Term: "drag", Count: 1}, {Term: "lift", Count: 2}, {Term: "wave", Count: 1}, {Term: "nowhere", Count: 1}}
	for _, collections := range [][]string{nil, {"col_a"}, {"col_b"}, {"col_b", "col_a"}} {
		for _, filter := range []*domain.Filter{nil, where(t, "show", domain.OpEq, true)} {
			for position := uint64(2); position <= f.Position(log); position++ {
				check(t, b, o, question{log: log, position: position, collections: collections, filter: filter, terms: terms, k: 2})
			}
		}
	}
}

func pages(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	f.SaveCollection(log, "col_a")
	var want []string
	for i := range 25 {
		f.Write(log, fmt.Sprintf("doc_%02d", (i*7)%25), "col_a", `{}`, Vector(1, 0))
		want = append(want, fmt.Sprintf("doc_%02d", i))
	}
	b.give(t, f)
	set := allow(t, b.view(t, log, f.Position(log)), nil)
	var got []string
	for after := ""; ; {
		page := ids(set.All(after, 10))
		if len(page) == 0 {
			break
		}
		got = append(got, page...)
		after = page[len(page)-1]
	}
	eq(t, "ids over pages", want, got)
	eq(t, "no page", 0, len(set.All("", 0)))
}

func apart(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	for _, l := range []string{"log-a", "log-A", "log/../x"} {
		f.SaveCollection("log-a", "col_a")
		f.Write("log-a", "doc_"+l, "col_a", `{}`, Vector(1, 0))
	}
	f.SaveCollection("log-A", "col_a")
	f.Write("log-A", "doc_log-a", "col_a", `{}`, Vector(0, 1))
	f.DeleteCollection("log-A", "col_a")
	b.give(t, f)
	eq(t, "log-a", 3, allow(t, b.view(t, "log-a", f.Position("log-a")), nil).Len())
	eq(t, "log-A", 0, allow(t, b.view(t, "log-A", f.Position("log-A")), nil).Len())
}

func again(t *testing.T, open func(testing.TB) *Backend) {
	b, f := open(t), &Feed{}
	f.SaveCollection(log, "col_a")
	for i := range 20 {
		f.Write(log, fmt.Sprintf("doc_%d", i%7), "col_a", `{}`, Vector(1, float32(i)), Text("word"))
	}
	b.give(t, f)
	b.give(t, f)
	if err := b.Apply(context.Background(), 0, f.Records[5:10]); err != nil {
		t.Fatal(err)
	}
	o := NewOracle(f.Records)
	for position := range f.Position(log) {
		check(t, b, o, question{log: log, position: position, query: []float32{1, 0}, terms: []domain.TermCount{{Term: "word", Count: 1}}, k: 3})
	}
}
