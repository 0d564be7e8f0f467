package projections

import (
	"context"
	"database/sql"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/follow"
)

const valid = ` AND valid_from <= ? AND valid_to > ?`

type plan struct{ model, text, index string }

// plans are queries of requests, and the index that serves each.
var plans = []plan{
	{"documents", documentColumns + `WHERE log = ? AND document_id = ? AND valid_from <= ? ORDER BY valid_from DESC LIMIT 1`, "documents_key"},
	{"documents", documentColumns + `WHERE log = ? AND valid_from <= ? AND valid_to > ? AND document_id IN (?,?)`, "documents_key"},
	{"documents", documentColumns + `WHERE log = ? AND collection_id = ? AND valid_from > ?` + valid + ` ORDER BY collection_id, valid_from`, "documents_collection"},
	{"documents", documentColumns + `WHERE log = ? AND (collection_id, valid_from) > (?, ?)` + valid + ` ORDER BY collection_id, valid_from`, "documents_collection"},
	{"documents", `SELECT count(*) FROM documents WHERE log = ? AND valid_from <= ? AND valid_to > ? AND collection_id IN (?)`, "COVERING INDEX documents_collection"},
	{"documents", `SELECT collection_id, count(*) FROM documents WHERE log = ?` + valid + ` GROUP BY collection_id`, "COVERING INDEX documents_collection"},
	{"documents", documentColumns + `WHERE log = ? AND root_object_id = ? AND root_object_id <> ''` + valid, "documents_object"},
	{"documents", documentColumns + `WHERE log = ? AND source_document_id = ? AND source_document_id <> ''` + valid, "documents_source"},
	{"objects", objectColumns + `WHERE o.log = ? AND o.bucket_id = ? AND o.valid_from <= ? AND o.valid_to > ? AND o.object_id > ? ORDER BY o.object_id`, "objects_bucket"},
	{"objects", `SELECT o.bucket_id, count(*), sum(o.size) FROM objects o WHERE o.log = ? AND o.valid_from <= ? AND o.valid_to > ? AND o.bucket_id = ? GROUP BY o.bucket_id`, "COVERING INDEX objects_bucket"},
}

// Queries that every request makes go through an index: none reads a table from
// end to end, and the lists' own orders are not sorted.
func TestQueriesUseIndexes(t *testing.T) {
	docs, objects := NewDocuments(), NewObjects()
	newStage(t, docs, objects)
	for _, q := range append(plans, plan{"documents", documentHistory.superseding().text(64), "documents_key"}) {
		m := docs.m
		if q.model == "objects" {
			m = objects.m
		}
		rows, err := m.tables.write.Query(`EXPLAIN QUERY PLAN `+q.text, make([]any, strings.Count(q.text, "?"))...)
		if err != nil {
			t.Fatalf("%s: %v", q.text, err)
		}
		var plan []string
		for rows.Next() {
			var a, b, c int
			var step string
			if err := rows.Scan(&a, &b, &c, &step); err != nil {
				t.Fatal(err)
			}
			plan = append(plan, step)
		}
		if err := rows.Err(); err != nil {
			t.Fatal(err)
		}
		rows.Close() //nolint:sqlclosecheck // in a loop
		all := strings.Join(plan, "; ")
		if !strings.Contains(all, q.index) || strings.Contains(all, "TEMP B-TREE") || strings.Contains(all, "SCAN documents") || strings.Contains(all, "SCAN o") {
			t.Errorf("%s\n\tis run by %s", q.text, all)
		}
	}
}

// counted counts questions for the head of a log.
type counted struct {
	eventstore.Owner
	heads atomic.Int64
}

func (c *counted) LogHead(ctx context.Context, log eventstore.LogID) (eventstore.LogHead, error) {
	c.heads.Add(1)
	return c.Owner.LogHead(ctx, log)
}

