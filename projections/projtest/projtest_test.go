package projtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"varve/eventstore"
	"varve/eventstore/failpoint"
	"varve/eventstore/follow"
	"varve/eventstore/memory"
	"varve/eventstore/sqlite"
	"varve/projections"
)

var quiet = slog.New(slog.DiscardHandler)

// engines are the stores that everything runs over.
var engines = map[string]func(t testing.TB, shards int) eventstore.Owner{
	"memory": func(t testing.TB, shards int) eventstore.Owner {
		s, err := memory.Open(memory.Options{Shards: shards})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	},
	"sqlite": func(t testing.TB, shards int) eventstore.Owner {
		s, err := sqlite.Open(filepath.Join(t.TempDir(), "log.db"), sqlite.Options{Shards: shards})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	},
}

// each runs a test with files over every store, and with models in PostgreSQL.
func each(t *testing.T, shards int, test func(t *testing.T, store eventstore.Owner, place func() Place)) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) { test(t, open(t, shards), func() Place { return Files(t) }) })
	}
	t.Run("postgres", func(t *testing.T) {
		test(t, engines["memory"](t, shards), func() Place { return inDatabase(t) })
	})
}

func inDatabase(t *testing.T) Place {
	t.Helper()
	p, ok := Database(t)
	if !ok {
		t.Skip("VARVE_TEST_POSTGRES names no server")
	}
	return p
}

func start(t testing.TB, store eventstore.Follower, p Place, o projections.Options) *projections.Runner {
	t.Helper()
	if o.PinWait == 0 {
		o.PinWait = time.Minute // a slow machine is not what the tests are about
	}
	r := projections.NewRunner(store, p.Dir, p.Options(o))
	r.Add(Models()...)
	if err := r.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r
}

func history(t testing.TB, store eventstore.Owner, steps int) []*World {
	var ws []*World
	for shard := range store.Shards() {
		ws = append(ws, NewWorld(t, store, shard, 7, 2))
	}
	for _, w := range ws {
		w.Go(t, steps)
	}
	return ws
}

func same(t *testing.T, what string, want, have map[string][]string) {
	t.Helper()
	if diff := cmp.Diff(want, have); diff != "" {
		t.Fatalf("%s differs (-want +have):\n%s", what, diff[:min(len(diff), 4000)])
	}
}

// Filled at once, followed in pages of any size while it is written, and
// rebuilt: the same tables.
func TestRebuiltIsIncremental(t *testing.T) {
	each(t, 2, func(t *testing.T, store eventstore.Owner, place func() Place) {
		live := map[int]*projections.Runner{}
		places := map[int]Place{}
		for _, size := range []int{1, 7, 1000} {
			places[size] = place()
			live[size] = start(t, store, places[size], projections.Options{PageSize: size, Logger: quiet})
		}
		history(t, store, 400)
		for _, r := range live {
			CatchUp(t, store, r)
		}
		if err := live[7].Rebuild(t.Context(), "documents", nil); err != nil {
			t.Fatal(err)
		}
		for _, r := range live {
			if err := r.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		want := places[1].Dump(t)
		for table, rows := range want {
			if len(rows) == 0 {
				t.Errorf("the history leaves %s empty: it proves nothing about it", table)
			}
		}
		same(t, "pages of 1,000", want, places[1000].Dump(t))
		same(t, "pages of 7, documents rebuilt", want, places[7].Dump(t))
		same(t, "filled at once", want, Follow(t, store, place(), projections.Options{Logger: quiet}))
		same(t, "in files", want, Follow(t, store, Files(t), projections.Options{Logger: quiet}))
		if places[7].Database != "" {
			if left := places[7].Schemas(t); len(left) != 1+len(Models()) {
				t.Errorf("the rebuild left %v", left)
			}
		} else if files, _ := filepath.Glob(filepath.Join(places[7].Dir, "*rebuild*")); len(files) > 0 {
			t.Errorf("the rebuild left %v", files)
		}
	})
}

// Two runners that know nothing of each other follow into the same files: the
// checkpoint, compared when it moves, lets each page be applied once.
func TestAppliedTwiceIsOnce(t *testing.T) {
	each(t, 1, func(t *testing.T, store eventstore.Owner, place func() Place) {
		p := place()
		var runners []*projections.Runner
		for range 2 {
			runners = append(runners, start(t, store, p, projections.Options{PageSize: 3, Logger: quiet}))
		}
		history(t, store, 200)
		for _, r := range runners {
			CatchUp(t, store, r)
			if err := r.Stop(); err != nil {
				t.Fatal(err)
			}
		}
		same(t, "two runners in the same place", Follow(t, store, Files(t), projections.Options{Logger: quiet}), p.Dump(t))
	})
}

// Every step of a page fails now and then; a runner that is started again each
// time ends with the same tables.
func TestFailuresLoseAndDoubleNothing(t *testing.T) {
	each(t, 1, func(t *testing.T, store eventstore.Owner, place func() Place) {
		world := history(t, store, 100)[0]
		var mu sync.Mutex
		hits := 0
		disable := failpoint.Enable(func(name string, hit int) error {
			switch name {
			case "projection.moved", "projection.applied", "projection.committed", "projection.filled":
			default:
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			if hits++; hits%11 == 0 {
				return fmt.Errorf("failpoint %s", name)
			}
			return nil
		})
		p := place()
		r := start(t, store, p, projections.Options{Logger: quiet, PageSize: 5})
		CatchUp(t, store, r) // filled
		world.Go(t, 200)
		CatchUp(t, store, r)
		if err := r.Stop(); err != nil {
			t.Fatal(err)
		}
		counts := failpoint.Hits()
		disable()
		for _, name := range []string{"projection.moved", "projection.applied", "projection.committed", "projection.filled"} {
			if counts[name] == 0 {
				t.Errorf("%s was never reached", name)
			}
		}
		same(t, "after failures", Follow(t, store, Files(t), projections.Options{Logger: quiet}), p.Dump(t))
	})
}

func TestRefusesAnotherStore(t *testing.T) {
	store := engines["memory"](t, 1)
	history(t, store, 20)
	dir := t.TempDir()
	Follow(t, store, Place{Dir: dir}, projections.Options{Logger: quiet})
	other := engines["memory"](t, 1)
	history(t, other, 20)
	r := projections.NewRunner(other, dir, projections.Options{Logger: quiet})
	r.Add(Models()...)
	err := r.Start(t.Context())
	var refused *follow.CheckpointError
	if !errors.As(err, &refused) {
		t.Fatalf("started over another store: %v", err)
	}
	if err := r.Rebuild(context.Background(), "documents", nil); err != nil {
		t.Fatalf("a rebuild must help: %v", err)
	}
	if files, err := filepath.Glob(filepath.Join(dir, "documents.v2-*.db")); err != nil || len(files) != 1 {
		t.Fatalf("the model is not in one file: %v, %v", files, err)
	}
}
