package projections

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"varve/eventstore"
	"varve/eventstore/follow"
)

// readers is how many queries of one model run at the same time.
const readers = 4

// tables are one projection's, in a SQLite file: one connection that writes, and a
// pool that reads, each read in the snapshot of its own transaction.
//
// In a PostgreSQL database they are in a schema, and the connections are the runner's.
type tables struct {
	path     string // of the file; in a database the schema's name
	write    *sql.DB
	read     *sql.DB
	database *database      // nil: a file
	spelling *spelling      // nil: texts are SQLite's
	patient  bool           // transactions have no time limits
	loading  *history       // it is loaded bare: see assemble
	users    sync.WaitGroup // queries that run on a schema
}

// bookkeeping is what the runner itself keeps in every file, in the same
// transactions as the projection's rows.
var bookkeeping = []string{
	`CREATE TABLE IF NOT EXISTS varve_checkpoint (shard BIGINT NOT NULL PRIMARY KEY, feed BIGINT NOT NULL, record TEXT NOT NULL, hash TEXT NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS varve_parked (shard BIGINT NOT NULL, log TEXT NOT NULL, stream TEXT NOT NULL, version BIGINT NOT NULL,
		position BIGINT NOT NULL, feed BIGINT NOT NULL, record TEXT NOT NULL, type TEXT NOT NULL, error TEXT NOT NULL, held BIGINT NOT NULL,
		tries BIGINT NOT NULL, since BIGINT NOT NULL, PRIMARY KEY (shard, log, stream))`,
	`CREATE TABLE IF NOT EXISTS varve_skipped (shard BIGINT NOT NULL, log TEXT NOT NULL, stream TEXT NOT NULL, version BIGINT NOT NULL,
		position BIGINT NOT NULL, feed BIGINT NOT NULL, record TEXT NOT NULL, type TEXT NOT NULL, error TEXT NOT NULL, held BIGINT NOT NULL,
		tries BIGINT NOT NULL, since BIGINT NOT NULL)`,
	`CREATE TABLE IF NOT EXISTS varve_state (name TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL)`,
}

// pragmas of a file that serves, and of one that is filled beside it: that one
// has a rollback journal, since almost all that is written are new pages, which
// such a journal does not write twice, and sorts for its indexes in threads,
// which takes temporary files and a cache that is smaller than what is sorted.
// Pages of 8 KiB, since rows are big: they follow and fill faster than SQLite's 4.
var (
	serving = []string{"page_size(8192)", "journal_mode(WAL)", "synchronous(NORMAL)", "busy_timeout(10000)", "temp_store(MEMORY)"}
	filling = []string{"page_size(8192)", "journal_mode(DELETE)", "synchronous(NORMAL)", "busy_timeout(10000)", "threads(2)", "cache_size(-4000)"}
)

// openFile opens or makes a projection's file with its tables and indexes.
func openFile(ctx context.Context, path string, p Projection) (*tables, error) {
	f, err := makeFile(ctx, path, p, append(serving, "cache_size(-64000)", "wal_autocheckpoint(16000)"), p.Schema())
	if err != nil {
		return nil, err
	}
	if f.read, err = sql.Open("sqlite", dsn(path, "deferred", append(serving, "query_only(1)", "cache_size(-4000)")...)); err != nil {
		_ = f.close()
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f.read.SetMaxOpenConns(readers)
	f.read.SetMaxIdleConns(readers)
	return f, nil
}

// openBeside opens or makes a file that is to be filled and serves nobody yet.
// Where the projection is a loader, indexes, the statements of its schema that
// begin with CREATE INDEX or CREATE UNIQUE INDEX, are left to finish. Temporary
// files lie beside it: nothing else is known to be writable and big enough.
func openBeside(ctx context.Context, path string, p Projection) (*tables, error) {
	schema := p.Schema()
	if _, ok := p.(loader); ok {
		schema = slices.DeleteFunc(slices.Clone(schema), isIndex)
	}
	temporary := "temp_store_directory('" + strings.ReplaceAll(filepath.Dir(path), "'", "''") + "')"
	return makeFile(ctx, path, p, append(filling, temporary), schema)
}

func makeFile(ctx context.Context, path string, p Projection, pragmas, schema []string) (*tables, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of %s: %w", p.Name(), err)
	}
	f := &tables{path: path}
	var err error
	if f.write, err = sql.Open("sqlite", dsn(path, "immediate", pragmas...)); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f.write.SetMaxOpenConns(1)
	for _, statement := range slices.Concat(bookkeeping, schema) {
		if _, err := f.write.ExecContext(ctx, statement); err != nil {
			_ = f.close()
			return nil, fmt.Errorf("make tables of %s in %s: %w", p.Name(), path, err)
		}
	}
	return f, nil
}

