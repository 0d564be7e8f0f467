package embedded

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"varve/domain"
	"varve/eventstore"
	"varve/projections/vector/vectortest"
)

// Over random histories, with branches, deletions of collections, writes that came too
// late and erasures, an index on demand answers what one answers that followed all along.
func TestOnDemandIsAsFollowing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := newWorld(t, rt)
		defer w.close()
		rt.Repeat(map[string]func(*rapid.T){
			"append": w.append, "branch": w.branch, "apply": w.apply, "ask": w.ask, "erase": w.erase,
			"unload": func(*rapid.T) { unloadAll(w.demand) },
			"reopen": w.reopen,
			"merge":  func(rt *rapid.T) { w.must(rt, w.demand.Merge(context.Background())) },
			"flush":  func(rt *rapid.T) { w.must(rt, errors.Join(w.demand.Flush(), w.follow.Flush())) },
			"publish": func(rt *rapid.T) {
				_, err := w.follow.Publish(context.Background(), rapid.SampledFrom(w.logs).Draw(rt, "log"), w.shelf)
				w.must(rt, err)
			},
			"drop": func(rt *rapid.T) { w.must(rt, w.demand.Drop(rapid.SampledFrom(w.logs).Draw(rt, "log"))) },
		})
		w.applyAll(rt)
		for _, log := range w.logs {
			for position := uint64(0); position <= w.feed.Position(log); position += 3 {
				w.compare(rt, log, position)
			}
		}
	})
}

// world is a store with two indexes that follow it.
type world struct {
	t       *testing.T
	feed    *vectortest.Feed
	past    *history
	logs    []eventstore.LogID
	applied int // records of the feed
	dir     string
	opts    Options
	shelf   *memoryShelf
	follow  *Index
	demand  *Index
}

func newWorld(t *testing.T, rt *rapid.T) *world {
	w := &world{t: t, feed: &vectortest.Feed{}, past: &history{}, logs: []eventstore.LogID{"log-a", "log-b"}, dir: t.TempDir()}
	for _, log := range w.logs {
		w.feed.SaveCollection(log, "col_a")
		w.feed.SaveCollection(log, "col_b")
	}
	w.keep(0)
	w.shelf = &memoryShelf{entries: map[eventstore.LogID][]byte{}, segments: map[string][]byte{}}
	w.opts = Options{Published: w.shelf, HeadRows: rapid.IntRange(1, 12).Draw(rt, "head rows"), Memory: rapid.SampledFrom([]int64{0, 1, 20_000}).Draw(rt, "memory")}
	w.follow = open(t, t.TempDir(), Options{HeadRows: 7, Prefix: w.past.prefix, sync: func(*os.File) error { return nil }})
	w.demand = openOnDemand(t, w.dir, w.past, w.opts)
	return w
}

func (w *world) must(rt *rapid.T, err error) {
	if err != nil {
		rt.Helper()
		rt.Fatal(err)
	}
}

func (w *world) close() {
	if err := w.demand.Stats().PublishedError; err != nil {
		w.t.Errorf("what was published could not be taken: %v", err)
	}
	_ = errors.Join(w.follow.Close(), w.demand.Close())
}

// keep lets the store have what the feed has from the n-th record on.
func (w *world) keep(n int) { w.past.add(w.feed.Records[n:]...) }

func (w *world) append(rt *rapid.T) {
	n := len(w.feed.Records)
	for range rapid.IntRange(1, 12).Draw(rt, "records") {
		log := rapid.SampledFrom(w.logs).Draw(rt, "log")
		id := fmt.Sprintf("doc_%d", rapid.IntRange(0, 9).Draw(rt, "document"))
		collection := rapid.SampledFrom([]string{"col_a", "col_b"}).Draw(rt, "collection")
		switch rapid.IntRange(0, 9).Draw(rt, "kind") {
		case 0:
			w.feed.Delete(log, id, collection)
		case 1:
			w.feed.DeleteCollection(log, collection)
			w.feed.SaveCollection(log, collection)
		case 2:
			w.feed.WriteDocument(log, domain.Document{DocumentID: id, CollectionID: collection, ConfigVersion: 1}, vectortest.Vector(1, 1))
		case 3:
			w.feed.Append(log, "batch-x", "batch.submitted", nil)
		default:
			x := rapid.IntRange(-3, 3).Draw(rt, "x")
			w.feed.Write(log, id, collection, fmt.Sprintf(`{"n":%d}`, rapid.IntRange(0, 4).Draw(rt, "n")),
				vectortest.Vector(1, float32(x)), vectortest.Text("word", fmt.Sprint("w", x)))
		}
	}
	w.keep(n)
}

