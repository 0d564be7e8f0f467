package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"varve/eventstore/failpoint"
	"varve/eventstore/follow"
	"varve/eventstore/postgres"
)

// A generation is one building of a projection's tables, in a schema of its own.
// Its name never means anything else, so a query sees the tables of one
// generation, whatever takes over while it runs.

// base names a projection, its version and its tables.
func base(p Projection) string {
	return fmt.Sprintf("%s_v%d_%x", p.Name(), p.Version(), tablesDigest(p))
}

func (d *database) schema(base string, generation int64) string {
	return fmt.Sprintf("%s_%s_g%d", d.prefix, base, generation)
}

// serving gives the schema that serves, empty where none does, and whether one is built.
func (d *database) serving(ctx context.Context, base string) (schema string, building bool, err error) {
	err = d.read.QueryRowContext(ctx, `SELECT schema, building > 0 FROM `+d.prefix+`.serving WHERE base = $1`, base).Scan(&schema, &building)
	if errors.Is(err, sql.ErrNoRows) {
		return "", false, nil
	}
	return schema, building, err
}

// open gives the tables that serve, held so that nobody drops them; nil where there are none yet.
func (d *database) open(ctx context.Context, p Projection) (*tables, error) {
	for {
		schema, _, err := d.serving(ctx, base(p))
		if err != nil || schema == "" {
			return nil, err
		}
		if err := d.hub.hold(ctx, schema); err != nil {
			return nil, err
		}
		again, _, err := d.serving(ctx, base(p))
		if err == nil && again == schema {
			return d.openTables(schema, p, false), nil
		}
		d.hub.release(ctx, schema)
		if err != nil {
			return nil, err
		}
	}
}

// beside opens or makes the tables that are to be filled. Indexes are left to
// finish where the projection loads without them.
func (d *database) beside(ctx context.Context, p Projection) (*tables, error) {
	name := base(p)
	if _, err := d.write.ExecContext(ctx, `INSERT INTO `+d.prefix+`.serving (base, model, schema, generation, building) VALUES ($1, $2, '', 0, 0) ON CONFLICT (base) DO NOTHING`, name, p.Name()); err != nil {
		return nil, err
	}
	var building int64
	if err := d.write.QueryRowContext(ctx, `UPDATE `+d.prefix+`.serving SET generation = CASE WHEN building = 0 THEN generation + 1 ELSE generation END,
		building = CASE WHEN building = 0 THEN generation + 1 ELSE building END WHERE base = $1 RETURNING building`, name).Scan(&building); err != nil {
		return nil, err
	}
	schema := d.schema(name, building)
	if err := d.hub.hold(ctx, schema); err != nil {
		return nil, err
	}
	f := d.openTables(schema, p, true)
	if err := d.makeTables(ctx, f, p); err != nil {
		d.hub.release(ctx, schema)
		return nil, err
	}
	return f, nil
}

func (d *database) makeTables(ctx context.Context, f *tables, p Projection) error {
	tx, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer rollback(tx)
	if _, err := tx.ExecContext(ctx, `CREATE SCHEMA IF NOT EXISTS `+f.path); err != nil {
		return err
	}
	if err := tx.make(ctx, p, bookkeeping); err != nil {
		return err
	}
	var filled bool
	if err := tx.QueryRowContext(ctx, `SELECT count(*) > 0 FROM varve_state WHERE name = 'filled'`).Scan(&filled); err != nil {
		return err
	}
	_, loads := p.(loader)
	var statements []string
	for _, s := range p.Schema() {
		if !loads || !isIndex(s) {
			statements = append(statements, s)
		}
	}
	f.loading = nil
	if l, ok := p.(loadsBare); ok && !filled {
		f.loading = l.history()
		for i, s := range statements {
			statements[i] = f.loading.bare(s)
		}
		statements = append(statements, f.loading.endsTable())
	}
	if err := tx.make(ctx, p, statements); err != nil {
		return err
	}
	return tx.Commit()
}

