package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"varve/domain"
	"varve/eventstore"
	"varve/eventstore/failpoint"
	"varve/eventstore/follow"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// names is a projection that lists document ids, and refuses the one called poison.
type names struct {
	reader
	version int
	poison  atomic.Bool
}

func (n *names) Name() string { return "names" }
func (n *names) Version() int { return n.version }
func (n *names) Schema() []string {
	return []string{fmt.Sprintf(`CREATE TABLE IF NOT EXISTS names_%d (log TEXT NOT NULL, position BIGINT NOT NULL, id TEXT NOT NULL)`, n.version)}
}
func (n *names) Handles() []string { return []string{"document.written"} }
func (n *names) Apply(ctx context.Context, tx *Tx, page []eventstore.Record) error {
	for _, r := range page {
		id := strings.TrimPrefix(r.Stream, domain.DocumentStream(""))
		if id == "poison" && n.poison.Load() {
			return errors.New("poison")
		}
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(`INSERT INTO names_%d (log, position, id) VALUES ($1, $2, $3)`, n.version), string(r.Log), int64(r.Position), id); err != nil {
			return err
		}
	}
	return nil
}

func (n *names) all(ctx context.Context) (out []string, err error) {
	err = n.query(ctx, fmt.Sprintf(`SELECT id FROM names_%d ORDER BY position`, n.version), nil, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		out = append(out, id)
		return err
	})
	return out, err
}

// gate is an index that stands still until it is opened.
type gate struct {
	mu      sync.Mutex
	open    chan struct{}
	applied uint64
	seen    []uint64
}

func (g *gate) Apply(_ context.Context, _ int, page []eventstore.Record) error {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range page {
		g.applied = r.Feed
		g.seen = append(g.seen, r.Feed)
	}
	return nil
}

func (g *gate) Applied(int) uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.applied
}

func TestPinWaitsAndSaysHowFarBehind(t *testing.T) {
	n, g := &names{version: 1}, &gate{open: make(chan struct{})}
	s := newStage(t, n)
	s.put(written("a", "c", 1))
	ctx := context.Background()

	r := NewRunner(s.store, t.TempDir(), Options{PinWait: 20 * time.Millisecond})
	slow := &names{version: 1}
	r.Add(slow)
	r.AddIndex("gate", g)
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	s.put(written("b", "c", 1), written("d", "c", 1))
	pin, err := r.Pin(ctx, s.log)
	if err != nil || pin.Position != 0 || pin.Lag != 3 {
		t.Fatalf("with an index that stands still: %+v, %v", pin, err)
	}
	r.o.PinWait = time.Minute
	if pin, err := r.Pin(ctx, s.log, "names"); err != nil || pin.Position != 3 || pin.Lag != 0 {
		t.Errorf("of the model that runs: %+v, %v", pin, err)
	}
	if _, err := r.Pin(ctx, s.log, "nobody"); err == nil || !strings.Contains(err.Error(), "names, gate") {
		t.Errorf("of an unknown model: %v", err)
	}
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := r.Pin(canceled, s.log); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v", err)
	}
	go close(g.open)
	if pin, err := r.Pin(ctx, s.log); err != nil || pin.Position != 3 || pin.Lag != 0 {
		t.Errorf("after it was opened: %+v, %v", pin, err)
	}
	if pin, err := r.Pin(ctx, "no log"); err != nil || pin.Position != 0 || pin.Log != "no log" {
		t.Errorf("of a log that does not exist: %+v, %v", pin, err)
	}
	if !slices.Equal(g.seen, []uint64{1, 2, 3}) {
		t.Errorf("the index saw %v", g.seen)
	}
	for _, st := range r.Status() {
		if st.Applied != 3 || st.Head != 3 || st.Lag != 0 || st.LagSeconds != 0 || st.Err != "" {
			t.Errorf("status %+v", st)
		}
	}
}