func isIndex(statement string) bool {
	return strings.HasPrefix(statement, "CREATE INDEX") || strings.HasPrefix(statement, "CREATE UNIQUE INDEX")
}

func dsn(path, lock string, pragmas ...string) string {
	q := url.Values{"_txlock": {lock}, "_pragma": pragmas}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// close lets go of the file; its write-ahead log is folded into it.
func (f *tables) close() error {
	if f.database != nil {
		return nil
	}
	var errs []error
	for _, db := range []*sql.DB{f.read, f.write} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	return errors.Join(errs...)
}

// removeFile unlinks a SQLite file with what lies beside it.
func removeFile(path string) error {
	var errs []error
	for _, suffix := range []string{"-wal", "-shm", "-journal", ""} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (f *tables) state(ctx context.Context, name string) (string, error) {
	var v string
	err := f.row(ctx, `SELECT value FROM varve_state WHERE name = $1`, name).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return v, err
}

// finish makes the indexes and says that the file was filled.
func (f *tables) finish(ctx context.Context, p Projection) error {
	tx, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer rollback(tx)
	if f.loading != nil {
		if err := tx.assemble(ctx, p); err != nil {
			return err
		}
	}
	if err := tx.make(ctx, p, slices.DeleteFunc(p.Schema(), func(s string) bool { return !isIndex(s) })); err != nil {
		return err
	}
	if f.database != nil {
		for _, s := range p.Schema() {
			if table := created.FindStringSubmatch(s); table != nil && !strings.HasSuffix(table[1], "_data") { // found by their key alone
				if _, err := tx.ExecContext(ctx, `ANALYZE `+f.path+`.`+table[1]); err != nil {
					return err
				}
			}
		}
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO varve_state (name, value) VALUES ('filled', '1') ON CONFLICT (name) DO NOTHING`); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	f.loading = nil
	return nil
}

// checkpoint gives the place of a shard.
func (f *tables) checkpoint(ctx context.Context, shard int) (follow.Checkpoint, error) {
	return readCheckpoint(f.row(ctx, selectCheckpoint, shard))
}

const selectCheckpoint = `SELECT feed, record, hash FROM varve_checkpoint WHERE shard = $1`

func readCheckpoint(row *sql.Row) (c follow.Checkpoint, err error) {
	var record, hash string
	var feed int64
	err = row.Scan(&feed, &record, &hash)
	if errors.Is(err, sql.ErrNoRows) {
		return c, nil
	}
	if err != nil {
		return c, fmt.Errorf("read checkpoint: %w", err)
	}
	if feed < 0 {
		return c, fmt.Errorf("read checkpoint: %w", errSuperseded)
	}
	if c, err = checkpointOf(uint64(feed), record, hash); err != nil {
		return c, fmt.Errorf("read checkpoint: %w", err)
	}
	return c, nil
}

// checkpointOf reads a checkpoint whose record and hash are texts.
func checkpointOf(feed uint64, record, hash string) (c follow.Checkpoint, err error) {
	c.Feed = feed
	if c.Record, err = eventstore.ParseID(record); err != nil {
		return c, err
	}
	c.Hash, err = eventstore.ParseHash(hash)
	return c, err
}

// isStorage says whether an error is the file's or the disk's and not of what
// was written: such a page is tried again and no event is to blame.
func isStorage(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone) || errors.Is(err, context.Canceled) || isServer(err)
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_INTERRUPT,
		sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB:
		return true
	}
	return false
}
