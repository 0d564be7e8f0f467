// Package sqlite is the durable event store of one process, in one file.
// A commit has reached the disk when it is acknowledged: write-ahead log,
// synchronous=FULL. One connection writes; readers have their own and never
// wait for it.
package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"varve/eventstore"
	"varve/eventstore/failpoint"
)

// Options of a store in a file.
type Options struct {
	eventstore.Options
	// Shards is fixed when the file is made (0: 1, or what the file has).
	Shards int
	// Readers is the number of reading connections (0: 8).
	Readers int
}

// Open opens the store in the file at path, and makes it where there is none.
// The directory must exist. Two processes may have the same file open without
// harm, but only the one that writes wakes its followers: whoever opens the file
// keeps others away by a lock of his own.
func Open(path string, opts Options) (eventstore.Owner, error) {
	e, err := OpenEngine(path, opts)
	if err != nil {
		return nil, err
	}
	s, err := eventstore.NewOwner(e, opts.Options)
	if err != nil {
		e.Close()
		return nil, err
	}
	return s, nil
}

// Engine is a store's file: see eventstore.Engine.
type Engine struct {
	path   string
	shards int

	mu     sync.Mutex // of the writing connection
	w      *conn
	args   []driver.Value
	insert [len(insertSizes)]*stmt

	reading chan struct{} // as many as may read at once
	idle    sync.Mutex
	readers []*conn
	closed  bool

	names sync.Map    // key of a log → eventstore.LogID
	dirty atomic.Bool // erased bytes may still be in the write-ahead log
}

// OpenEngine opens the file alone.
func OpenEngine(path string, opts Options) (*Engine, error) {
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return nil, fmt.Errorf("open store %s: the directory does not exist", path)
	}
	// A new file is for this user only; the write-ahead log takes the same rights.
	// Never one that exists: closing it would give up locks that others here hold.
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600); err == nil {
		if err := f.Close(); err != nil {
			return nil, fmt.Errorf("open store %s: %w", path, err)
		}
	} // what keeps it from being opened, SQLite says below
	w, err := dial(path, false)
	if err != nil {
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	e := &Engine{path: path, w: w}
	if err := e.setUp(opts.Shards); err != nil {
		w.close()
		return nil, fmt.Errorf("open store %s: %w", path, err)
	}
	readers := opts.Readers
	if readers <= 0 {
		readers = 8
	}
	e.reading = make(chan struct{}, readers)
	return e, nil
}

// setUp makes the tables of a new file, and checks those of an old one.
func (e *Engine) setUp(shards int) error {
	if shards < 0 || shards > maxShards {
		return fmt.Errorf("%d shards: at most %d are possible", shards, maxShards)
	}
	// The first write tells a file or directory that cannot be written.
	if _, err := e.w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := e.setUpTables(shards)
	if err != nil {
		e.w.rollback()
		return err
	}
	_, err = e.w.exec("COMMIT")
	return err
}

func (e *Engine) setUpTables(shards int) error {
	found, err := e.w.one("SELECT 1 FROM sqlite_master WHERE name = 'heads'", func([]driver.Value) error { return nil })
	if err != nil {
		return err
	}
	if !found {
		e.shards = max(shards, 1)
		if _, err := e.w.exec(schema); err != nil {
			return fmt.Errorf("make tables: %w", err)
		}
		if _, err := e.w.exec("INSERT INTO store VALUES (?, ?)", int64(format), int64(e.shards)); err != nil {
			return err
		}
		for i := range e.shards {
			if _, err := e.w.exec("INSERT INTO heads VALUES (?, 0, 0, 1, 0, 0)", int64(i)); err != nil {
				return err
			}
		}
		return nil
	}
	_, err = e.w.one("SELECT format, shards FROM store", func(row []driver.Value) error {
		if f := row[0].(int64); f != format {
			return fmt.Errorf("the file has format %d, this program reads format %d", f, format)
		}
		e.shards = int(row[1].(int64))
		return nil
	})
	if err == nil && shards > 0 && shards != e.shards {
		err = fmt.Errorf("the store was made with %d shards, not %d: the number is fixed", e.shards, shards)
	}
	return err
}

// Shards is the number of shards.
func (e *Engine) Shards() int { return e.shards }

// Close lets go of all connections.
func (e *Engine) Close() error {
	for range cap(e.reading) { // those that are lent come back first
		e.reading <- struct{}{}
	}
	var errs []error
	e.idle.Lock()
	for _, c := range e.readers {
		errs = append(errs, c.close())
	}
	e.readers, e.closed = nil, true
	e.idle.Unlock()
	for range cap(e.reading) {
		<-e.reading
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return errors.Join(append(errs, e.w.close())...)
}

// read lends a reading connection: the one used last, whose cache is warm.
func (e *Engine) read(ctx context.Context, fn func(c *conn) error) error {
	select {
	case e.reading <- struct{}{}:
	default:
		select {
		case e.reading <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	defer func() { <-e.reading }()
	var c *conn
	e.idle.Lock()
	closed := e.closed
	if n := len(e.readers); n > 0 {
		c, e.readers = e.readers[n-1], e.readers[:n-1]
	}
	e.idle.Unlock()
	if closed {
		return eventstore.ErrStoreClosed
	}
	if c == nil {
		var err error
		if c, err = dial(e.path, true); err != nil {
			return err
		}
	}
	defer func() {
		e.idle.Lock()
		e.readers = append(e.readers, c)
		e.idle.Unlock()
	}()
	return fn(c)
}

// tx runs fn in a transaction of the writing connection. An error of the commit
// itself that may have left it on the disk is ErrUnknownOutcome.
func (e *Engine) tx(fn func() error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, err := e.w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	err := fn()
	if err == nil {
		err = failpoint.Hit("sqlite.before-commit")
	}
	if err != nil {
		e.w.rollback()
		if isUnique(err) {
			return fmt.Errorf("%w: %w", eventstore.ErrStale, err)
		}
		return err
	}
	if _, err := e.w.exec("COMMIT"); err != nil {
		e.w.rollback()
		if c := code(err); c == sqliteIOErr || c == 0 {
			return fmt.Errorf("%w: %w", eventstore.ErrUnknownOutcome, err)
		}
		return err
	}
	return failpoint.Hit("sqlite.after-commit")
}