// build fills tables beside those that serve, if any, and lets them take over. It
// goes on with what an interrupted build left. The caller has the lease of building.
func (d *database) build(ctx context.Context, m *model, progress func(done, total uint64, rate float64)) error {
	for try := 1; ; try++ {
		err := d.buildOnce(ctx, m, progress)
		if err == nil || ctx.Err() != nil || !isStorage(err) || try == 5 {
			return err
		}
		d.r.o.Logger.Warn("building a read model was interrupted: going on", "model", m.name, "error", postgres.Explain(err))
		pause(ctx, time.Duration(try)*200*time.Millisecond)
	}
}

func (d *database) buildOnce(ctx context.Context, m *model, progress func(done, total uint64, rate float64)) error {
	f, err := d.beside(ctx, m.p)
	if err != nil {
		return err
	}
	defer d.hub.release(ctx, f.path)
	err = d.r.check(ctx, m, f)
	var other *follow.CheckpointError
	if errors.As(err, &other) {
		if _, err = d.write.ExecContext(ctx, `DROP SCHEMA `+f.path+` CASCADE`); err == nil {
			err = d.makeTables(ctx, f, m.p)
		}
	}
	if err != nil {
		return err
	}
	if err := d.r.fillOn(ctx, m, f, progress); err != nil {
		return err
	}
	if err := f.finish(ctx, m.p); err != nil {
		return err
	}
	for {
		err := d.takeOver(ctx, m, f)
		if err != nil && ctx.Err() == nil { // perhaps only the answer was lost
			if schema, _, failed := d.serving(ctx, base(m.p)); failed == nil && schema == f.path {
				return nil
			}
		}
		if !errors.Is(err, errBehind) {
			return err
		}
	}
}

// errBehind says that what was built could not reach what serves in time.
var errBehind = errors.New("what serves moved on too fast")

// takeOver lets a finished build serve. It follows the feed until it has what the
// tables hold that serve, whose checkpoints are locked and then closed, so that
// nobody moves them any more, in the transaction that names the new ones.
func (d *database) takeOver(ctx context.Context, m *model, f *tables) error {
	following, stop := context.WithCancel(ctx)
	defer stop()
	fs, wait := d.catchUp(following, m, f)
	defer wait()
	defer stop()
	for shard, built := range fs {
		head, err := d.r.store.Head(ctx, shard)
		if err == nil {
			err = built.WaitApplied(ctx, head)
		}
		if err != nil {
			return err
		}
	}
	if err := failpoint.Hit("projection.exchange"); err != nil {
		return err
	}
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it changes nothing
	var old string
	var building int64
	if _, err := tx.ExecContext(ctx, `SET LOCAL synchronous_commit = on; SET LOCAL idle_in_transaction_session_timeout = '20s'`); err != nil {
		return err
	}
	if err := tx.QueryRowContext(ctx, `SELECT schema, building FROM `+d.prefix+`.serving WHERE base = $1 FOR UPDATE`, base(m.p)).Scan(&old, &building); err != nil {
		return err
	}
	if d.schema(base(m.p), building) != f.path {
		return nil // another process, without a lease in common, was faster
	}
	if old != "" {
		if err := d.closeOld(ctx, tx, old, fs); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, `UPDATE `+d.prefix+`.serving SET schema = $1, building = 0 WHERE base = $2`, f.path, base(m.p)); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `SELECT pg_notify($1, $2)`, d.hub.channel, "serving "+base(m.p)); err != nil {
		return err
	}
	stop()
	wait()
	return tx.Commit()
}

// catchUp follows the feed into tables that do not serve yet.
func (d *database) catchUp(ctx context.Context, m *model, f *tables) (fs []*follow.Follower, wait func()) {
	var running sync.WaitGroup
	for shard := range d.r.store.Shards() {
		built := d.r.follower(m, shard)
		built.Lease, built.Standby, built.Saw, built.Consumer = nil, false, nil, &sqlConsumer{f: f, p: m.p}
		fs = append(fs, built)
		running.Go(func() {
			if err := built.Run(ctx); err != nil {
				d.r.o.Logger.Error("a read model that is built stands still", "model", m.name, "shard", built.Shard, "error", err)
			}
		})
	}
	return fs, running.Wait
}

