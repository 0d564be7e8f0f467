package projections

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"sync"
)

// open is valid_to of a row that still holds.
const open = int64(1<<63 - 1)

// chunks are the numbers of rows that one statement takes: so there are few
// texts, and one is prepared once per transaction and used for all of a page.
var chunks = [...]int{64, 16, 4, 1}

// bulk writes many rows with one statement each time. Its texts have ? for the
// values: SQLite looks numbered ones up one by one, which is quadratic in a
// statement with a thousand of them.
type bulk struct {
	before, after string // around the rows
	width         int    // values of a row
}

var bulkTexts sync.Map // bulkText → string

type bulkText struct {
	bulk
	rows int
}

func (b bulk) text(rows int) string {
	if t, ok := bulkTexts.Load(bulkText{b, rows}); ok {
		return t.(string)
	}
	row := "(?" + strings.Repeat(",?", b.width-1) + ")"
	t := b.before + row + strings.Repeat(","+row, rows-1) + b.after
	bulkTexts.Store(bulkText{b, rows}, t)
	return t
}

// write executes the statement over rows, given as one flat list of values.
func (b bulk) write(ctx context.Context, tx *Tx, values []any) error {
	if tx.conn != nil {
		if b.isInsert() && len(values) >= copyAtLeast*b.width {
			return tx.copyRows(ctx, b, values)
		}
		return b.unnest(values, func(text string, args []any) error {
			_, err := tx.ExecContext(ctx, text, args...)
			return err
		})
	}
	return b.each(ctx, tx, values, func(s *sql.Stmt, values []any) error {
		_, err := s.ExecContext(ctx, values...)
		return err
	})
}

// query executes the statement over rows and scans what it returns.
func (b bulk) query(ctx context.Context, tx *Tx, values []any, scan func(*sql.Rows) error) error {
	if tx.conn != nil {
		return b.unnest(values, func(text string, args []any) error { return eachRow(ctx, tx, text, scan, args...) })
	}
	return b.each(ctx, tx, values, func(s *sql.Stmt, values []any) error {
		rows, err := s.QueryContext(ctx, values...)
		if err != nil {
			return err
		}
		return scanAll(rows, scan)
	})
}

// eachRow runs a query and gives its rows to scan.
func eachRow(ctx context.Context, tx *Tx, query string, scan func(*sql.Rows) error, args ...any) error {
	rows, err := tx.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	return scanAll(rows, scan)
}

// scanAll gives rows to scan, and closes them.
func scanAll(rows *sql.Rows, scan func(*sql.Rows) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (b bulk) each(ctx context.Context, tx *Tx, values []any, do func(*sql.Stmt, []any) error) error {
	for _, rows := range chunks {
		n := rows * b.width
		if len(values) < n {
			continue
		}
		s, err := tx.PrepareContext(ctx, b.text(rows))
		if err != nil {
			return fmt.Errorf("prepare %.40s…: %w", b.before, err)
		}
		for len(values) >= n {
			if err := do(s, values[:n]); err != nil {
				_ = s.Close() //nolint:sqlclosecheck // one statement a size, closed before the next is prepared
				return fmt.Errorf("write %.40s…: %w", b.before, err)
			}
			values = values[n:]
		}
		if err := s.Close(); err != nil {
			return err
		}
	}
	return nil
}

// marks gives "?, ?, …" for a list of n values, padded to a power of two so that
// texts are few; pad fills the values up by repeating the last.
func marks(n int) (text string, padded int) {
	padded = 1
	for padded < n {
		padded *= 2
	}
	return "?" + strings.Repeat(",?", padded-1), padded
}

func pad(values []any, padded int) []any {
	for len(values) < padded {
		values = append(values, values[len(values)-1])
	}
	return values
}
