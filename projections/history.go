package projections

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"varve/eventstore"
)

// A history is a table of all versions of things: each row holds at positions
// from valid_from up to, not including, valid_to. Things belong to a group, a
// collection or a bucket, whose deletion ends them. Its columns are row, log, the
// thing's id, valid_from, valid_to, the group's id, version, created, updated,
// and more that only the projection knows. What an event says whole lies in a
// second table under the same row: its rows are big and never change, and ending
// a version touches only small ones.
type history struct {
	table, id, group string
	more             []string
}

const historyColumns = 9 // before more

func (h *history) width() int { return historyColumns + len(h.more) }

func (h *history) columns() string {
	return "row, log, " + h.id + ", valid_from, valid_to, " + h.group + ", version, created, updated, " + strings.Join(h.more, ", ")
}

// change is what a record does to a thing or to a group.
type change struct {
	kind     changeKind
	row      int64 // that a write makes
	log      int64 // key of the log
	name     eventstore.LogID
	id       string // of the thing, or of the group that ends
	position int64
	version  int64 // of the stream
	time     int64
	group    string
	checked  uint64 // version of the configuration that a write was checked against
	more     []any
	data     string
}

type changeKind uint8

const (
	writes changeKind = iota
	deletes
	ends // of a whole group
)

func changeOf(r *eventstore.Record) change {
	return change{row: rowOf(r), log: logKey(r.Log), name: r.Log, position: int64(r.Position), version: int64(r.Version), time: r.Time.UnixMicro()}
}

// rowOf is the row of what a record writes: its place in the feed, so that shards
// are followed beside each other, by whatever process, and a rebuild makes the same rows.
func rowOf(r *eventstore.Record) int64 { return int64(r.Shard)<<shardBits | int64(r.Feed) }

const shardBits = 40 // where a shard's number begins in a row's

// thing is the newest version of something that a fold knows.
type thing struct {
	from, to, created int64
	group             string
	row               int64
	pending           int // index of its row among those to be written; -1 where it is in the table
}

// fold turns changes into rows to write and rows to end.
type fold struct {
	h      *history
	things map[int64]map[string]*thing
	ended  endings
	rows   []any // flat
	data   []any // flat: row and data
	fresh  []*thing
	closed []closing
}

type closing struct{ row, to int64 }

// fold begins over what the tables hold.
func (h *history) fold() *fold {
	return &fold{h: h, things: map[int64]map[string]*thing{}, ended: endings{}}
}

func (f *fold) put(log int64, id string, t *thing) {
	m := f.things[log]
	if m == nil {
		m = map[string]*thing{}
		f.things[log] = m
	}
	m[id] = t
}

// end ends the version that a thing has at a position.
func (f *fold) end(t *thing, at int64) {
	if t == nil || t.to <= at || t.from >= at {
		return
	}
	t.to = at
	if t.pending >= 0 {
		f.rows[t.pending*f.h.width()+4] = at
		return
	}
	f.closed = append(f.closed, closing{t.row, at})
}

func (f *fold) write(c *change) {
	end := f.ended.end(c.log, c.group, c.checked)
	if end <= c.position {
		return // void
	}
	t := f.things[c.log][c.id]
	created := c.time
	if t != nil && t.to >= c.position && t.from < c.position { // it held until now
		created = t.created
	}
	f.end(t, c.position)
	if t == nil {
		t = &thing{}
		f.put(c.log, c.id, t)
	}
	*t = thing{from: c.position, to: end, created: created, group: c.group, row: c.row, pending: len(f.fresh)}
	f.fresh = append(f.fresh, t)
	f.data = append(f.data, c.row, c.data)
	f.rows = append(f.rows, c.row, c.log, c.id, c.position, end, c.group, c.version, created, c.time)
	f.rows = append(f.rows, c.more...)
}

// change folds what needs no look into the tables, where all that is in them of a thing is known.
func (f *fold) change(c *change) {
	switch c.kind {
	case writes:
		f.write(c)
	case deletes:
		f.end(f.things[c.log][c.id], c.position)
	case ends:
		f.endGroup(c)
	}
}

// apply folds changes over what the tables hold.
func (f *fold) apply(ctx context.Context, tx *Tx, changes []change) error {
	for i := range changes {
		if err := f.ended.read(ctx, tx, changes[i].log, changes[i].name); err != nil {
			return err
		}
	}
	for len(changes) > 0 {
		n := slices.IndexFunc(changes, func(c change) bool { return c.kind == ends })
		if n < 0 {
			n = len(changes)
		}
		if err := f.supersede(ctx, tx, changes[:n]); err != nil {
			return err
		}
		for i := range changes[:n] {
			f.change(&changes[i])
		}
		if n < len(changes) {
			if err := f.endRows(ctx, tx, &changes[n]); err != nil {
				return err
			}
			n++
		}
		changes = changes[n:]
	}
	return nil
}