func TestParkedStreamShowsAndIsRetried(t *testing.T) {
	n := &names{version: 1}
	n.poison.Store(true)
	s := newStage(t, n)
	ctx := context.Background()
	s.put(written("a", "c", 1), written("poison", "c", 1), written("b", "c", 1), written("poison", "c", 2))
	pin := must[Pin](t)(s.runner.Pin(ctx, s.log))
	if len(pin.Parked) != 1 || pin.Parked[0].Model != "names" || pin.Parked[0].Stream != "document-poison" || pin.Parked[0].Position != 2 || pin.Position != 4 {
		t.Fatalf("pin %+v", pin)
	}
	expect(t, "applied", must[[]string](t)(n.all(ctx)), []string{"a", "b"})
	if st := s.runner.Status()[0]; len(st.Parked) != 1 || st.Lag != 0 {
		t.Errorf("status %+v", st)
	}
	k := follow.Key{Log: s.log, Stream: "document-poison"}
	if err := s.runner.Retry(ctx, "names", 0, k, 0); err == nil {
		t.Error("a retry that fails said nothing")
	}
	n.poison.Store(false)
	if err := s.runner.Retry(ctx, "names", 0, k, 0); err != nil {
		t.Fatal(err)
	}
	expect(t, "then", must[[]string](t)(n.all(ctx)), []string{"a", "poison", "b", "poison"})
	if pin := must[Pin](t)(s.runner.Pin(ctx, s.log)); len(pin.Parked) != 0 {
		t.Errorf("still parked: %+v", pin.Parked)
	}
}

func TestRaisedVersionBuildsAnewAndDropsTheOld(t *testing.T) {
	n := &names{version: 1}
	s := newStage(t, n)
	ctx := context.Background()
	s.put(written("a", "c", 1), written("b", "c", 1))
	dir := s.runner.dir
	if err := s.runner.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.all(ctx); domain.CodeOf(err) != domain.CodeUnavailable {
		t.Errorf("a query of a stopped runner gave %v", err)
	}
	two := &names{version: 2}
	r := NewRunner(s.store, dir, Options{PinWait: time.Minute})
	r.Add(two)
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	if err := r.WaitApplied(ctx, 0, 2); err != nil {
		t.Fatal(err)
	}
	expect(t, "names", must[[]string](t)(two.all(ctx)), []string{"a", "b"})
	files, _ := filepath.Glob(filepath.Join(dir, "names.v1.*"))
	if len(files) > 0 {
		t.Errorf("left: %v", files)
	}
}

