package vectortest

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"varve/domain"
	"varve/eventstore"
	"varve/projections/vector"
)

// Backend is an index under test and what can be done to it.
type Backend struct {
	Index vector.Index
	// Apply gives it records of one shard, in feed order.
	Apply func(ctx context.Context, shard int, page []eventstore.Record) error
	// Acts are what may happen to the index at any time without changing an
	// answer, by name: flushing, merging, closing and opening again. An act may
	// lose records that were applied if it gives the feed position from which to
	// apply again; and may replace the Index.
	Acts map[string]func(t testing.TB, b *Backend) (applied uint64)
}

// Run holds a backend to the contract. open makes an empty one, and cleans up
// after the test.
func Run(t *testing.T, open func(t testing.TB) *Backend) {
	tests := []struct {
		name string
		run  func(t *testing.T, open func(t testing.TB) *Backend)
	}{
		{"positions", positions}, {"history", history}, {"collections end", collectionsEnd}, {"void writes", voidWrites},
		{"erased records", erased}, {"ties", ties}, {"dense without a score", unscored}, {"dimensions", dimensions},
		{"statistics", statistics}, {"pages by id", pages}, {"logs are apart", apart}, {"records again", again},
		{"random feeds", random},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { test.run(t, open) })
	}
}

const log = eventstore.LogID("log-a")

func (b *Backend) give(t testing.TB, f *Feed) {
	t.Helper()
	if err := b.Apply(context.Background(), 0, f.Records); err != nil {
		t.Fatal(err)
	}
}

func (b *Backend) view(t testing.TB, log eventstore.LogID, position uint64) vector.View {
	t.Helper()
	v, err := b.Index.View(context.Background(), log, position)
	if err != nil {
		t.Fatalf("view of %s at %d: %v", log, position, err)
	}
	t.Cleanup(v.Close)
	return v
}

// question is one thing to ask.
type question struct {
	log         eventstore.LogID
	position    uint64
	collections []string
	filter      *domain.Filter
	query       []float32
	terms       []domain.TermCount
	k           int
}

func (q question) String() string {
	return fmt.Sprintf("%s at %d, collections %q, filter %v, query %v, terms %v, k %d", q.log, q.position, q.collections, q.filter, q.query, q.terms, q.k)
}

// check holds all answers to a question to the oracle's.
func check(t testing.TB, b *Backend, o *Oracle, q question) {
	t.Helper()
	ctx := context.Background()
	v, err := b.Index.View(ctx, q.log, q.position)
	if err != nil {
		t.Fatalf("%v: view: %v", q, err)
	}
	defer v.Close()
	set, err := v.Allow(ctx, q.collections, q.filter)
	if err != nil {
		t.Fatalf("%v: allow: %v", q, err)
	}
	want := o.selectDocuments(q.log, q.position, q.collections, q.filter)
	if set.Len() != len(want.allowed) || set.Candidates() != len(want.base) {
		t.Fatalf("%v: %d of %d documents, want %d of %d", q, set.Len(), set.Candidates(), len(want.allowed), len(want.base))
	}
	all := make([]vector.Hit, 0, len(want.allowed))
	for _, w := range want.allowed {
		all = append(all, w.hit(0))
		if !set.Contains(w.doc.DocumentID) {
			t.Fatalf("%v: the set does not contain %s", q, w.doc.DocumentID)
		}
	}
	same(t, q, "all", vector.Result{Hits: all}, vector.Result{Hits: set.All("", len(all)+1)})
	if len(q.query) > 0 {
		got, err := v.Dense(ctx, set, Dense, q.query, q.k)
		if err != nil {
			t.Fatalf("%v: dense: %v", q, err)
		}
		same(t, q, "dense", o.dense(want, Dense, q.query, q.k), got)
	}
	if len(q.terms) > 0 {
		got, err := v.Sparse(ctx, set, Sparse, q.terms, q.k)
		if err != nil {
			t.Fatalf("%v: sparse: %v", q, err)
		}
		same(t, q, "sparse", o.sparse(want, Sparse, q.terms, q.k), got)
	}
	for _, w := range want.allowed[:min(3, len(want.allowed))] {
		got, err := v.Vector(ctx, w.doc.DocumentID, Dense)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w.features[Dense].Dense, got, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%v: vector of %s (-want +got):\n%s", q, w.doc.DocumentID, diff)
		}
	}
}

func same(t testing.TB, q question, what string, want, got vector.Result) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(vector.Result{}, "Plan")); diff != "" {
		t.Fatalf("%v: %s (-want +got):\n%s", q, what, diff)
	}
}

func ids(hits []vector.Hit) []string {
	list := []string{}
	for _, h := range hits {
		list = append(list, h.ID)
	}
	return list
}

func eq(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func where(t testing.TB, field string, op domain.FilterOp, value any) *domain.Filter {
	t.Helper()
	f, err := domain.Where(field, op, value)
	if err != nil {
		t.Fatal(err)
	}
	return f
}