// closeOld locks the checkpoints of what serves, waits until the new tables are
// as far, and closes them.
func (d *database) closeOld(ctx context.Context, tx *sql.Tx, old string, fs []*follow.Follower) error {
	var there bool
	if err := tx.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, old+".varve_checkpoint").Scan(&there); err != nil || !there {
		return err // there is nothing to close
	}
	if _, err := tx.ExecContext(ctx, `LOCK TABLE `+old+`.varve_checkpoint IN SHARE ROW EXCLUSIVE MODE`); err != nil {
		return err
	}
	places := map[int]int64{}
	rows, err := tx.QueryContext(ctx, `SELECT shard, feed FROM `+old+`.varve_checkpoint`)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var shard int
		var feed int64
		if err := rows.Scan(&shard, &feed); err != nil {
			return err
		}
		places[shard] = feed
	}
	if err := rows.Err(); err != nil {
		return err
	}
	bounded, stop := context.WithTimeout(ctx, lockTimeout/2)
	defer stop()
	for shard, built := range fs {
		head, err := d.r.store.Head(ctx, shard)
		if err != nil {
			return err
		}
		// What is ahead of the store belongs to another one.
		if place := uint64(max(places[shard], 0)); place <= head && built.WaitApplied(bounded, place) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return errBehind
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO `+old+`.varve_checkpoint (shard, feed, record, hash) VALUES ($1, -1, '', '')
			ON CONFLICT (shard) DO UPDATE SET feed = -1 - abs(varve_checkpoint.feed)`, shard); err != nil {
			return err
		}
	}
	return nil
}

// sweep drops the tables of other versions and earlier generations that no process reads or builds.
func (d *database) sweep(ctx context.Context) error {
	type row struct{ base, schema string }
	keep := map[string]bool{}
	var bases []row
	rows, err := d.read.QueryContext(ctx, `SELECT base, schema, building FROM `+d.prefix+`.serving`)
	if err != nil {
		return err
	}
	defer rows.Close()
	own := map[string]Projection{}
	for _, m := range d.r.models {
		if m.p != nil {
			own[base(m.p)] = m.p
		}
	}
	for rows.Next() {
		var r row
		var building int64
		if err := rows.Scan(&r.base, &r.schema, &building); err != nil {
			return err
		}
		if own[r.base] != nil {
			keep[r.schema], keep[d.schema(r.base, building)] = true, true
		} else {
			bases = append(bases, r)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	schemas, err := d.schemas(ctx)
	if err != nil {
		return err
	}
	for _, schema := range schemas {
		if keep[schema] || !d.mayDrop(schema) {
			continue
		}
		dropped, err := d.drop(ctx, schema)
		if err != nil {
			return err
		}
		for _, r := range bases {
			if dropped && r.schema == schema {
				if _, err := d.write.ExecContext(ctx, `DELETE FROM `+d.prefix+`.serving WHERE base = $1 AND schema = $2`, r.base, schema); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (d *database) schemas(ctx context.Context) (all []string, err error) {
	rows, err := d.read.QueryContext(ctx, `SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1) ORDER BY nspname`, d.prefix+"_")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, rows.Err()
}

// mayDrop says whether a schema is of a projection that runs here, in its version or an earlier one.
func (d *database) mayDrop(schema string) bool {
	for _, m := range d.r.models {
		if m.p == nil {
			continue
		}
		rest, ok := strings.CutPrefix(schema, d.prefix+"_"+m.name+"_v")
		number, _, _ := strings.Cut(rest, "_")
		if version, err := strconv.Atoi(number); ok && err == nil && version <= m.p.Version() {
			return true
		}
	}
	return false
}

// drop drops a schema unless a process holds it.
func (d *database) drop(ctx context.Context, schema string) (dropped bool, err error) {
	tx, err := d.write.BeginTx(ctx, nil)
	if err != nil {
		return false, err
	}
	defer func() { _ = tx.Rollback() }() // after Commit it changes nothing
	if err := tx.QueryRowContext(ctx, `SELECT pg_try_advisory_xact_lock($1)`, advisory(schema)).Scan(&dropped); err != nil || !dropped {
		return false, err
	}
	if _, err := tx.ExecContext(ctx, `DROP SCHEMA IF EXISTS `+schema+` CASCADE`); err != nil {
		return false, err
	}
	return true, tx.Commit()
}