func (w *world) branch(rt *rapid.T) {
	if len(w.logs) > 5 {
		rt.Skip("enough")
	}
	of, n := rapid.SampledFrom(w.logs).Draw(rt, "of"), len(w.feed.Records)
	upTo := rapid.Uint64Range(1, w.feed.Position(of)).Draw(rt, "up to")
	branch := eventstore.LogID(fmt.Sprint("log-branch-", len(w.logs)))
	w.feed.Fork(branch, of, upTo)
	w.past.add(w.feed.Log(branch)...)
	for _, r := range w.past.of[branch] { // what was erased of the source is in no branch
		if r.Position <= upTo && w.past.of[of][r.Position-1].Erased {
			w.past.erase(branch, r.Position)
		}
	}
	w.keep(n)
	w.logs = append(w.logs, branch)
}

// records gives those of the feed as the store has them.
func (w *world) records(from, to int) []eventstore.Record {
	list := slices.Clone(w.feed.Records[from:to])
	for i, r := range list {
		list[i] = w.past.of[r.Log][r.Position-1]
	}
	return list
}

func (w *world) apply(rt *rapid.T) {
	left := len(w.feed.Records) - w.applied
	if left == 0 {
		rt.Skip("everything is applied")
	}
	page := w.records(w.applied, w.applied+rapid.IntRange(1, left).Draw(rt, "page"))
	w.must(rt, w.follow.Apply(context.Background(), 0, page))
	w.must(rt, w.demand.Apply(context.Background(), 0, page))
	w.applied += len(page)
}

func (w *world) applyAll(rt *rapid.T) {
	for w.applied < len(w.feed.Records) {
		w.apply(rt)
	}
}

func (w *world) ask(rt *rapid.T) {
	log := rapid.SampledFrom(w.logs).Draw(rt, "log")
	w.compare(rt, log, rapid.Uint64Range(0, w.follow.Position(log)).Draw(rt, "position"))
}

func (w *world) compare(rt *rapid.T, log eventstore.LogID, position uint64) {
	want, err := w.follow.View(context.Background(), log, position)
	w.must(rt, err)
	defer want.Close()
	got, err := w.demand.View(context.Background(), log, position)
	w.must(rt, err)
	defer got.Close()
	if got, want := answers(w.t, got), answers(w.t, want); got != want {
		rt.Fatalf("%s at %d:\n%s\nwant\n%s", log, position, got, want)
	}
}

// erase is of one record in all logs that have it.
func (w *world) erase(rt *rapid.T) {
	log := rapid.SampledFrom(w.logs).Draw(rt, "log")
	position := rapid.Uint64Range(1, w.feed.Position(log)).Draw(rt, "position")
	if r := w.past.of[log][position-1]; r.Type == "collection.deleted" {
		rt.Skip("configuration is not erased")
	}
	w.past.erase(log, position)
	delete(w.shelf.entries, log)
	w.must(rt, w.follow.Erase(context.Background(), log, position))
	w.must(rt, w.demand.Erase(context.Background(), log, position))
}

func (w *world) reopen(rt *rapid.T) {
	if rapid.Bool().Draw(rt, "flush") {
		w.must(rt, w.demand.Flush())
	}
	w.must(rt, w.demand.Close())
	w.demand = openOnDemand(w.t, w.dir, w.past, w.opts)
	if rapid.Bool().Draw(rt, "skip") {
		w.must(rt, w.demand.Skip(0, uint64(w.applied)))
		return
	}
	w.must(rt, w.demand.Apply(context.Background(), 0, w.records(int(w.demand.Applied(0)), w.applied)))
}

// memoryShelf is a Publisher and a Source for one goroutine after the other.
type memoryShelf struct {
	entries  map[eventstore.LogID][]byte
	segments map[string][]byte
}

func (s *memoryShelf) HasSegment(_ context.Context, _ eventstore.LogID, digest string) (bool, error) {
	return s.segments[digest] != nil, nil
}

func (s *memoryShelf) PutSegment(_ context.Context, _ eventstore.LogID, digest string, _ int64, r io.Reader) (err error) {
	s.segments[digest], err = io.ReadAll(r)
	return err
}

func (s *memoryShelf) PutEntry(_ context.Context, log eventstore.LogID, _ uint64, entry []byte) error {
	s.entries[log] = entry
	return nil
}

func (s *memoryShelf) Entry(_ context.Context, log eventstore.LogID) ([]byte, error) {
	return s.entries[log], nil
}

func (s *memoryShelf) Segment(_ context.Context, _ eventstore.LogID, digest string) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(s.segments[digest])), nil
}
