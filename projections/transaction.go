package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Tx is a transaction in a projection's tables. Its methods are those of sql.Tx.
// Texts are written once for all engines: arguments are $1, $2, … or ?, tables are
// named by what Schema calls them, and OR ROLLBACK, which spares SQLite work, is
// left out elsewhere.
type Tx struct {
	tx     *sql.Tx
	conn   *sql.Conn // of PostgreSQL; nil in a file
	tables *tables
	buffer []byte // for COPY
}

// begin begins a transaction that writes.
func (f *tables) begin(ctx context.Context) (*Tx, error) {
	if f.spelling == nil {
		tx, err := f.write.BeginTx(ctx, nil)
		if err != nil {
			return nil, err
		}
		return &Tx{tx: tx, tables: f}, nil
	}
	conn, err := f.write.Conn(ctx)
	if err != nil {
		return nil, err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err == nil && f.patient {
		_, err = tx.ExecContext(ctx, `SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL maintenance_work_mem = '256MB'; SET LOCAL default_statistics_target = 30`)
	}
	if err == nil && f.loading != nil { // there are no indexes, and what is asked concerns all rows
		_, err = tx.ExecContext(ctx, `SET LOCAL plan_cache_mode = auto; SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL work_mem = '128MB'`)
	}
	if err != nil {
		if tx != nil {
			_ = tx.Rollback() // the first error says more
		}
		return nil, errors.Join(err, conn.Close())
	}
	return &Tx{tx: tx, conn: conn, tables: f}, nil
}

// ExecContext runs a statement.
func (t *Tx) ExecContext(ctx context.Context, text string, args ...any) (sql.Result, error) {
	return t.tx.ExecContext(ctx, t.tables.text(text), args...)
}

// QueryContext runs a query.
func (t *Tx) QueryContext(ctx context.Context, text string, args ...any) (*sql.Rows, error) {
	return t.tx.QueryContext(ctx, t.tables.text(text), args...)
}

// QueryRowContext runs a query of at most one row.
func (t *Tx) QueryRowContext(ctx context.Context, text string, args ...any) *sql.Row {
	return t.tx.QueryRowContext(ctx, t.tables.text(text), args...)
}

// PrepareContext prepares a statement for this transaction.
func (t *Tx) PrepareContext(ctx context.Context, text string) (*sql.Stmt, error) {
	return t.tx.PrepareContext(ctx, t.tables.text(text))
}

// Commit commits.
func (t *Tx) Commit() error {
	err := t.tx.Commit()
	t.done()
	return err
}

// Rollback gives the transaction up.
func (t *Tx) Rollback() error {
	err := t.tx.Rollback()
	t.done()
	return err
}

func (t *Tx) done() {
	if t.conn != nil {
		_ = t.conn.Close() // back to the pool; a second time it changes nothing
	}
}

func rollback(tx *Tx) {
	if tx != nil {
		_ = tx.Rollback() // after Commit it changes nothing
	}
}

// text spells a statement for the tables' engine.
func (f *tables) text(text string) string {
	if f.spelling == nil {
		return text
	}
	return f.spelling.text(text)
}

// row runs a query of one row outside any transaction.
func (f *tables) row(ctx context.Context, text string, args ...any) *sql.Row {
	return f.write.QueryRowContext(ctx, f.text(text), args...)
}

// make makes tables and indexes.
func (t *Tx) make(ctx context.Context, p Projection, statements []string) error {
	for _, s := range statements {
		if t.tables.spelling != nil {
			s = t.tables.spelling.definition(s)
		}
		if _, err := t.tx.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("make tables of %s: %w", p.Name(), err)
		}
	}
	return nil
}
