package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"varve/domain"
	"varve/eventstore/follow"
	"varve/eventstore/postgres"
)

// openModel opens what serves and compares its places with the store; without
// anything that serves the model is built when it runs.
func (d *database) openModel(ctx context.Context, m *model) error {
	f, err := d.open(ctx, m.p)
	if err != nil {
		return fmt.Errorf("open %s: %w", m.name, postgres.Explain(err))
	}
	if f == nil {
		return nil
	}
	if err := d.r.check(ctx, m, f); err != nil && !errors.Is(err, errSuperseded) { // just now: it is opened anew when it runs
		return fmt.Errorf("open %s: %w", m.name, err)
	}
	m.serve(f)
	return nil
}

// run follows for a model: what serves is applied by who has the leases, and is
// built first, by one process, where nothing serves. Another generation that takes
// over is gone on with.
func (d *database) run(ctx context.Context, m *model, fs []*follow.Follower) {
	changes := d.hub.changes(base(m.p))
	for try := 1; m.current() == nil; try++ {
		err := d.first(ctx, m, changes)
		m.filling.Store(nil)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			m.fail(postgres.Explain(err))
			d.r.o.Logger.Error("a read model could not be filled: trying again", "model", m.name, "error", postgres.Explain(err))
			pause(ctx, min(time.Duration(try)*time.Second, 30*time.Second))
		}
	}
	stop := d.followAll(ctx, m, m.current(), fs)
	defer func() { stop() }()
	_ = d.sweep(ctx) // what cannot be dropped now is dropped later
	tidy := time.NewTicker(time.Minute)
	defer tidy.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tidy.C:
			_ = d.sweep(ctx)
			continue
		case <-changes:
		}
		stop = d.move(ctx, m, stop)
	}
}

// move goes over to the generation that serves now, if it is another one. Its
// followers run before the old ones stop, so that a pin never sees less.
func (d *database) move(ctx context.Context, m *model, stop func()) func() {
	schema, _, err := d.serving(ctx, base(m.p))
	old := m.current()
	if err == nil && (schema == "" || schema == old.path) {
		return stop
	}
	var f *tables
	if err == nil {
		f, err = d.open(ctx, m.p)
	}
	if err != nil || f == nil {
		if ctx.Err() == nil {
			d.r.o.Logger.Warn("cannot open the tables that serve: trying again", "model", m.name, "error", postgres.Explain(err))
			pause(ctx, 200*time.Millisecond)
			d.hub.signal(base(m.p))
		}
		return stop
	}
	m.err.Store(nil)
	fs := d.r.followersOf(m)
	next := d.followAll(ctx, m, f, fs)
	bounded, end := context.WithTimeout(ctx, 2*time.Second)
	for shard, now := range m.followers() {
		_ = fs[shard].WaitApplied(bounded, now.Applied()) // where it does not come, a pin waits for it
	}
	end()
	m.serve(f)
	m.running.Store(&fs)
	stop()
	background := context.WithoutCancel(ctx)
	d.r.running.Go(func() {
		old.users.Wait()
		d.hub.release(background, old.path)
		_ = d.sweep(background)
	})
	return next
}

// followAll runs followers on a generation; the function that it gives stops them.
func (d *database) followAll(ctx context.Context, m *model, f *tables, fs []*follow.Follower) func() {
	following, cancel := context.WithCancel(ctx)
	for _, one := range fs {
		one.Consumer = &sharedConsumer{sqlConsumer{f: f, p: m.p}, d.hub}
	}
	wait := d.r.followAll(following, m, fs)
	return func() {
		cancel()
		wait()
	}
}

