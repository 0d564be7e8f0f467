package embedded

import (
	"cmp"
	"context"
	"iter"
	"os"
	"slices"
	"sync"
	"testing"

	"varve/eventstore"
	"varve/projections/vector"
	"varve/projections/vector/vectortest"
)

// history is the log store under an index on demand: it has what was added, once.
type history struct {
	mu   sync.Mutex
	of   map[eventstore.LogID][]eventstore.Record
	gate func(log eventstore.LogID, position uint64) error // before a record is given
	read int                                               // records that were given
}

func (h *history) add(records ...eventstore.Record) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.of == nil {
		h.of = map[eventstore.LogID][]eventstore.Record{}
	}
	for _, r := range records {
		if list := h.of[r.Log]; r.Position == uint64(len(list)+1) {
			h.of[r.Log] = append(list, r)
		}
	}
}

func (h *history) head(_ context.Context, log eventstore.LogID) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return uint64(len(h.of[log])), nil
}

func (h *history) prefix(ctx context.Context, log eventstore.LogID, after, upTo uint64) iter.Seq2[eventstore.Record, error] {
	return func(yield func(eventstore.Record, error) bool) {
		h.mu.Lock()
		list, gate := h.of[log], h.gate
		h.mu.Unlock()
		for _, r := range list[min(after, uint64(len(list))):min(upTo, uint64(len(list)))] {
			err := ctx.Err()
			if err == nil && gate != nil {
				err = gate(log, r.Position)
			}
			h.mu.Lock()
			h.read++
			h.mu.Unlock()
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

func (h *history) logs() []eventstore.LogID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []eventstore.LogID
	for id := range h.of {
		all = append(all, id)
	}
	slices.SortFunc(all, func(a, b eventstore.LogID) int { return cmp.Compare(a, b) })
	return all
}

// erase does what a store does.
func (h *history) erase(log eventstore.LogID, positions ...uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := slices.Clone(h.of[log])
	for i := range list {
		if slices.Contains(positions, list[i].Position) {
			list[i].Data, list[i].Attachments, list[i].Erased = nil, nil, true
		}
	}
	h.of[log] = list
}

// openOnDemand gives an index over a history, without syncs.
func openOnDemand(t testing.TB, dir string, h *history, opts Options) *Index {
	t.Helper()
	opts.OnDemand, opts.Prefix, opts.Head, opts.sync = true, h.prefix, h.head, func(*os.File) error { return nil }
	return open(t, dir, opts)
}

// unloadAll lets all logs that are not in use leave memory.
func unloadAll(x *Index) {
	x.apply.Lock()
	defer x.apply.Unlock()
	for _, l := range x.all() {
		if l.users.Load() == 0 {
			_ = x.leaveMemory(l)
		}
	}
}

func see(t testing.TB, x vector.Index, log eventstore.LogID, position uint64) vector.View {
	t.Helper()
	v, err := x.View(context.Background(), log, position)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(v.Close)
	return v
}

// renamed gives records of one log as those of another.
func renamed(records []eventstore.Record, log eventstore.LogID) []eventstore.Record {
	list := slices.Clone(records)
	for i := range list {
		list[i].Log = log
	}
	return list
}

func feed(t testing.TB, x *Index, records []eventstore.Record) {
	t.Helper()
	for len(records) > 0 {
		n := min(len(records), 50)
		if err := x.Apply(context.Background(), 0, records[:n]); err != nil {
			t.Fatal(err)
		}
		records = records[n:]
	}
}

func filled(t testing.TB, f *vectortest.Feed) *Index {
	x := open(t, t.TempDir(), Options{})
	apply(t, x, f)
	return x
}

// followed is an index of all logs that was given the records.
func followed(t testing.TB, records []eventstore.Record) *Index {
	x := open(t, t.TempDir(), Options{})
	feed(t, x, records)
	return x
}
