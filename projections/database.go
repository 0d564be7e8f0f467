package projections

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"regexp"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"varve/eventstore/follow"
	"varve/eventstore/postgres"
)

// database keeps read models in a PostgreSQL database: each version of each
// projection in schemas of its own, one for each time that it was built. The
// table serving, in a schema that all share, says which of them serves. Any number
// of processes read; who has the lease of a shard applies it.
type database struct {
	dsn    string
	prefix string // schema of serving, and how the names of the others begin
	r      *Runner
	config *pgx.ConnConfig
	write  *sql.DB
	read   *sql.DB
	hub    *hub
	deaf   bool // tests: as if notifications did not arrive
}

const (
	defaultModelSchema = "varve_models"
	databaseReaders    = 8
	databaseWriters    = 8
	databaseIdle       = 4 // of each: a process that does little holds few
	lockTimeout        = 10 * time.Second
	statementTimeout   = 60 * time.Second
	idleTimeout        = 5 * time.Second // of a transaction whose process stopped: others wait for its locks
)

var modelSchema = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,23}$`)

// start connects, and makes what all models share.
func (d *database) start(ctx context.Context) error {
	if !modelSchema.MatchString(d.prefix) {
		return fmt.Errorf("open read models: schema %q: small letters, digits and _ are allowed, at most 24, and no digit first", d.prefix)
	}
	config, err := postgres.Parse(d.dsn)
	if err != nil {
		return fmt.Errorf("open read models: %w", err)
	}
	d.config = config.ConnConfig
	if err := d.setUp(ctx); err != nil {
		return fmt.Errorf("open read models in %s on %s:%d, schema %s: %w", d.config.Database, d.config.Host, d.config.Port, d.prefix, err)
	}
	d.write = d.pool(databaseWriters, `SET synchronous_commit = off`) // a lost tail is applied again from the checkpoint that was lost with it
	d.read = d.pool(databaseReaders, `SET default_transaction_read_only = on`)
	if d.hub, err = listen(ctx, d); err != nil {
		return errors.Join(fmt.Errorf("open read models: %w", postgres.Explain(err)), d.write.Close(), d.read.Close())
	}
	return nil
}

func (d *database) stop() error {
	if d.hub == nil {
		return nil
	}
	d.hub.end()
	d.hub = nil
	return errors.Join(d.read.Close(), d.write.Close())
}

// pool lends connections.
func (d *database) pool(conns int, more string) *sql.DB {
	db := sql.OpenDB(connector{stdlib.GetConnector(*d.config, stdlib.OptionAfterConnect(func(ctx context.Context, c *pgx.Conn) error {
		return postgres.PrepareSession(ctx, c, lockTimeout, statementTimeout, idleTimeout, more)
	}))})
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(databaseIdle)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return db
}

// setUp checks the server and makes the shared schema.
func (d *database) setUp(ctx context.Context) error {
	return postgres.SetUp(ctx, d.config, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock($1)`, advisory(d.prefix)); err != nil {
			return err
		}
		var made bool
		if err := tx.QueryRow(ctx, `SELECT to_regclass($1) IS NOT NULL`, d.prefix+".serving").Scan(&made); err != nil || made {
			return err
		}
		if err := postgres.MakeSchema(ctx, tx, d.prefix); err != nil {
			return err
		}
		// base names a projection, its version and tables; schema is what serves (empty:
		// nothing yet), building what is filled (0: nothing), generation the last number given out.
		_, err := tx.Exec(ctx, `CREATE TABLE `+d.prefix+`.serving (base text COLLATE "C" PRIMARY KEY, model text NOT NULL, schema text NOT NULL, generation bigint NOT NULL, building bigint NOT NULL)`)
		return err
	})
}

// advisory is the key of the lock that a name has in the database.
func advisory(name string) int64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte("varve " + name))
	return int64(h.Sum64())
}

// openTables gives a schema's tables. patient ones, which are being filled, have no time limits.
func (d *database) openTables(schema string, p Projection, patient bool) *tables {
	statements := append(p.Schema(), bookkeeping...)
	if l, ok := p.(loadsBare); ok {
		statements = append(statements, l.history().endsTable())
	}
	return &tables{path: schema, write: d.write, read: d.read, patient: patient, database: d, spelling: spell(schema, statements)}
}

// isServer says whether an error is the server's or the way's to it, and not of
// what was written.
func isServer(err error) bool {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		switch server.Code[:2] {
		case "08", "25", "40", "53", "55", "57", "58", "XX", "3F": // connections, transactions, deadlocks, resources, locks, the operator, the system
			return true
		}
		return isGone(err) || server.Code == "42501"
	}
	var network net.Error
	return errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, driver.ErrBadConn) || errors.Is(err, errSuperseded) || pgconn.SafeToRetry(err) || pgconn.Timeout(err)
}

// forgetIdle lets go of a pool's idle connections: when one was lost they all may be.
func forgetIdle(pool *sql.DB) {
	pool.SetMaxIdleConns(-1)
	pool.SetMaxIdleConns(databaseIdle)
}

// isGone says whether the tables were dropped: others took over.
func isGone(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && (server.Code == "42P01" || server.Code == "3F000")
}

// errSuperseded says that other tables serve now.
var errSuperseded = errors.New("these tables were superseded")

// versioned is a lease whose names have a version in them, so that an old program
// and a new one do not wait for each other.
type versioned struct {
	follow.Lease
	base string
}

// Acquire waits for the name.
func (v versioned) Acquire(ctx context.Context, name string) (context.Context, func(), error) {
	return v.Lease.Acquire(ctx, v.base+" "+name)
}
