package projections

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"varve/eventstore"
	"varve/eventstore/failpoint"
	"varve/eventstore/follow"
)

// Sizes of a fill: records a page, pages that are read ahead, records a transaction.
const (
	fillPage        = 1000
	fillAhead       = 32
	fillTransaction = 100_000
)

// loader is a projection that fills empty tables faster than Apply does: its
// rows come without their indexes, and it may keep in memory what Apply looks up.
type loader interface {
	// load begins, over tables that hold what earlier fills committed.
	load(ctx context.Context, tx *Tx) (loading, error)
}

// loading is one fill.
type loading interface {
	// prepare folds a page, which may be empty, and gives what is to be written of
	// it. It needs no database: it runs beside write, some pages ahead. A commit
	// follows the last page of a transaction.
	prepare(page []eventstore.Record, last bool) (any, error)
	// write takes what prepare gave, in the same order.
	write(ctx context.Context, tx *Tx, prepared any) error
	// settle commits what was written outside of tx, when tx has moved the checkpoint
	// that covers it and before it commits; drop gives up what was not settled.
	settle() error
	drop()
}

// plain is the loading of a projection that has none of its own.
type plain struct{ p Projection }

func (l plain) prepare(page []eventstore.Record, _ bool) (any, error) { return page, nil }
func (l plain) write(ctx context.Context, tx *Tx, prepared any) error {
	if page := prepared.([]eventstore.Record); len(page) > 0 {
		return l.p.Apply(ctx, tx, page)
	}
	return nil
}
func (plain) settle() error { return nil }
func (plain) drop()         {}

// fill applies all shards up to their heads, in big transactions. It goes on
// where an earlier fill of the file ended.
func (r *Runner) fill(ctx context.Context, p Projection, f *tables, progress func(done, total uint64, rate float64)) error {
	var done, total uint64
	start := time.Now()
	for shard := range r.store.Shards() {
		head, err := r.store.Head(ctx, shard)
		if err != nil {
			return err
		}
		at, err := f.checkpoint(ctx, shard)
		if err != nil {
			return err
		}
		total, done = total+head, done+at.Feed
	}
	first := done
	var l loading // begun once, over what the tables hold, and gone on with on every shard
	for shard := range r.store.Shards() {
		err := r.fillShard(ctx, p, f, shard, &l, func(n uint64) {
			done += n
			if progress != nil {
				progress(done, max(total, done), float64(done-first)/max(time.Since(start).Seconds(), 1e-9))
			}
		})
		if err != nil {
			return fmt.Errorf("fill %s: %w", p.Name(), err)
		}
	}
	return nil
}

// begin begins the loading of a projection.
func begin(ctx context.Context, tx *Tx, p Projection) (loading, error) {
	if own, ok := p.(loader); ok {
		return own.load(ctx, tx)
	}
	return plain{p}, nil
}

// prepared is a page on its way from the goroutine that reads to the one that writes.
type prepared struct {
	value any
	to    follow.Checkpoint
	last  bool // of a transaction
	err   error
}