func TestPinAsksNothingWhenCaughtUp(t *testing.T) {
	s := newStage(t)
	ctx := context.Background()
	store := &counted{Owner: s.store}
	r := NewRunner(store, t.TempDir(), Options{PinWait: time.Minute})
	n := &names{version: 1}
	r.Add(n, NewDirectory())
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	for i := range 20 {
		s.put(written("a", "c", i))
		if pin, err := r.Pin(ctx, s.log); err != nil || pin.Position != uint64(i+1) || pin.Lag != 0 {
			t.Fatalf("pin %+v, %v", pin, err)
		}
	}
	before := store.heads.Load()
	for range 100 {
		if pin, err := r.Pin(ctx, s.log); err != nil || pin.Position != 20 {
			t.Fatalf("pin %+v, %v", pin, err)
		}
	}
	if asked := store.heads.Load() - before; asked != 0 {
		t.Errorf("100 pins asked %d times", asked)
	}
	// A rebuild of the model whose followers remember heads forgets them.
	if err := r.Rebuild(ctx, "names", nil); err != nil {
		t.Fatal(err)
	}
	s.put(written("a", "c", 21))
	if pin, err := r.Pin(ctx, s.log); err != nil || pin.Position != 21 {
		t.Errorf("after a rebuild: %+v, %v", pin, err)
	}
}

// An event that cannot be applied ends a first fill early; followers park it.
func TestPoisonInAFirstFillIsParked(t *testing.T) {
	s := newStage(t)
	for _, id := range []string{"a", "poison", "b", "poison", "c"} {
		s.put(written(id, "c", 1))
	}
	n := &names{version: 1}
	n.poison.Store(true)
	r := NewRunner(s.store, t.TempDir(), s.runner.o)
	r.Add(n)
	ctx := context.Background()
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	if err := r.WaitApplied(ctx, 0, 5); err != nil {
		t.Fatal(err)
	}
	expect(t, "applied", must[[]string](t)(n.all(ctx)), []string{"a", "b", "c"})
	pin := must[Pin](t)(r.Pin(ctx, s.log))
	if len(pin.Parked) != 1 || pin.Parked[0].Version != 1 {
		t.Fatalf("pin %+v", pin)
	}
	if err := r.Rebuild(ctx, "names", nil); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitApplied(ctx, 0, 5); err != nil {
		t.Fatal(err)
	}
	expect(t, "rebuilt", must[[]string](t)(n.all(ctx)), []string{"a", "b", "c"})
	n.poison.Store(false)
	if err := r.Retry(ctx, "names", 0, follow.Key{Log: s.log, Stream: domain.DocumentStream("poison")}, 0); err != nil {
		t.Fatal(err)
	}
	expect(t, "healed", len(must[[]string](t)(n.all(ctx))), 5)
}

// A version that was parked and comes after the deletion of its collection ends
// where the collection did.
func TestLateVersionEndsWithItsCollection(t *testing.T) {
	ctx := context.Background()
	s := newStage(t)
	s.put(written("d", "c1", 1), written("d", "c1", 2), &domain.CollectionDeleted{CollectionID: "c1"})
	var records []eventstore.Record
	for r, err := range s.store.Feed(ctx, 0, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	rows := func(order ...int) (out []string) {
		d := NewDocuments()
		f, err := openFile(ctx, t.TempDir()+"/documents.db", d)
		if err != nil {
			t.Fatal(err)
		}
		defer f.close()
		tx, err := f.begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range order {
			if err := d.Apply(ctx, tx, records[i:i+1]); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		all, err := f.read.Query(`SELECT valid_from || ' ' || valid_to || ' ' || created FROM documents ORDER BY valid_from`)
		if err != nil {
			t.Fatal(err)
		}
		defer all.Close()
		for all.Next() {
			var row sql.NullString
			if err := all.Scan(&row); err != nil {
				t.Fatal(err)
			}
			out = append(out, row.String)
		}
		if err := all.Err(); err != nil {
			t.Fatal(err)
		}
		return out
	}
	expect(t, "in another order", rows(0, 2, 1), rows(0, 1, 2))
}

// What was made with other tables is not taken for this version: it is dropped.
func TestOtherTablesAreDropped(t *testing.T) {
	dir := t.TempDir()
	r := NewRunner(nil, dir, Options{})
	own := filepath.Base(r.path(NewDocuments()))
	stale := []string{"documents.v1.db", "documents.v1-00000000.db", "documents.v9-12345678.db.rebuild"}
	for _, name := range append(stale, own, "documents2.v1.db", "objects.v1.db") {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.dropOthers(NewDocuments()); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{own, "documents2.v1.db", "objects.v1.db"}; !slices.Equal(left, want) {
		t.Errorf("left are %v, want %v", left, want)
	}
}