// While a model is rebuilt and exchanged, queries and pins go on: none fails,
// none sees less than the one before.
func TestRebuildServesMeanwhile(t *testing.T) {
	docs := NewDocuments()
	s := newStage(t, docs)
	ctx := context.Background()
	for i := range 300 {
		s.put(written(fmt.Sprintf("d%03d", i%200), "c", i))
	}
	done := make(chan struct{})
	var reading sync.WaitGroup
	for range 3 {
		reading.Go(func() {
			last := 0
			for {
				pin, err := s.runner.Pin(ctx, s.log)
				if err != nil {
					t.Error(err)
					return
				}
				n, err := docs.Count(ctx, pin.At, DocumentQuery{})
				if err != nil || n < last || pin.Lag > 0 {
					t.Errorf("count %d after %d at %+v: %v", n, last, pin, err)
					return
				}
				last = n
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	calls := 0
	for i := range 5 {
		s.put(written(fmt.Sprintf("new%d", i), "c", 1))
		if err := s.runner.Rebuild(ctx, "documents", func(done, total uint64, rate float64) {
			calls++
			if done > total || rate <= 0 {
				t.Errorf("progress %d of %d at %f", done, total, rate)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	at := s.put(written("last", "c", 1))
	close(done)
	reading.Wait()
	expect(t, "in the end", must[int](t)(docs.Count(ctx, at, DocumentQuery{})), 206)
	if calls == 0 {
		t.Error("progress was never told")
	}
	if err := s.runner.Rebuild(ctx, "nobody", nil); err == nil {
		t.Error("an unknown model was rebuilt")
	}
}

// A rebuild that ended between removing the old file and naming the new one is
// adopted at the next start; one that ended before is gone on with.
func TestInterruptedRebuildIsUsed(t *testing.T) {
	docs := NewDocuments()
	s := newStage(t, docs)
	ctx := context.Background()
	s.put(written("a", "c", 1), written("b", "c", 2))
	path := s.runner.path(docs)
	if err := s.runner.Stop(); err != nil {
		t.Fatal(err)
	}
	r := NewRunner(s.store, s.runner.dir, Options{PinWait: time.Minute})
	r.Add(NewDocuments())
	disable := failpoint.Enable(func(name string, _ int) error {
		if name == "projection.exchange" {
			return errors.New("killed")
		}
		return nil
	})
	err := r.Rebuild(ctx, "documents", nil)
	disable()
	if err == nil {
		t.Fatal("the failpoint was not reached")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	again := NewDocuments()
	r = NewRunner(s.store, s.runner.dir, Options{PinWait: time.Minute})
	r.Add(again)
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	defer r.Stop()
	at, err := r.Pin(ctx, s.log)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, "documents", must[int](t)(again.Count(ctx, at.At, DocumentQuery{})), 2)
	if _, err := os.Stat(path + ".rebuild"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the rebuild was not adopted: %v", err)
	}
}

// Taking a move a second time is refused and changes nothing.
func TestTakeComparesTheCheckpoint(t *testing.T) {
	n := &names{version: 1}
	s := newStage(t)
	s.put(written("a", "c", 1), written("b", "c", 1))
	ctx := context.Background()
	f, err := openFile(ctx, filepath.Join(t.TempDir(), "names.db"), n)
	if err != nil {
		t.Fatal(err)
	}
	defer f.close()
	var records []eventstore.Record
	for r, err := range s.store.Feed(ctx, 0, 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	c := &sqlConsumer{f, n}
	first := follow.Move{To: follow.At(&records[0]), Records: records[:1], Park: []follow.Parked{{Log: "x", Stream: "y", Error: "why", Since: time.UnixMicro(5).UTC()}}}
	second := follow.Move{From: first.To, To: follow.At(&records[1]), Records: records[1:], Unpark: []follow.Key{{Log: "x", Stream: "y"}}}
	wrong := second
	wrong.From.Record = records[1].ID
	for i, step := range []struct {
		move follow.Move
		want error
	}{{second, follow.ErrMoved}, {first, nil}, {first, follow.ErrMoved}, {wrong, follow.ErrMoved}, {second, nil}, {second, follow.ErrMoved}} {
		if err := c.Take(ctx, step.move); !errors.Is(err, step.want) {
			t.Errorf("step %d: %v, want %v", i, err, step.want)
		}
		if i == 1 {
			state, err := c.Load(ctx, 0)
			if err != nil || len(state.Parked) != 1 || state.Parked[0] != (follow.Parked{Log: "x", Stream: "y", Error: "why", Since: time.UnixMicro(5).UTC()}) {
				t.Errorf("state %+v, %v", state, err)
			}
		}
	}
	rows := 0
	if err := f.read.QueryRow(`SELECT count(*) FROM names_1`).Scan(&rows); err != nil || rows != 2 {
		t.Errorf("%d rows, %v", rows, err)
	}
	state, err := c.Load(ctx, 0)
	if err != nil || state.Checkpoint != second.To || len(state.Parked) != 0 {
		t.Errorf("in the end %+v, %v", state, err)
	}
	for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "1"} {
		var have string
		if err := f.write.QueryRow(`PRAGMA ` + pragma).Scan(&have); err != nil || have != want {
			t.Errorf("%s is %s, %v", pragma, have, err)
		}
	}
}
