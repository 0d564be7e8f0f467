package embedded

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"varve/eventstore"
	"varve/projections/vector/vectortest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t testing.TB, dir string, opts Options) *Index {
	t.Helper()
	x, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// backend is an index with all that can happen to one.
func backend(t testing.TB, opts Options) *vectortest.Backend {
	dir := t.TempDir()
	opts.sync = func(*os.File) error { return nil } // TestSyncs has the real one
	past := &history{}
	if opts.OnDemand {
		opts.Prefix, opts.Head = past.prefix, past.head
	}
	x := open(t, dir, opts)
	apply := func(ctx context.Context, shard int, page []eventstore.Record) error {
		past.add(page...)
		return x.Apply(ctx, shard, page)
	}
	must := func(t testing.TB, err error) {
		if err != nil {
			t.Helper()
			t.Fatal(err)
		}
	}
	reopen := func(t testing.TB, b *vectortest.Backend) uint64 {
		must(t, x.Close())
		x = open(t, dir, opts)
		b.Index = x
		return x.Applied(0)
	}
	b := &vectortest.Backend{Index: x, Apply: apply, Acts: map[string]func(testing.TB, *vectortest.Backend) uint64{
		"flush": func(t testing.TB, b *vectortest.Backend) uint64 {
			must(t, x.Flush())
			return x.Applied(0)
		},
		"merge": func(t testing.TB, b *vectortest.Backend) uint64 {
			must(t, x.Merge(context.Background()))
			return x.Applied(0)
		},
		"reopen": reopen,
		"flush and reopen": func(t testing.TB, b *vectortest.Backend) uint64 {
			must(t, x.Flush())
			before := x.Applied(0)
			if after := reopen(t, b); after != before {
				t.Fatalf("applied %d before closing and %d after opening", before, after)
			}
			return before
		},
		"save": func(t testing.TB, b *vectortest.Backend) uint64 { // as when another log's head was sealed
			x.apply.Lock()
			defer x.apply.Unlock()
			must(t, x.save())
			return x.feeds[0]
		},
		"damage": func(t testing.TB, b *vectortest.Backend) uint64 {
			must(t, x.Close())
			if files := segmentFiles(t, dir); len(files) > 0 {
				must(t, os.Truncate(files[0], 100))
			}
			return reopen(t, b)
		},
	}}
	if opts.OnDemand {
		b.Acts["unload"] = func(t testing.TB, b *vectortest.Backend) uint64 {
			unloadAll(x)
			return x.Applied(0)
		}
		b.Acts["load"] = func(t testing.TB, b *vectortest.Backend) uint64 {
			for _, log := range past.logs() {
				v, err := x.View(context.Background(), log, x.Position(log))
				must(t, err)
				v.Close()
			}
			return x.Applied(0)
		}
		b.Acts["erase nothing"] = func(t testing.TB, b *vectortest.Backend) uint64 { // makes cached files go
			for _, log := range past.logs() {
				must(t, x.Erase(context.Background(), log, 1<<40))
			}
			return x.Applied(0)
		}
	}
	return b
}

func segmentFiles(t testing.TB, dir string) []string {
	files, err := filepath.Glob(filepath.Join(dir, "log-*", "*"+segmentSuffix))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestContract(t *testing.T) {
	for _, variant := range []struct {
		name string
		opts Options
	}{
		{"head", Options{}},
		{"segments of one row", Options{HeadRows: 1, Verify: true}},
		{"small segments", Options{HeadRows: 5}},
		{"small segments, not merged", Options{HeadRows: 4, NoMerge: true, CacheBytes: 4096}},
		{"little memory", Options{HeadBytes: 3000, Workers: 3, alone: 1}},
		{"memory budget", Options{Memory: 20_000}},
		{"on demand", Options{OnDemand: true}},
		{"on demand, small segments", Options{OnDemand: true, HeadRows: 3}},
		{"on demand, hardly any memory", Options{OnDemand: true, HeadRows: 5, Memory: 1}},
		{"on demand, little memory", Options{OnDemand: true, Memory: 30_000, Verify: true}},
	} {
		t.Run(variant.name, func(t *testing.T) {
			vectortest.Run(t, func(t testing.TB) *vectortest.Backend { return backend(t, variant.opts) })
		})
	}
}