func (r *Runner) fillShard(ctx context.Context, p Projection, f *tables, shard int, l *loading, progress func(n uint64)) error {
	at, err := f.checkpoint(ctx, shard)
	if err != nil {
		return err
	}
	if head, err := r.store.Head(ctx, shard); err != nil || head == at.Feed {
		return err
	}
	tx, err := f.beginFrom(ctx, shard, at)
	if err != nil {
		return err
	}
	defer func() { rollback(tx) }()
	if *l == nil {
		if *l, err = begin(ctx, tx, p); err != nil {
			return err
		}
	}
	defer (*l).drop()
	reading, stop := context.WithCancel(ctx)
	pages := make(chan prepared, fillAhead)
	go r.readPages(reading, p, *l, shard, at, pages)
	defer func() {
		stop()
		for range pages { // until the reader has ended
		}
	}()
	for page := range pages {
		if page.err != nil {
			return page.err
		}
		if err := (*l).write(ctx, tx, page.value); err != nil {
			return err
		}
		if !page.last {
			continue
		}
		if err := moveCheckpoint(ctx, tx, follow.Move{Shard: shard, From: at, To: page.to}); err != nil {
			return err
		}
		if err := (*l).settle(); err != nil {
			return err
		}
		if err := failpoint.Hit("projection.filled"); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		progress(page.to.Feed - at.Feed)
		at = page.to
		if tx, err = f.beginFrom(ctx, shard, at); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// beginFrom begins a transaction of a fill, the only one in these tables, at a
// checkpoint: who lost the lease and does not know it fails here, before writing.
func (f *tables) beginFrom(ctx context.Context, shard int, at follow.Checkpoint) (*Tx, error) {
	tx, err := f.begin(ctx)
	if err != nil || f.database == nil {
		return tx, err
	}
	if _, err = tx.ExecContext(ctx, `SELECT pg_advisory_xact_lock($1)`, advisory("fill "+f.path)); err == nil {
		var now follow.Checkpoint
		if now, err = readCheckpoint(tx.QueryRowContext(ctx, selectCheckpoint, shard)); err == nil && now != at {
			err = follow.ErrMoved
		}
	}
	if err != nil {
		rollback(tx)
		return nil, err
	}
	return tx, nil
}

// readPages reads and prepares what a projection handles up to the shard's head, some pages ahead of the writer.
func (r *Runner) readPages(ctx context.Context, p Projection, l loading, shard int, at follow.Checkpoint, pages chan<- prepared) {
	defer close(pages)
	handled := map[string]bool{}
	for _, t := range p.Handles() {
		handled[t] = true
	}
	after, open := at.Feed, 0 // records, or pages without any, since the last commit
	for {
		page := make([]eventstore.Record, 0, fillPage)
		out := prepared{to: at}
		for rec, err := range r.store.Feed(ctx, shard, after, fillPage) {
			if err != nil {
				out.err = err
				break
			}
			out.to, after = follow.At(&rec), rec.Feed
			if len(handled) == 0 || handled[rec.Type] {
				page = append(page, rec)
			}
		}
		var cut *eventstore.TruncatedError
		if errors.As(out.err, &cut) && cut.First > after+1 {
			after = cut.First - 1
			continue
		}
		head := out.to == at
		if head && open == 0 && out.err == nil {
			return
		}
		open += max(len(page), 1)
		if out.last = head || open >= fillTransaction; out.last {
			open = 0
		}
		if out.err == nil {
			out.value, out.err = l.prepare(page, out.last)
		}
		select {
		case pages <- out:
		case <-ctx.Done():
			return
		}
		if head || out.err != nil {
			return
		}
		at = out.to
	}
}

// Rebuild builds a projection anew beside the one that serves, and then lets it
// take over. progress may be nil. What an interrupted rebuild wrote is used by
// the next. It works on a runner that was not started, too.
func (r *Runner) Rebuild(ctx context.Context, name string, progress func(done, total uint64, rate float64)) error {
	m, err := r.model(name)
	if err != nil {
		return err
	}
	if m.p == nil {
		return fmt.Errorf("rebuild %s: it is an index, which keeps its own files", name)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	told := progress
	progress = func(done, total uint64, rate float64) {
		m.rebuilding.Store(&fillProgress{done, total, rate})
		if told != nil {
			told(done, total, rate)
		}
	}
	m.rebuilding.Store(&fillProgress{})
	defer m.rebuilding.Store(nil)
	if r.database != nil {
		return r.rebuildShared(ctx, m, progress)
	}
	select {
	case m.building <- struct{}{}: // after a first fill that is under way
		defer func() { <-m.building }()
	case <-ctx.Done():
		return ctx.Err()
	}
	f, err := r.fillBeside(ctx, m, progress)
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", name, err)
	}
	defer func() { _ = f.close() }()
	if r.started {
		m.halt()
		defer r.run(m)
	}
	if err := r.fillOn(ctx, m, f, nil); err != nil { // what came meanwhile
		return fmt.Errorf("rebuild %s: %w", name, err)
	}
	if err := f.close(); err != nil {
		return fmt.Errorf("rebuild %s: %w", name, err)
	}
	return r.exchange(ctx, m)
}

// first fills a model that has nothing yet. An event that cannot be applied ends
// it early: followers go on from there, and park what is to blame.
func (r *Runner) first(ctx context.Context, m *model) error {
	select {
	case m.building <- struct{}{}:
		defer func() { <-m.building }()
	case <-ctx.Done():
		return ctx.Err()
	}
	f, err := r.fillBeside(ctx, m, m.progress)
	if err == nil {
		err = f.close()
	}
	if err != nil {
		return fmt.Errorf("fill %s: %w", m.name, err)
	}
	return r.exchange(ctx, m)
}

// fillOn fills up to an event that cannot be applied: that one is for followers,
// which park it and go on.
func (r *Runner) fillOn(ctx context.Context, m *model, f *tables, progress func(done, total uint64, rate float64)) error {
	err := r.fill(ctx, m.p, f, progress)
	if err == nil || isStorage(err) || ctx.Err() != nil {
		return err
	}
	r.o.Logger.Error("filling a read model ended early: it goes on event by event", "model", m.name, "error", err)
	return nil
}

// beside is where a model is filled.
func (r *Runner) beside(p Projection) string { return r.path(p) + ".rebuild" }

// fillBeside fills a file beside the one that serves, and makes its indexes. It
// goes on with what an interrupted fill left, unless that belongs to another store.
func (r *Runner) fillBeside(ctx context.Context, m *model, progress func(done, total uint64, rate float64)) (*tables, error) {
	path := r.beside(m.p)
	f, err := openBeside(ctx, path, m.p)
	if err != nil {
		return nil, err
	}
	err = r.check(ctx, m, f)
	var other *follow.CheckpointError
	if errors.As(err, &other) {
		if err := errors.Join(f.close(), removeFile(path)); err != nil {
			return nil, err
		}
		if f, err = openBeside(ctx, path, m.p); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.close())
	}
	if err := r.fillOn(ctx, m, f, progress); err != nil {
		return nil, errors.Join(err, f.close())
	}
	if err := f.finish(ctx, m.p); err != nil {
		return nil, errors.Join(err, f.close())
	}
	return f, nil
}

// check compares the places of a model's tables with the store.
func (r *Runner) check(ctx context.Context, m *model, f *tables) error {
	for shard := range r.store.Shards() {
		c, err := f.checkpoint(ctx, shard)
		if err == nil {
			err = follow.Check(ctx, r.store, m.name, shard, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// exchange puts a finished file in the place of the one that serves. Queries
// that run are waited for, and new ones wait.
func (r *Runner) exchange(ctx context.Context, m *model) error {
	path, beside := r.path(m.p), r.beside(m.p)
	m.swap.Lock()
	defer m.swap.Unlock()
	serving := m.tables != nil
	if err := m.closeLocked(); err != nil {
		return err
	}
	if err := failpoint.Hit("projection.exchange"); err != nil {
		return err
	}
	if err := removeFile(path); err != nil {
		return fmt.Errorf("take over %s: %w", m.name, err)
	}
	if err := os.Rename(beside, path); err != nil {
		return fmt.Errorf("take over %s: %w", m.name, err)
	}
	if !serving && !r.started {
		return nil
	}
	f, err := openFile(ctx, path, m.p)
	if err != nil {
		return err
	}
	m.tables, m.filled = f, true
	return nil
}

// adopt gives a rebuild that was complete when the process ended, between
// removing the old file and renaming the new, its name.
func (r *Runner) adopt(ctx context.Context, p Projection, path string) error {
	if _, err := os.Stat(path); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(path + ".rebuild"); err != nil {
		return nil //nolint:nilerr // nothing to adopt
	}
	f, err := openBeside(ctx, path+".rebuild", p)
	if err != nil {
		return err
	}
	filled, err := f.state(ctx, "filled")
	if err = errors.Join(err, f.close()); err != nil || filled == "" {
		return err
	}
	if err := os.Rename(path+".rebuild", path); err != nil {
		return fmt.Errorf("adopt rebuilt %s: %w", p.Name(), err)
	}
	return nil
}
