package projections

import (
	"context"
	"database/sql"
	"fmt"

	"varve/eventstore"
)

// historyLoading fills a history. The newest version of everything is kept in
// memory instead of being looked up, so all but writing needs no database. What
// events say is written page by page; rows are held back for some pages and
// written with the end that they have by then, and rows that were written before
// are ended in the order of the file.
type historyLoading struct {
	f       *fold
	logs    map[int64]eventstore.LogID
	changes func(page []eventstore.Record) ([]change, error)
	aside   *aside // nil: data are written with the rows
}

// heldRows is how many rows are held back at most, but for a page: few enough that
// whoever writes them does not leave whoever reads without room (fillAhead).
const heldRows = 16_000

// filled is what is to be written of a page; rows and closed are those held back.
type filled struct {
	logs, ended, data, rows []any // flat
	closed                  []closing
}

func (h *history) load(ctx context.Context, tx *Tx, changes func([]eventstore.Record) ([]change, error)) (loading, error) {
	f := h.fold()
	l := &historyLoading{f: f, logs: map[int64]eventstore.LogID{}, changes: changes}
	if tx.tables.loading != nil {
		l.aside = &aside{h: h, tables: tx.tables}
		if err := h.deleteUnsettled(ctx, tx); err != nil {
			return nil, err
		}
	}
	err := eachRow(ctx, tx, `SELECT key, log FROM logs`, func(rows *sql.Rows) error {
		var key int64
		var name eventstore.LogID
		err := rows.Scan(&key, &name)
		l.logs[key] = name
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read keys of logs: %w", err)
	}
	err = eachRow(ctx, tx, `SELECT log, id, version, position FROM ended`, func(rows *sql.Rows) error {
		var log int64
		var id string
		var d ending
		err := rows.Scan(&log, &id, &d.version, &d.position)
		f.ended.put(log, id, d)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read deletions: %w", err)
	}
	newest := `SELECT row, log, ` + h.id + `, valid_from, valid_to, created, ` + h.group + ` FROM ` + h.table + ` WHERE valid_to = $1`
	if tx.tables.loading != nil {
		newest += h.stillOpen()
	}
	err = eachRow(ctx, tx, newest, func(rows *sql.Rows) error {
		t := &thing{pending: -1}
		var log int64
		var id string
		err := rows.Scan(&t.row, &log, &id, &t.from, &t.to, &t.created, &t.group)
		f.put(log, id, t)
		return err
	}, open)
	if err != nil {
		return nil, fmt.Errorf("read what was filled: %w", err)
	}
	return l, nil
}

func (l *historyLoading) prepare(page []eventstore.Record, last bool) (any, error) {
	changes, err := l.changes(page)
	if err != nil {
		return nil, err
	}
	f, w := l.f, &filled{}
	f.data = make([]any, 0, 2*len(page))
	for i := range changes {
		c := &changes[i]
		if name, ok := l.logs[c.log]; !ok {
			l.logs[c.log] = c.name
			w.logs = append(w.logs, c.log, string(c.name))
		} else if name != c.name {
			return nil, fmt.Errorf("log %s has the key of log %s", c.name, name)
		}
		if c.kind == ends {
			w.ended = append(w.ended, c.ended()...)
		}
		f.change(c)
	}
	w.data = f.data
	if last || len(f.fresh) >= heldRows {
		w.rows, w.closed = f.rows, f.closed
		f.written()
		f.rows, f.closed = make([]any, 0, len(f.rows)), nil
	}
	return w, nil
}

func (l *historyLoading) write(ctx context.Context, tx *Tx, prepared any) error {
	w := prepared.(*filled)
	if err := newLogs.write(ctx, tx, w.logs); err != nil {
		return err
	}
	if err := endedRows.write(ctx, tx, w.ended); err != nil {
		return err
	}
	if err := l.writeData(ctx, tx, w.data); err != nil {
		return err
	}
	return l.f.h.writeRows(ctx, tx, w.rows, w.closed)
}

func (l *historyLoading) writeData(ctx context.Context, tx *Tx, data []any) error {
	if l.aside != nil {
		return l.aside.write(ctx, data)
	}
	return l.f.h.writeData(ctx, tx, data)
}

func (l *historyLoading) settle() error { return l.aside.settle() }
func (l *historyLoading) drop()         { l.aside.drop() }
