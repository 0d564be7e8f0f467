package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"

	driversqlite "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"varve/eventstore"
)

// conn is one connection with its prepared statements. database/sql is left out
// on purpose: its locking and conversions cost as much as the statements here.
// Not safe for concurrent use.
type conn struct {
	dc    driver.Conn
	stmts map[string]*stmt
}

type stmt struct {
	s    driver.Stmt
	args []driver.NamedValue
	row  []driver.Value
}

// pragmas of every connection. The committer's says FULL, so a commit is on the
// disk when it returns; what is deleted is overwritten (erasure).
var pragmas = []string{
	"busy_timeout(10000)",
	"journal_mode(WAL)",
	"synchronous(FULL)",
	"secure_delete(ON)",
	"foreign_keys(OFF)",
	"cache_size(-65536)",
	"wal_autocheckpoint(4000)",
	"journal_size_limit(67108864)",
	"temp_store(MEMORY)",
}

func dial(path string, readOnly bool) (*conn, error) {
	q := url.Values{}
	for _, p := range pragmas {
		if readOnly && strings.HasPrefix(p, "cache_size") {
			p = "cache_size(-8192)"
		}
		q.Add("_pragma", p)
	}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	}
	name := "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
	dc, err := (&driversqlite.Driver{}).Open(name)
	if err != nil {
		return nil, explain(err)
	}
	return &conn{dc: dc, stmts: map[string]*stmt{}}, nil
}

func (c *conn) prepare(query string) (*stmt, error) {
	if s := c.stmts[query]; s != nil {
		return s, nil
	}
	ds, err := c.dc.Prepare(query)
	if err != nil {
		return nil, explain(err)
	}
	s := &stmt{s: ds}
	c.stmts[query] = s
	return s, nil
}

// bind keeps the arguments in the statement's own space. They are int64,
// string, []byte or nil.
func (s *stmt) bind(args []driver.Value) []driver.NamedValue {
	s.args = s.args[:0]
	for i, a := range args {
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return s.args
}

// exec runs a statement and gives the number of rows that it changed.
func (c *conn) exec(query string, args ...driver.Value) (int64, error) {
	s, err := c.prepare(query)
	if err != nil {
		return 0, err
	}
	return s.exec(args...)
}

func (s *stmt) exec(args ...driver.Value) (int64, error) {
	res, err := s.s.(driver.StmtExecContext).ExecContext(context.Background(), s.bind(args))
	if err != nil {
		return 0, explain(err)
	}
	return res.RowsAffected()
}

// rollback ends a transaction that failed. Its own error says nothing new: SQLite
// may have rolled back already.
func (c *conn) rollback() { _, _ = c.exec("ROLLBACK") }

// query calls fn for every row until it says false. The values of a row are the
// callee's: the driver makes new ones for each.
func (c *conn) query(query string, fn func(row []driver.Value) (bool, error), args ...driver.Value) error {
	s, err := c.prepare(query)
	if err != nil {
		return err
	}
	rows, err := s.s.(driver.StmtQueryContext).QueryContext(context.Background(), s.bind(args))
	if err != nil {
		return explain(err)
	}
	defer rows.Close()
	if n := len(rows.Columns()); cap(s.row) < n {
		s.row = make([]driver.Value, n)
	} else {
		s.row = s.row[:n]
	}
	for {
		switch err := rows.Next(s.row); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return explain(err)
		}
		more, err := fn(s.row)
		if err != nil || !more {
			return err
		}
	}
}

// one reads at most one row; found is false where there is none.
func (c *conn) one(query string, fn func(row []driver.Value) error, args ...driver.Value) (found bool, err error) {
	err = c.query(query, func(row []driver.Value) (bool, error) {
		found = true
		return false, fn(row)
	}, args...)
	return found, err
}

func (c *conn) close() error {
	for _, s := range c.stmts {
		s.s.Close()
	}
	return c.dc.Close()
}

// code is SQLite's result code without the extended part; 0 where err is not
// SQLite's.
func code(err error) int {
	var e *driversqlite.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// explain puts SQLite's commonest troubles into words; the cause stays wrapped.
func explain(err error) error {
	switch code(err) {
	case lib.SQLITE_FULL:
		return fmt.Errorf("%w, nothing was written: %w", eventstore.ErrNoSpace, err)
	case lib.SQLITE_READONLY:
		return fmt.Errorf("the database file is read-only: make it and its directory writable for this user: %w", err)
	case lib.SQLITE_CANTOPEN:
		return fmt.Errorf("the database file cannot be opened: its directory must exist and be writable for this user: %w", err)
	case lib.SQLITE_BUSY:
		return fmt.Errorf("another process holds the database: %w", err)
	case lib.SQLITE_NOTADB, lib.SQLITE_CORRUPT:
		return fmt.Errorf("the file is damaged or is not a database: %w", err)
	}
	return err
}

func isUnique(err error) bool {
	var e *driversqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Code() == lib.SQLITE_CONSTRAINT_UNIQUE || e.Code() == lib.SQLITE_CONSTRAINT_PRIMARYKEY || e.Code() == lib.SQLITE_CONSTRAINT_ROWID
}
