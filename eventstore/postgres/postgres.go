// Package postgres is the durable event store of many processes, in one schema
// of a PostgreSQL database. A commit is one statement that moves the head of its
// shard, if no other process moved it, and writes everything only then; the
// server has it on its disk when it is acknowledged. Other processes hear of it
// by a notification, or by looking where notifications do not arrive.
//
// Erased bytes are gone from the rows at once. The server itself overwrites them
// in its files when the space is used again, and keeps its write-ahead log and
// its backups as long as it is told to.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"varve/eventstore"
)

// Options of a store in PostgreSQL. The zero value is good.
type Options struct {
	eventstore.Options
	// Schema holds all tables of the store ("": varve). Two stores of one database
	// have two schemas.
	Schema string
	// Shards is fixed when the schema is made (0: 1, or what the store has).
	Shards int
	// Readers is the number of reading connections (0: 8). Beside them are one for
	// each shard that commits, at most 16, one that tells others of it, and one that
	// listens.
	Readers int
	// LockTimeout is how long a commit waits for another process's (0: 10 s); a
	// process that vanished with a lock loses it after half of that.
	// StatementTimeout is how long any statement may take (0: 30 s).
	LockTimeout      time.Duration
	StatementTimeout time.Duration
	// Poll is how often the heads are looked at where notifications do not arrive,
	// as behind a pooler that lends connections by transaction (0: 100 ms).
	Poll time.Duration
}

const (
	defaultSchema           = "varve"
	defaultReaders          = 8
	maxWriters              = 16
	defaultLockTimeout      = 10 * time.Second
	defaultStatementTimeout = 30 * time.Second
	defaultPoll             = 100 * time.Millisecond
	idleFor                 = time.Minute // how long a connection that nobody needs is kept: a server has few
)

// Open opens the store that dsn names (a URL, or words like host=…), and makes
// its tables where there are none. It refuses a store that a newer Varve made.
// Any number of processes may have it open, and append to the same shard.
func Open(ctx context.Context, dsn string, opts Options) (eventstore.Owner, error) {
	e, err := OpenEngine(ctx, dsn, opts)
	if err != nil {
		return nil, err
	}
	s, err := eventstore.NewOwner(e, opts.Options)
	if err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return s, nil
}

// Engine is a store's schema: see eventstore.Engine.
type Engine struct {
	opts   Options
	config *pgxpool.Config
	shards int
	writer int64 // who moved a head last: this engine, if it is this number
	sql    statements
	steps  []string // of the schema
	reads  *pgxpool.Pool
	writes *pgxpool.Pool

	mu   sync.Mutex
	held map[int]*pgxpool.Conn // shards that are locked for their committer

	names     sync.Map     // key of a log → eventstore.LogID
	heavy     atomic.Int32 // so many pages more are read by size
	listen    listener
	announcer announcer
	lookAfter time.Duration // the constant; tests that must not look have a longer one
	deaf      bool          // tests: as if notifications did not arrive
}

// OpenEngine opens the schema alone. Errors are one line each and never have the
// password in them.
func OpenEngine(ctx context.Context, dsn string, opts Options) (*Engine, error) {
	e, err := newEngine(dsn, opts, steps)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := e.open(ctx); err != nil {
		return nil, fmt.Errorf("open store %s: %w", e.where(), err)
	}
	return e, nil
}

func newEngine(dsn string, opts Options, steps []string) (*Engine, error) {
	if opts.Schema == "" {
		opts.Schema = defaultSchema
	}
	opts.Readers = orElse(opts.Readers, defaultReaders)
	opts.LockTimeout = orElse(opts.LockTimeout, defaultLockTimeout)
	opts.StatementTimeout = orElse(opts.StatementTimeout, defaultStatementTimeout)
	opts.Poll = orElse(opts.Poll, defaultPoll)
	if !schemaName.MatchString(opts.Schema) {
		return nil, fmt.Errorf("schema %q: small letters, digits and _ are allowed, at most 48, and no digit first", opts.Schema)
	}
	config, err := parse(dsn)
	if err != nil {
		return nil, err
	}
	e := &Engine{opts: opts, config: config, held: map[int]*pgxpool.Conn{}, writer: 1 + rand.Int64N(1<<62), sql: newStatements(opts.Schema), steps: steps, lookAfter: lookAfter}
	config.AfterConnect = e.prepareSession
	return e, nil
}

func orElse[T int | time.Duration](v, otherwise T) T {
	if v > 0 {
		return v
	}
	return otherwise
}

func (e *Engine) open(ctx context.Context) (err error) {
	if err := e.setUp(ctx); err != nil {
		return err
	}
	if e.reads, err = e.pool(ctx, e.opts.Readers); err != nil {
		return explain(err)
	}
	if e.writes, err = e.pool(ctx, min(e.shards, maxWriters)+1); err != nil {
		e.reads.Close()
		return explain(err)
	}
	e.startAnnouncing()
	if err := e.hear(ctx); err != nil {
		return errors.Join(explain(err), e.Close())
	}
	return nil
}

func (e *Engine) pool(ctx context.Context, conns int) (*pgxpool.Pool, error) {
	config := e.config.Copy()
	config.MaxConns, config.MinConns = int32(conns), 0
	config.MaxConnIdleTime, config.HealthCheckPeriod = idleFor, idleFor/2
	return pgxpool.NewWithConfig(ctx, config)
}

// prepareSession sets what every statement here rests on.
func (e *Engine) prepareSession(ctx context.Context, c *pgx.Conn) error {
	return PrepareSession(ctx, c, e.opts.LockTimeout, e.opts.StatementTimeout, e.opts.LockTimeout/2,
		"SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'")
}

// where names the store in errors: without user and password.
func (e *Engine) where() string {
	c := e.config.ConnConfig
	return fmt.Sprintf("%s on %s:%d, schema %s", c.Database, c.Host, c.Port, e.opts.Schema)
}

// Shards is the number of shards.
func (e *Engine) Shards() int { return e.shards }

// Close ends the listener and all connections.
func (e *Engine) Close() error {
	e.announcer.end()
	e.listen.end()
	e.reads.Close()
	e.writes.Close()
	return nil
}

// attempts is how often something is tried whose connection was lost: those of a
// pool are all broken at once when the server was restarted.
const attempts = 4

// acquire lends a writing connection.
func (e *Engine) acquire(ctx context.Context) (c *pgxpool.Conn, err error) {
	for attempt := range attempts {
		if attempt > 0 {
			if err := pause(ctx, time.Duration(attempt)*50*time.Millisecond); err != nil {
				return nil, err
			}
		}
		if c, err = e.writes.Acquire(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	return c, err
}

// read lends a reading connection. Where it breaks, fn runs again on another one
// and must begin anew.
func (e *Engine) read(ctx context.Context, fn func(c *pgx.Conn) error) (err error) {
	for attempt := range attempts {
		if attempt > 0 {
			if err := pause(ctx, time.Duration(attempt)*50*time.Millisecond); err != nil {
				return err
			}
			e.reads.Reset()
		}
		broken := true // where there is none to be had
		err = e.reads.AcquireFunc(ctx, func(c *pgxpool.Conn) error {
			err := fn(c.Conn())
			broken = c.Conn().IsClosed()
			return err
		})
		if err == nil || ctx.Err() != nil || !broken {
			break
		}
	}
	return explain(err)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