// first waits until something serves, and builds it where this process may.
func (d *database) first(ctx context.Context, m *model, changes <-chan struct{}) error {
	for {
		schema, building, err := d.serving(ctx, base(m.p))
		if err != nil {
			return err
		}
		if building {
			m.progress(0, 0, 0)
		}
		if schema != "" {
			f, err := d.open(ctx, m.p)
			if f != nil {
				m.serve(f)
			}
			return err
		}
		if !d.r.o.Standby {
			return d.underLease(ctx, m, func(ctx context.Context) error {
				if schema, _, err := d.serving(ctx, base(m.p)); err != nil || schema != "" {
					return err // another process built it meanwhile
				}
				return d.build(ctx, m, m.progress)
			})
		}
		select {
		case <-changes:
		case <-time.After(time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// underLease does something that one process does at a time: building a model.
func (d *database) underLease(ctx context.Context, m *model, do func(ctx context.Context) error) error {
	select {
	case m.building <- struct{}{}:
		defer func() { <-m.building }()
	case <-ctx.Done():
		return ctx.Err()
	}
	held, release, err := versioned{d.r.o.Lease, base(m.p)}.Acquire(ctx, "build")
	if err != nil {
		return err
	}
	defer release()
	return do(held)
}

// rebuild builds a generation beside the one that serves, in whatever process,
// and returns when this one reads it, too.
func (d *database) rebuild(ctx context.Context, m *model, progress func(done, total uint64, rate float64)) error {
	err := d.underLease(ctx, m, func(ctx context.Context) error { return d.build(ctx, m, progress) })
	if err != nil {
		return postgres.Explain(err)
	}
	schema, _, err := d.serving(ctx, base(m.p))
	if err != nil {
		return postgres.Explain(err)
	}
	d.hub.signal(base(m.p))
	for d.r.started && ctx.Err() == nil {
		if f := m.current(); f != nil && f.path == schema {
			break
		}
		pause(ctx, 5*time.Millisecond)
	}
	return ctx.Err()
}

// rebuildShared is Rebuild in a database, also on a runner that was not started.
func (r *Runner) rebuildShared(ctx context.Context, m *model, progress func(done, total uint64, rate float64)) error {
	if !r.started {
		if err := r.database.start(ctx); err != nil {
			return err
		}
	}
	err := r.database.rebuild(ctx, m, progress)
	if !r.started {
		err = errors.Join(err, r.database.sweep(ctx), r.database.stop())
	}
	if err != nil {
		return fmt.Errorf("rebuild %s: %w", m.name, err)
	}
	return nil
}

// queryDatabase runs a query on the generation that serves. It runs again, up to
// three times, where the connection broke or the tables went before there was a row.
func (m *model) queryDatabase(ctx context.Context, text string, args []any, scan func(*sql.Rows) error) error {
	begun := false
	counted := func(rows *sql.Rows) error { begun = true; return scan(rows) }
	for try := 1; ; try++ {
		err := m.queryOnce(ctx, text, args, counted)
		if err == nil || begun || try > 3 || ctx.Err() != nil || !isServer(err) {
			return m.queryError(err)
		}
		if isGone(err) {
			m.database.hub.signal(base(m.p))
		} else {
			forgetIdle(m.database.read)
		}
		pause(ctx, time.Duration(try)*20*time.Millisecond)
	}
}

func (m *model) queryError(err error) error {
	if err != nil && isServer(err) {
		return &domain.Error{Code: domain.CodeUnavailable, Message: "the read model " + m.name + " cannot be read at the moment; try again", RetryAfter: 1, Err: postgres.Explain(err)}
	}
	return err
}

func (m *model) queryOnce(ctx context.Context, text string, args []any, scan func(*sql.Rows) error) error {
	if m.current() == nil { // it is being built for the first time
		select {
		case <-m.ready:
		case <-time.After(2 * time.Second):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.swap.RLock()
	f := m.tables
	if f == nil {
		m.swap.RUnlock()
		return m.notRunning("is not running, or is being built for the first time")
	}
	f.users.Add(1)
	m.swap.RUnlock()
	defer f.users.Done()
	rows, err := f.read.QueryContext(ctx, f.text(text), args...)
	if err != nil {
		return fmt.Errorf("query %s: %w", m.name, err)
	}
	return m.scan(rows, scan)
}