// supersede ends the rows in the table that the changes supersede, all in a few
// statements, and learns from them when their things were created.
func (f *fold) supersede(ctx context.Context, tx *Tx, changes []change) error {
	type thingKey struct {
		log int64
		id  string
	}
	seen := make(map[thingKey]bool, len(changes))
	values := make([]any, 0, 3*len(changes))
	for i := range changes {
		c := &changes[i]
		if c.kind == writes && f.ended.end(c.log, c.group, c.checked) <= c.position {
			continue // void
		}
		k := thingKey{c.log, c.id}
		if seen[k] {
			continue
		}
		seen[k] = true
		if c.version > 1 && f.things[c.log][c.id] == nil {
			values = append(values, c.log, c.id, c.position)
		}
	}
	err := f.h.superseding().query(ctx, tx, values, func(rows *sql.Rows) error {
		t := &thing{pending: -1}
		var log int64
		var id string
		if err := rows.Scan(&t.row, &log, &id, &t.from, &t.to, &t.created, &t.group); err != nil {
			return err
		}
		f.put(log, id, t)
		return nil
	})
	if err != nil {
		return fmt.Errorf("end superseded %s: %w", f.h.table, err)
	}
	return nil
}

// superseding ends the newest row of things at positions. OR ROLLBACK, here and
// below, spares SQLite a copy of each page for the case that one row of a
// statement fails: then the transaction is given up in any case.
func (h *history) superseding() bulk {
	t := h.table
	return bulk{width: 3, before: `WITH change (log, id, position) AS (VALUES `,
		after: `) UPDATE OR ROLLBACK ` + t + ` SET valid_to = change.position FROM change WHERE ` + t + `.log = change.log AND ` + t + `.` + h.id + ` = change.id
			AND ` + t + `.valid_from < change.position AND ` + t + `.valid_to > change.position
			RETURNING ` + t + `.row, ` + t + `.log, ` + t + `.` + h.id + `, ` + t + `.valid_from, ` + t + `.valid_to, ` + t + `.created, ` + t + `.` + h.group}
}

// endGroup ends all things of a group that the fold knows.
func (f *fold) endGroup(c *change) {
	f.ended.put(c.log, c.id, ending{c.version, c.position})
	for _, t := range f.things[c.log] {
		if t.group == c.id {
			f.end(t, c.position)
		}
	}
}

// endRows ends all things of a group: those that the fold knows, and those in the table.
func (f *fold) endRows(ctx context.Context, tx *Tx, c *change) error {
	f.endGroup(c)
	if err := endedRows.write(ctx, tx, c.ended()); err != nil {
		return err
	}
	if err := f.flush(ctx, tx); err != nil {
		return err
	}
	if _, err := tx.ExecContext(ctx, `UPDATE `+f.h.table+` SET valid_to = $1 WHERE log = $2 AND `+f.h.group+` = $3 AND valid_from < $1 AND valid_to > $1`,
		c.position, c.log, c.id); err != nil {
		return fmt.Errorf("end %s of %s: %w", f.h.table, c.id, err)
	}
	return nil
}

// flush writes what was folded.
func (f *fold) flush(ctx context.Context, tx *Tx) error {
	if err := f.h.writeData(ctx, tx, f.data); err != nil {
		return err
	}
	if err := f.h.writeRows(ctx, tx, f.rows, f.closed); err != nil {
		return err
	}
	f.written()
	clear(f.rows)
	clear(f.data)
	f.rows, f.data, f.closed = f.rows[:0], f.data[:0], f.closed[:0]
	return nil
}

// written says that rows are in the table.
func (f *fold) written() {
	for _, t := range f.fresh {
		t.pending = -1
	}
	f.fresh = f.fresh[:0]
}

func (h *history) writeData(ctx context.Context, tx *Tx, data []any) error {
	return bulk{before: `INSERT OR ROLLBACK INTO ` + h.table + `_data (row, data) VALUES `, width: 2}.write(ctx, tx, data)
}

// writeRows adds rows, and then ends some.
func (h *history) writeRows(ctx context.Context, tx *Tx, rows []any, closed []closing) error {
	err := bulk{before: `INSERT OR ROLLBACK INTO ` + h.table + ` (` + h.columns() + `) VALUES `, width: h.width()}.write(ctx, tx, rows)
	if err != nil {
		return err
	}
	slices.SortFunc(closed, func(a, b closing) int { return cmp.Compare(a.row, b.row) })
	values := make([]any, 0, 2*len(closed))
	for _, c := range closed {
		values = append(values, c.row, c.to)
	}
	if tx.tables.loading != nil {
		return h.ends().write(ctx, tx, values)
	}
	return bulk{before: `WITH ending (row, until) AS (VALUES `, width: 2,
		after: `) UPDATE OR ROLLBACK ` + h.table + ` SET valid_to = ending.until FROM ending WHERE ` + h.table + `.row = ending.row`}.write(ctx, tx, values)
}

// applyPage is Apply of a history.
func (h *history) applyPage(ctx context.Context, tx *Tx, changes []change) error {
	f := h.fold()
	if err := f.apply(ctx, tx, changes); err != nil {
		return err
	}
	return f.flush(ctx, tx)
}

// schema gives the tables; indexes are the projection's.
func (h *history) schema(more string) []string {
	return []string{
		`CREATE TABLE IF NOT EXISTS ` + h.table + ` (row INTEGER NOT NULL PRIMARY KEY, log BIGINT NOT NULL, ` + h.id + ` TEXT NOT NULL, valid_from BIGINT NOT NULL,
			valid_to BIGINT NOT NULL, ` + h.group + ` TEXT NOT NULL, version BIGINT NOT NULL, created BIGINT NOT NULL, updated BIGINT NOT NULL, ` + more + `)`,
		`CREATE TABLE IF NOT EXISTS ` + h.table + `_data (row INTEGER NOT NULL PRIMARY KEY, data TEXT NOT NULL)`,
		endedTable, logsTable,
	}
}
